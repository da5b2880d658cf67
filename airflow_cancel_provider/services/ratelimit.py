"""How often a service may be asked: its published quotas, kept to by those who ask for it, and a count."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from copy import copy
from typing import Self

Quotas = dict[str, tuple[int, float]]
"""By operation: how many calls at once, and how many a second in the long run."""
EVERY = "*"
"""Stands for all operations together: their calls share this quota, beside the one of their own."""


class TokenBucket:
    """A token bucket: ``burst`` calls at once, then ``per_second``. Threads may share one.

    Calls are let go in the order in which they came. A burst below 1 is fine: each call then waits.

    :param clock: the time in seconds.
    :param sleep: waits for some seconds.
    """

    def __init__(
        self,
        burst: float,
        per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._burst, self._rate = burst, per_second
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()
        self._tokens, self._filled_at = burst, clock()

    def take(self) -> None:
        """Wait for a call's turn."""
        wait = self.spend()
        if wait > 0:
            self._sleep(wait)

    def spend(self, calls: int = 1) -> float:
        """Take tokens off, also more than there are; seconds until the bucket has made up for them."""
        with self._lock:
            now = self._clock()
            filled = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
            self._tokens, self._filled_at = filled - calls, now
            return max(0.0, -self._tokens / self._rate)


NewBucket = Callable[[float, float], TokenBucket]


class Meter:
    """The requests of one service: counted by operation, and each let go in its turn."""

    def __init__(self) -> None:
        self.traffic: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.paces: dict[str, TokenBucket] = {}

    def paced(self, quotas: Mapping[str, tuple[int, float]], share: float, new_pace: NewBucket) -> Self:
        """Count into the same traffic, but keep to a share of the quotas."""
        other = copy(self)
        # One call less at once than is granted: some are faster on their way than those before them, and
        # one that comes a moment early is throttled.
        other.paces = {
            name: new_pace(min(burst * share, max(1, burst * max(1, share) - 1)), rate * share)
            for name, (burst, rate) in quotas.items()
        }
        return other

    def turn(self, operation: str) -> None:
        """Count a request that is about to be sent, in its turn."""
        for pace in self._paces_of(operation):
            pace.take()
        self._count(operation, 1)

    def repeated(self, operation: str, times: int) -> None:
        """Count what a client has sent again by itself; who comes next waits for it, too."""
        for pace in self._paces_of(operation) if times else ():
            pace.spend(times)
        self._count(operation, times)

    def _paces_of(self, operation: str) -> list[TokenBucket]:
        return [self.paces[name] for name in (operation, EVERY) if name in self.paces]

    def _count(self, operation: str, times: int) -> None:
        if times:
            with self._lock:
                self.traffic[operation] += times
