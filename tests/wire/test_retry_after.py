"""Services that say for how long they want to be left alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from airflow_cancel_provider.exceptions import AccessDenied, IdentityError
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.batch.service import BatchJobService
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.service import MrsJobService
from tests.mrs_fixtures import PROJECT
from tests.service_fixtures import PATIENT, new_client

DENIED = b'{"__type": "AccessDeniedException", "error_code": "12000052", "message": "no"}'


class Busy(BaseHTTPRequestHandler):
    """Is busy once, and then refuses."""

    status: ClassVar[int] = 429
    seen: ClassVar[list[float]] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append(time.monotonic())
        is_first = len(self.seen) == 1
        body = b"" if is_first else DENIED
        self.send_response(self.status if is_first else 403)
        if is_first:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  as http.server names them

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        server.daemon_threads = True
        Busy.seen.clear()
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("name, status", [("batch", 429), ("mrs", 503), ("mrs login", 503)])
def test_as_long_is_waited(url: str, monkeypatch: pytest.MonkeyPatch, name: str, status: int) -> None:
    monkeypatch.setattr(Busy, "status", status)
    client = new_client("batch", url, retries={"total_max_attempts": 1})
    service: JobService = BatchJobService(client, patience=PATIENT)
    job = RemoteJob("batch://@us-east-1/00000000-0000-0000-0000-000000000000")
    if name != "batch":
        login = TokenAuth(url, "demo", "password", "domain", project_id=PROJECT)
        auth = login if name == "mrs login" else AkSkAuth("a", "b")
        service = MrsJobService(MrsClient(url, PROJECT, auth), patience=PATIENT)
        job = RemoteJob("mrs:///c-1/e-1")
    with pytest.raises((AccessDenied, IdentityError)):
        service.describe([job])
    client.close()
    first, second = Busy.seen
    assert 1 <= second - first < 5
