"""A queue of work that is due later, done by one thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from itertools import count
from threading import Condition, Thread
from typing import Any

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500
"""Pieces of work that are done together, so that transactions of the database are short."""


class DueQueue:
    """Work that is due later, done by one daemon thread, which starts with the first work.

    :param do: does all the work that is due; its errors are logged.
    """

    def __init__(self, do: Callable[[Sequence[Any]], None], name: str) -> None:
        self._do = do
        self._name = name
        self._heap: list[tuple[float, int, Any]] = []
        self._numbers = count()
        self._changed = Condition()
        self._thread: Thread | None = None

    def put(self, what: Any, delay: float) -> None:
        """Have work done in so many seconds."""
        with self._changed:
            heappush(self._heap, (time.monotonic() + delay, next(self._numbers), what))
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def __len__(self) -> int:
        return len(self._heap)

    def _run(self) -> None:
        while True:
            due = self._due()
            try:
                self._do(due)
            except Exception:
                log.exception("Work that was due has failed, and is not repeated: %s", due)

    def _due(self) -> list[Any]:
        with self._changed:
            while not self._heap or self._heap[0][0] > time.monotonic():
                self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
            due: list[Any] = []
            while self._heap and len(due) < MOST_AT_ONCE and self._heap[0][0] <= time.monotonic():
                due.append(heappop(self._heap)[2])
            return due
