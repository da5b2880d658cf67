"""Faults on order: which requests go wrong, how, and when."""

from __future__ import annotations

import threading
from dataclasses import asdict, dataclass, fields
from typing import Any

from tests.cloud.hostile import SHAPES
from tests.cloud.lifecycle import Clock
from tests.cloud.service import Subject

KINDS = (
    "throttle",  # the service's own words for "too many requests"
    "server_error",  # the service's own words for a failure of its own
    "denied",  # not allowed by IAM
    "expired_token",  # the session is over
    "bad_key",  # the access key is unknown
    "reset",  # the connection is reset before the act
    "lost_reply",  # the act is performed, then the connection is reset
    "latency",  # the answer takes longer
    "hang",  # no answer for as long as the client waits, and no act
    "hostile_reply",  # a success status with a body that is not the answer
)


@dataclass
class Fault:
    """One rule. A request that it matches counts, whether or not the rule fires.

    service, operation, scope, id, access_key: what to match; "*" and "" match everything.
    every: fire on each Nth match only. after: let that many matches pass first. times: fire that often.
    seconds: fire for that long from the moment the rule is set. delay: seconds of a latency.
    rate, burst: a token bucket, as the services' quotas are: holds ``burst`` tokens, gains ``rate`` a second,
    and the rule fires on requests that find it empty.
    shape, body, status, acts: of a hostile reply: one of ``hostile.SHAPES``, or a body of the test's own; the
    HTTP status, by default the true answer's; whether the operation is performed before.
    """

    service: str = "*"
    operation: str = "*"
    kind: str = "throttle"
    scope: str = ""
    id: str = ""
    access_key: str = ""
    every: int = 1
    after: int = 0
    times: int | None = None
    seconds: float | None = None
    delay: float = 0.0
    rate: float | None = None
    burst: int = 1
    shape: str = ""
    body: str | bytes = b""
    status: int | None = None
    acts: bool = True
    set_at: float = 0.0
    matched: int = 0
    fired: int = 0
    tokens: float | None = None
    filled_at: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind of fault: {self.kind}")
        if self.shape and (self.kind != "hostile_reply" or self.shape not in SHAPES):
            raise ValueError(f"unknown shape of a hostile reply: {self.shape}")
        if self.every < 1:
            raise ValueError("every must be at least 1")
        if self.kind == "latency" and not self.delay and self.seconds:
            # "latency for 2 seconds" reads as its length, not as a window of time.
            self.delay, self.seconds = self.seconds, None

    def matches(self, service: str, operation: str, subject: Subject, access_key: str) -> bool:
        """Whether the rule is about this request."""
        named = self.service in ("*", service) and self.operation in ("*", operation)
        named = named and self.access_key in ("", access_key)
        return named and self.scope in ("", subject.scope) and (not self.id or self.id in subject.ids)

    def due(self, now: float) -> bool:
        """Count a match, and tell whether the rule fires on it."""
        if self.seconds is not None and now > self.set_at + self.seconds:
            return False
        self.matched += 1
        if self.matched <= self.after or (self.matched - self.after) % self.every:
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        if self.rate is not None and self._take_token(now, self.rate):
            return False
        self.fired += 1
        return True

    def _take_token(self, now: float, rate: float) -> bool:
        tokens = self.burst if self.tokens is None else self.tokens
        tokens = min(self.burst, tokens + (now - self.filled_at) * rate)
        taken = tokens >= 1
        self.tokens, self.filled_at = tokens - taken, now
        return taken


SETTABLE = frozenset(f.name for f in fields(Fault)) - {"set_at", "matched", "fired", "tokens", "filled_at"}


class Faults:
    """The rules in the order in which they were set. The first that fires decides; of delays the longest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rules: list[Fault] = []
        self.released = threading.Event()
        """Set while nothing may hang: frees requests held by a "hang"."""

    def add(self, service: str = "*", operation: str = "*", kind: str = "throttle", **when: Any) -> Fault:
        """Set a rule; see ``Fault`` for the rest of the names."""
        unknown = set(when) - SETTABLE
        if unknown:
            raise ValueError(f"unknown parts of a fault: {sorted(unknown)}")
        fault = Fault(service, operation, kind, set_at=self._clock(), **when)
        with self._lock:
            self._rules.append(fault)
            self.released.clear()
        return fault

    def clear(self) -> None:
        """Drop all rules and let go of hanging requests."""
        with self._lock:
            self._rules.clear()
            self.released.set()

    def choose(
        self, service: str, operation: str, subject: Subject, access_key: str = ""
    ) -> tuple[Fault | None, float]:
        """The fault for a request, if any, and the seconds of latency before it."""
        delay = 0.0
        with self._lock:
            now = self._clock()
            for rule in self._rules:
                if not rule.matches(service, operation, subject, access_key) or not rule.due(now):
                    continue
                if rule.kind != "latency":
                    return rule, delay
                delay = max(delay, rule.delay)
        return None, delay

    def as_list(self) -> list[dict[str, Any]]:
        """All rules with their counts, JSON-ready."""
        with self._lock:
            return [asdict(rule) for rule in self._rules]
