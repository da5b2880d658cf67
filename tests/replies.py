"""A server that replies to every request alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest


class Replies(BaseHTTPRequestHandler):
    """What it replies, and the bodies of the requests that it had; for all servers of this process."""

    protocol_version = "HTTP/1.1"
    body: ClassVar[bytes] = b""
    status: ClassVar[int] = 200
    told: ClassVar[list[bytes]] = []

    @classmethod
    def set(cls, body: bytes, status: int = 200) -> None:
        """Reply so from now on."""
        cls.body, cls.status = body, status

    def do_POST(self) -> None:
        self.told.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        if self.status != 204:
            self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.status != 204:
            self.wfile.write(self.body)

    do_GET = do_POST  # noqa: N815  as http.server names them

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def replying() -> Iterator[str]:
    """Its address; it has had no request yet, and replies with nothing."""
    Replies.set(b"")
    Replies.told.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Replies) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
