"""Which jobs were cancelled, and how far that has got: all that the account has to remember."""

from __future__ import annotations

import threading
import time
from collections import Counter

SECONDS_TO_END = 2.0
"""From an accepted cancel to the end of the job."""


class Ends:
    """Cancels by the number of the job. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at: dict[int, float] = {}
        self.requests: Counter[int] = Counter()

    def ask(self, number: int) -> None:
        """Somebody asks a job to end."""
        with self._lock:
            self.requests[number] += 1
            self._asked_at.setdefault(number, time.monotonic())

    def is_ending(self, number: int) -> bool:
        """Whether a job was asked to end, and has not yet."""
        return number in self._asked_at and not self.has_ended(number)

    def has_ended(self, number: int) -> bool:
        """Whether a job has ended."""
        asked_at = self._asked_at.get(number)
        return asked_at is not None and time.monotonic() - asked_at >= SECONDS_TO_END

    def cancelled(self) -> dict[int, int]:
        """How often each job was asked to end."""
        with self._lock:
            return dict(self.requests)
