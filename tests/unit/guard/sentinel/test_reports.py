"""What the sentinel tells Airflow of how jobs have ended, and when the task does that itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from tests.cloud.server import LocalCloud
from tests.sentinel_fixtures import Task, alive, batch, is_cancelled, run, submit, until

__all__ = ["batch", "run"]


class ApiServer(BaseHTTPRequestHandler):
    """Keeps what it is told."""

    told: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def airflow() -> Iterator[str]:
    ApiServer.told.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("task", ["has ended", "does not listen"])
def test_ends_that_the_task_has_not_heard_of(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], airflow: str, task: str
) -> None:
    """One that waits for an API server which is away does not listen, and may be killed before it is back."""
    job = submit(batch)
    if task == "has ended":
        run(f"start={job}", AIRFLOW=airflow).kill()
    else:
        run(f"start={job},say=killed", AIRFLOW=airflow)
    (report,) = until(lambda: ApiServer.told)
    ((address, end),) = report["ends"].items()
    assert address.endswith(job)
    assert end["state"] == "CANCELLED"
    assert is_cancelled(cloud, job)


def test_a_task_that_has_heard_of_them_puts_them_on_record_itself(
    batch: Any, run: Callable[..., Task], airflow: str
) -> None:
    task = run(f"start={submit(batch)},say=killed,wait=ended,say=relay,pause=1,say=relay", AIRFLOW=airflow)
    until(lambda: not alive(task.sentinel))
    assert task.answers == ["True"]
    assert ApiServer.told == []
