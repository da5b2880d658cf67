"""Celery workers, each on a host of its own."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from celery import Celery

from tests.matrix_celery.network import Host
from tests.real_airflow.processes import Processes, children
from tests.real_airflow.world import eventually

QUEUE = "default"
CONCURRENCY = "12"
SENTINEL = b"guard/sentinel/main.py"


class Workers:
    """The workers, by the names of their hosts.

    :param broker: URL of the broker.
    """

    def __init__(self, processes: Processes, hosts: dict[str, Host], broker: str) -> None:
        self.hosts = hosts
        self._processes = processes
        self._celery = Celery(broker=broker)

    def start(self, *names: str) -> None:
        """Start workers, which take tasks; return when they are there."""
        for name in names:
            command = [sys.executable, "-m", "airflow", "celery", "worker", "--celery-hostname", name]
            options = ["--queues", QUEUE, "--concurrency", CONCURRENCY, "--skip-serve-logs"]
            pid_file = ["--pid", str(self._processes.folder / f"{name}.{time.time():.0f}.pid")]
            self._processes.start(name, [*self.hosts[name].command, *command, *options, *pid_file])
        for name in names:
            self._ask(name, "ping")

    def pid(self, name: str) -> int:
        """The worker's main process."""
        return self._processes.process(name).pid

    def has_ended(self, name: str) -> bool:
        """Whether the worker's main process is gone."""
        return self._processes.process(name).poll() is not None

    def take(self, *names: str) -> None:
        """Let these workers take new tasks from the queue, and no others; those at work go on with theirs."""
        for name in self.hosts:
            what = "add_consumer" if name in names else "cancel_consumer"
            self._ask(name, what, queue=QUEUE, reply=True)

    def kill(self, name: str) -> None:
        """SIGKILL to a worker and to all below it but the sentinels, at once."""
        for pid in reversed([*_below(self.pid(name)), self.pid(name)]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.bury(name)

    def bury(self, name: str) -> None:
        """Forget a worker that has been killed, or has ended."""
        self._processes.stop(name, kill=True)

    def is_there(self, name: str) -> bool:
        """Whether a worker has been started, and not been buried."""
        return self._processes.is_there(name)

    def _ask(self, name: str, what: str, **options: Any) -> None:
        """Ask a worker until it answers, if it is there."""
        if not self.is_there(name):
            return
        call = partial(getattr(self._celery.control, what), destination=[f"celery@{name}"], timeout=2)

        def is_answered() -> bool:
            # Not one of the pool's: the broker that it led to may have been killed.
            with self._celery.connection_for_write() as connection:
                return bool(call(connection=connection, **options))

        eventually(is_answered, f"an answer of {name}", seconds=60)


def _below(pid: int) -> Iterator[int]:
    """Processes that another has started, and those have, but sentinels; the deepest first."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in children(pid):
            if SENTINEL not in Path(f"/proc/{child}/cmdline").read_bytes():
                yield from _below(child)
                yield child
