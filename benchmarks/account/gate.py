"""Quotas, enforced: which calls are let in, and a count of all."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from typing import Any

from benchmarks.account.quotas import QUOTAS, TOGETHER


@dataclass
class Bucket:
    """A token bucket, full at first."""

    burst: float
    per_second: float
    tokens: float
    filled_at: float

    def fill(self, now: float) -> float:
        """Tokens that there are by now."""
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.per_second)
        self.filled_at = now
        return self.tokens


class Gate:
    """All quotas of the account. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        now = time.monotonic()
        self._buckets = {
            (service, operation): Bucket(burst, rate, burst, now)
            for service, quotas in QUOTAS.items()
            for operation, (burst, rate) in quotas.items()
        }
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self._busiest: Counter[str] = Counter()
        self._lately: dict[str, deque[float]] = defaultdict(deque)
        self._first: float | None = None
        self._last: dict[str, float] = {}

    def lets_in(self, service: str, operation: str) -> bool:
        """Whether there is a token for a call in every bucket that it needs one of; takes them."""
        name = f"{service} {operation}"
        keys = [(service, each) for each in (operation, TOGETHER) if (service, each) in self._buckets]
        if not keys:
            raise LookupError(f"{name} has no quota here.")
        with self._lock:
            now = time.monotonic()
            self._count(name, now)
            if any(self._buckets[key].fill(now) < 1 for key in keys):
                self.throttled[name] += 1
                return False
            for key in keys:
                self._buckets[key].tokens -= 1
            return True

    def figures(self) -> dict[str, dict[str, Any]]:
        """By call: how many came, how many were throttled, the most of them within one second, and when the
        last one came, in seconds from the first call of all."""
        with self._lock:
            return {
                name: {
                    "calls": self.calls[name],
                    "throttled": self.throttled[name],
                    "peak": self._busiest[name],
                    "last": self._last[name] - (self._first or 0.0),
                }
                for name in sorted(self.calls)
            }

    def _count(self, name: str, now: float) -> None:
        self.calls[name] += 1
        self._first, self._last[name] = self._first or now, now
        lately = self._lately[name]
        lately.append(now)
        while lately[0] < now - 1:
            lately.popleft()
        self._busiest[name] = max(self._busiest[name], len(lately))
