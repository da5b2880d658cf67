"""How often a service may be asked: one pace for an account's calls in this process, and how it learns.

A pace holds a token bucket for each published quota. Everybody in a process who calls the same service in
the same region with the same account shares one pace: :data:`PACES` keeps them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Self

from airflow_cancel_provider.exceptions import InvalidInput

if TYPE_CHECKING:
    from botocore.retries.throttling import CubicCalculator

Quotas = Mapping[str, tuple[float, float]]
"""By operation: how many calls at once, and how many a second in the long run."""
EVERY = "*"
"""Stands for all operations together: their calls share this quota, beside the one of their own."""
RESERVE = 0.2
"""Share of the burst for all operations together that polls leave to cancels."""
EARLY_CALLS = 1
"""Calls that are let go later after a burst: some reach the service sooner than those sent before them."""
SLOWER = 0.7
"""What is left of a pace after a throttled call; as in botocore's adaptive mode."""
SLOWEST = 0.1
"""Share of its quota below which no pace is slowed."""
RECOVERY, RECOVERY_CALLS = 30.0, 60
"""Seconds until a pace that was slowed once is back at its quota; more where the quota takes longer for so
many calls: of the few calls that processes share, too many would be spent on finding out again."""
ROUND_TRIP = 1.0
"""Seconds after a throttled call in which others are throttled that were sent before it was known."""
LONGEST_NAP = 10.0
"""Seconds after which those who are not the next in a queue look at it again."""
_LOCK_SECONDS = 0.5
_GRAIN = 1e-6

Clock = Callable[[], float]
Sleep = Callable[[float], None]


class _Shared:
    """One lock for all buckets and counts: short to hold, and easily renewed in a forked process."""

    lock = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        """Let a forked process go on: nobody there holds the lock, and nobody waits."""
        cls.lock = threading.Lock()
        PACES.forget_waiting()


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the lock of all paces, if it can be had soon.

    A signal handler may have interrupted the thread that holds it, and wait for a thread that wants it. A
    wrong count is better than a cancel that is not sent.
    """
    lock = _Shared.lock
    is_held = lock.acquire(timeout=_LOCK_SECONDS)
    try:
        yield
    finally:
        if is_held:
            lock.release()


@dataclass(order=True, slots=True)
class _Ticket:
    """A place in a queue: repeated calls first, then cancels, then polls that have begun, then others.

    Each in the order they came.
    """

    rank: tuple[bool, bool, bool]
    number: int
    calls: int = field(compare=False)

    @property
    def is_urgent(self) -> bool:
        """Whether it is of a cancel, or was throttled before."""
        return not self.rank[1]


class TokenBucket:
    """A token bucket: ``burst`` calls at once, then ``per_second``. Not locked: see :func:`exclusive`.

    A burst below 1 is fine: a call is let go when the bucket is full, and paid for by those after it.

    :param reserve: tokens that only urgent calls may use.
    :ivar lag: seconds after the first call of a burst in which no tokens come. The service counts from the
        arrival of a call, which may take longer than that of a later one.
    """

    def __init__(self, burst: float, per_second: float, clock: Clock, *, reserve: float = 0.0) -> None:
        self.burst, self.per_second, self.reserve = burst, per_second, reserve
        self.lag = min(EARLY_CALLS, max(0.0, burst - 1)) / per_second
        self.waiting: list[_Ticket] = []
        self._clock = clock
        self._tokens, self._filled_at = burst, clock()
        self._cubic: CubicCalculator | None = None
        self._slowed_at = -inf

    def seconds_until(self, calls: float, ahead: float = 0.0) -> float:
        """Seconds until there are tokens for so many calls, or as many as there can be.

        :param ahead: calls that go before.
        """
        now = self._clock()
        rate = self.per_second * self._factor(now)
        self._tokens = min(self.burst, self._tokens + max(0.0, now - self._filled_at) * rate)
        self._filled_at = max(now, self._filled_at)
        missing = ahead + min(calls, self.burst) - self._tokens
        if missing <= _GRAIN:
            return 0.0
        seconds = self._filled_at - now + missing / rate
        # Those ahead may leave without a call: ask again before long.
        return min(seconds, LONGEST_NAP) if ahead else seconds

    def spend(self, calls: float) -> None:
        """Take tokens, also more than there are: later calls wait for them."""
        self.seconds_until(0)
        if calls > 0 and self._tokens > self.burst - _GRAIN:
            self._filled_at = self._clock() + self.lag
        self._tokens -= calls

    def slow_down(self) -> None:
        """Take in that the service throttled a call: there are no tokens, because others use the quota, too.

        The pace falls at once and recovers along the curve of botocore's adaptive mode.
        """
        from botocore.retries.throttling import CubicCalculator

        now = self._clock()
        factor = self._factor(now)
        self.seconds_until(0)
        self._tokens, self._filled_at = min(self._tokens, 0.0), now
        if now - self._slowed_at >= max(ROUND_TRIP, 1 / (self.per_second * factor)):
            recovery = max(RECOVERY, RECOVERY_CALLS / self.per_second)
            self._cubic = CubicCalculator(factor, now, (1 - SLOWER) / recovery**3, SLOWER)
            self._slowed_at = now

    def _factor(self, now: float) -> float:
        """Share of the quota that is used now."""
        if self._cubic is None:
            return 1.0
        factor = float(self._cubic.success_received(now))
        if factor >= 1:
            self._cubic = None
        return min(1.0, max(SLOWEST, factor))


class Pace:
    """The quotas of one account for one service in one region, as token buckets by operation.

    :param clock: the time in seconds.
    :param sleep: waits for some seconds.
    """

    def __init__(self, quotas: Quotas, clock: Clock = time.monotonic, sleep: Sleep = time.sleep) -> None:
        self.clock, self.sleep = clock, sleep
        self.buckets = {name: _bucket(name, *quota, clock) for name, quota in quotas.items()}

    def of(self, operation: str) -> list[TokenBucket]:
        """The buckets that a call needs tokens of; those who wait stand in a queue at the first one."""
        return [self.buckets[name] for name in dict.fromkeys((operation, EVERY)) if name in self.buckets]


def _bucket(name: str, burst: float, per_second: float, clock: Clock) -> TokenBucket:
    return TokenBucket(burst, per_second, clock, reserve=burst * RESERVE if name == EVERY else 0.0)


class Turn:
    """A call that waits for its turn; used in a ``with`` statement, which leaves the queue at its end.

    :param buckets: that it needs tokens of.
    :param urgent: of a cancel: it goes before polls, and may use what these leave.
    :param again: it was throttled before, and goes before all others.
    :param begun: of a poll that has begun: it goes before polls that have not.
    """

    _numbers = count()

    def __init__(
        self,
        buckets: Iterable[TokenBucket],
        calls: int = 1,
        *,
        urgent: bool = False,
        again: bool = False,
        begun: bool = False,
    ) -> None:
        self._buckets = list(buckets)
        self._urgent = urgent or again
        self._ticket = _Ticket((not again, not self._urgent, not begun), next(self._numbers), calls)

    def __enter__(self) -> Self:
        """Join the queue."""
        for bucket in self._buckets[:1]:
            bucket.waiting.append(self._ticket)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the queue."""
        self._leave()

    def _leave(self) -> None:
        for bucket in self._buckets[:1]:
            if self._ticket in bucket.waiting:
                bucket.waiting.remove(self._ticket)

    def take(self) -> float:
        """Take the tokens if it is this call's turn; 0 then, else seconds after which to ask again."""
        with exclusive():
            seconds = max(map(self._seconds_at, self._buckets), default=0.0)
            if not seconds:
                self._spend()
            return seconds

    def take_anyway(self) -> None:
        """Take the tokens although it is not this call's turn: it can't wait any longer."""
        with exclusive():
            self._spend()

    def _spend(self) -> None:
        self._leave()
        for bucket in self._buckets:
            bucket.spend(self._ticket.calls)

    def _seconds_at(self, bucket: TokenBucket) -> float:
        ahead = 0
        if bucket is self._buckets[0]:
            ahead = sum(ticket.calls for ticket in [*bucket.waiting] if ticket < self._ticket)
        reserve = 0.0 if self._urgent else bucket.reserve
        return bucket.seconds_until(self._ticket.calls + reserve, ahead)


