"""A guarded task that meets a fault, seen from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

from tests.cloud.server import LocalCloud

ROOT = Path(__file__).parents[2]
BEGIN = """
import os, signal, sys, time
from tests.faults.play import *
from tests.faults import play
"""
HEARTBEAT = 40.0
"""Seconds to wait for anything; the machine may be busy."""


class Played:
    """A task process that runs a script between :data:`BEGIN` and its end.

    :param folder: holds its logs: ``task.log``, ``output``, and ``logs/`` for the sentinel.
    :param before: put before the command, as ``unshare`` is.
    :param first: Python that runs before anything else, as gevent's patch has to.
    """

    def __init__(
        self,
        cloud: LocalCloud,
        folder: Path,
        script: str,
        *,
        before: Sequence[str] = (),
        first: str = "",
        **environment: str,
    ) -> None:
        self.cloud, self.folder = cloud, folder
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        settings = {
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(logs),
            "AIRFLOW__CANCEL_PROVIDER__PATIENCE": "60",
            "AIRFLOW__CANCEL_PROVIDER__CONFIRM_SECONDS": "20",
            "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": "faults",
            "AWS_ENDPOINT_URL": cloud.url,
            "PYTHONPATH": str(ROOT),
            "TASK_LOG": str(folder / "task.log"),
            "TEST_FOLDER": str(folder),
            **environment,
        }
        self._output = (folder / "output").open("ab")
        self.process = subprocess.Popen(
            [*before, sys.executable, "-c", first + BEGIN + script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
            cwd=folder,
            env={**os.environ, **settings},
            start_new_session=True,
        )
        self.words: list[str] = []
        self._lines: Queue[str | None] = Queue()
        Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line.strip())
        self._lines.put(None)

    def until(self, word: str, seconds: float = HEARTBEAT) -> str:
        """What follows the next such word of the process."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no {word!r} in {seconds} s: {self.words}\n{self.trouble}") from None
            assert line is not None, f"it ended before {word!r}: {self.words}\n{self.trouble}"
            self.words.append(line)
            if line.split(" ")[0] == word:
                return line.partition(" ")[2]

    @property
    def trouble(self) -> str:
        return (self.folder / "output").read_text()[-3000:] + self.log[-3000:]

    def go_on(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, seconds: float = HEARTBEAT) -> str:
        """How the task ended; its process is gone then."""
        how = self.until("end", seconds)
        self.until("left", seconds)
        self.process.wait(seconds)
        return how

    @property
    def seconds(self) -> float:
        """How long it ran, once it has ended."""
        return float(self.words[-1].split()[1])

    @property
    def log(self) -> str:
        """The task's log."""
        file = self.folder / "task.log"
        return file.read_text() if file.exists() else ""

    @property
    def sentinel_log(self) -> str:
        return "".join(file.read_text() for file in (self.folder / "logs").glob("remote_jobs_sentinel*"))

    def is_cancelled(self, job: str) -> bool:
        return any(found["cancelled"] for found in self.cloud.batch.jobs() if found["id"] == job)

    def cancelled(self, job: str, seconds: float = HEARTBEAT) -> None:
        """Wait until the end of a job was requested."""
        until(lambda: self.is_cancelled(job), f"a cancel of {job}\n{self.trouble}", seconds)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        for file in (self.process.stdin, self.process.stdout, self._output):
            if file:
                with suppress(OSError):
                    file.close()
        # A sentinel has a session of its own.
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().split(b"\0")
                if len(command) > 4 and b"sentinel/main.py" in command[3] and command[4] == self._pid:
                    os.kill(int(entry.name), signal.SIGKILL)

    @property
    def _pid(self) -> bytes:
        return str(self.process.pid).encode()


def until(true: Callable[[], Any], what: str, seconds: float = HEARTBEAT) -> Any:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not (seen := true()):
        assert time.monotonic() < deadline, f"it did not come in {seconds} s: {what}"
        time.sleep(0.05)
    return seen
