"""Which jobs have ended, by themselves or cancelled: all that the account has to remember."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SECONDS_TO_END = 2.0
"""From an accepted cancel to the end of the job."""


@dataclass(frozen=True)
class Finishing:
    """When jobs succeed by themselves: one in ``every``, evenly between ``begin`` and ``over`` seconds later.

    Whoever knows this knows the moment of each job's end, so that it needs not be told.

    :param begin: epoch seconds.
    :param queues: jobs that end in their order, as pairs of the first number and the one behind the last.
    """

    begin: float
    over: float
    every: int = 1
    queues: Sequence[Sequence[int]] = ()

    def at(self, number: int) -> float | None:
        """Epoch seconds at which a job succeeds; None if it never does."""
        for first, behind in self.queues:
            if first <= number < behind:
                share = (number - first) * self.every / (behind - first)
                return self.begin + share * self.over if share < 1 else None
        if number % self.every:
            return None
        return self.begin + (number // self.every * 2654435761 % 2**32) / 2**32 * self.over


class Ends:
    """Ends by the number of the job. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked_at: dict[int, float] = {}
        self.requests: Counter[int] = Counter()
        self.finishing: Finishing | None = None

    def ask(self, number: int) -> None:
        """Somebody asks a job to end."""
        with self._lock:
            self.requests[number] += 1
            self._asked_at.setdefault(number, time.time())

    def is_ending(self, number: int) -> bool:
        """Whether a job was asked to end, and has not yet."""
        return number in self._asked_at and not self.has_ended(number)

    def has_ended(self, number: int) -> bool:
        """Whether a job has ended."""
        asked_at = self._asked_at.get(number)
        was_cancelled = asked_at is not None and time.time() - asked_at >= SECONDS_TO_END
        return was_cancelled or self.has_succeeded(number)

    def has_succeeded(self, number: int) -> bool:
        """Whether a job has ended by itself."""
        at = self.finishing.at(number) if self.finishing else None
        return at is not None and at <= time.time() and number not in self._asked_at

    def cancelled(self) -> dict[int, int]:
        """How often each job was asked to end."""
        with self._lock:
            return dict(self.requests)