class Paces:
    """The paces of this process, by service, endpoint and account.

    :param clock: the time in seconds.
    :param sleep: waits for some seconds.
    """

    def __init__(self, clock: Clock = time.monotonic, sleep: Sleep = time.sleep) -> None:
        self.clock, self.sleep = clock, sleep
        self._by_key: dict[Hashable, Pace] = {}
        self._quotas: Quotas = {}
        self._share = 1.0
        self._shares: dict[Hashable, float] = {}

    @property
    def configured(self) -> tuple[Quotas, float]:
        """What :meth:`configure` was given last, for another process."""
        return self._quotas, self._share

    def configure(self, quotas: Quotas, share: float = 1.0) -> None:
        """Use other quotas than the published ones.

        :param quotas: by ``service.operation``, ``service.*`` (all operations together), ``*`` (all).
        :param share: of all quotas that this process uses.
        """
        with exclusive():
            if (quotas, share) != (self._quotas, self._share):
                self._quotas, self._share = dict(quotas), share
                self._by_key.clear()

    def of(
        self,
        service: str,
        place: Hashable,
        account: Hashable,
        published: Quotas,
        share: float | None = None,
    ) -> Pace:
        """The pace of an account for a service at a place: its region, or an endpoint of its own.

        :param share: of the quotas in force for this account; the smallest one that was given counts.
        """
        key = (service, place, account)
        with exclusive():
            pace = self._by_key.get(key)
            if share is not None and share < self._shares.get(key, inf):
                self._shares[key], pace = share, None
            if pace is None:
                pace = Pace(self._in_force(key, published), self.clock, self.sleep)
                self._by_key[key] = pace
            return pace

    def _in_force(self, key: tuple[str, Hashable, Hashable], published: Quotas) -> Quotas:
        service, share = key[0], self._share * self._shares.get(key, 1.0)
        own = {
            name.removeprefix(f"{service}."): quota
            for name, quota in self._quotas.items()
            if name.startswith(f"{service}.")
        }
        all_of_them = dict.fromkeys(published, self._quotas[EVERY]) if EVERY in self._quotas else published
        return {name: (burst * share, rate * share) for name, (burst, rate) in {**all_of_them, **own}.items()}

    def forget_waiting(self) -> None:
        """Empty all queues: in a forked process those who waited are not there."""
        for pace in self._by_key.values():
            for bucket in pace.buckets.values():
                bucket.waiting.clear()


def share_of_quotas(share: float) -> float:
    """The same number, if it can be a share.

    :raises InvalidInput: it can't.
    """
    if not 0 < share <= 1:
        raise InvalidInput(f"A share of the quotas is a number above 0, at most 1; got {share!r}.")
    return share


PACES = Paces()
os.register_at_fork(after_in_child=_Shared.renew)
