"""Containers as seen from outside: which processes they have, and how a node ends them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.matrix.victim import Victim
from tests.matrix_containers.executor import FOLDER, LOST
from tests.real_airflow.processes import children, parent

SENTINEL = b"guard/sentinel/main.py"


class Pod:
    """The container of one try.

    :param victim: its first run's task.
    """

    def __init__(self, victim: Victim) -> None:
        self._folder = Path(victim.ground.airflow.processes.environment[FOLDER])
        self.name = str(victim.task()["id"])
        record = json.loads((self._folder / f"{self.name}.json").read_text())
        (self.init,) = children(record["pid"])
        sentinels = [pid for pid in below(self.init) if SENTINEL in _command(pid)]
        if len(sentinels) > 1:
            raise RuntimeError(f"{victim.cell.name}: {len(sentinels)} sentinels")
        self.sentinel = sentinels[0] if sentinels else 0

    @property
    def task(self) -> int:
        """The process of the task: it has started the sentinel, or is the deepest there is."""
        return parent(self.sentinel) if self.sentinel else next(below(self.init))

    @property
    def supervisor(self) -> int:
        """The process that looks after the task."""
        return parent(self.task)

    def delete(self, grace: float) -> None:
        """As a kubelet deletes a pod: SIGTERM to process 1, and SIGKILL to all after the grace."""
        if grace:
            _kill(self.init, signal.SIGTERM)
            threading.Timer(grace, _kill, (self.init, signal.SIGKILL)).start()
        else:
            _kill(self.init, signal.SIGKILL)

    def lose(self) -> None:
        """As when the node is lost: all is gone, and nobody reports it."""
        (self._folder / f"{self.name}.{LOST}").touch()
        _kill(self.init, signal.SIGKILL)


def below(pid: int) -> Iterator[int]:
    """Processes below another, the deepest first."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for child in children(pid):
            yield from below(child)
            yield child


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
