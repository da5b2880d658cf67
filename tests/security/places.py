"""Where secrets could have been written to: what is searched for them."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

PLACES = (
    "the task's log",
    "the sentinel's log",
    "XCom and the task state store",
    "the record and the trigger's arguments",
    "Variables",
    "arguments of all processes",
    "environments of the processes that are started",
    "temporary files and the working folder",
    "error messages, results and statuses",
)

PLACES_IN_PROCESS = (
    "the trigger's row",
    "XCom, task state store and Variables of a deferral",
    "the log of a deferral",
    "the reaper's log",
    "the reaper's report",
    "the reaper's XCom",
    "dead letters",
    "metrics over UDP",
    "output of commands",
    "the log of a command",
    "the page",
    "the states that the page asks for",
    "answers of the endpoint",
    "Airflow's event log",
    "the log of the API server",
    "variables of our functions in a traceback",
)
"""What is searched in the process of the test itself."""


def arguments() -> Iterator[tuple[str, bytes]]:
    """What every process of the machine was started with."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield f"arguments of {folder.name}", (folder / "cmdline").read_bytes()
        except OSError:
            continue


def environment(process: int) -> tuple[str, bytes]:
    """The environment that a process was started with."""
    return f"environment of {process}", Path(f"/proc/{process}/environ").read_bytes()


def files(*folders: Path, since: float) -> Iterator[tuple[str, bytes]]:
    """All files below some folders that were written lately."""
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                if path.is_file() and path.stat().st_mtime >= since and path.stat().st_size < 10_000_000:
                    yield str(path), path.read_bytes()
            except OSError:
                continue


def temporary(since: float) -> Iterator[tuple[str, bytes]]:
    """Files directly in the folder for temporary files."""
    for path in Path(tempfile.gettempdir()).glob("*"):
        try:
            if path.is_file() and path.stat().st_mtime >= since and path.stat().st_uid == os.getuid():
                yield str(path), path.read_bytes()
        except OSError:
            continue


def found(secrets: Iterable[str], places: Iterable[tuple[str, bytes]]) -> list[str]:
    """Where one of the secrets is."""
    wanted = [(secret, secret.encode()) for secret in secrets]
    return [f"{secret} in {where}" for where, text in places for secret, bytes_ in wanted if bytes_ in text]


class Echo:
    """A server that answers everything with an error that repeats the request's headers and body.

    :param status: of its answers; 302 leads elsewhere, to :attr:`elsewhere`.
    """

    def __init__(self, status: int = 403, location: str = "") -> None:
        self.seen: list[str] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
                seen.append(f"{self.command} {self.path}")
                words = json.dumps([*self.headers.items(), body])
                text = json.dumps(
                    {
                        "__type": "AccessDeniedException",
                        "message": words,
                        "error_code": "X",
                        "error_msg": words,
                    }
                ).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                if location:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = do_PUT = answer  # noqa: N815  so the base class names them

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


NOW = time.time
