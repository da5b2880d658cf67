"""The requests of one service object: counted by operation, and each let go in its turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from copy import copy
from math import inf
from typing import Any, Self

from airflow_cancel_provider.services.ratelimit import EVERY, Pace, Turn, exclusive

MOST_FIRST = 20
"""How many calls of a poll, beyond those that it has paid for, go before other polls."""


class Meter:
    """Counts requests, and lets them go at the pace of their account. Copies count together.

    :param pace: finds the pace; asked for each request, because credentials may show their account late.
    """

    def __init__(self, pace: Callable[[], Pace]) -> None:
        self.traffic: Counter[str] = Counter()
        self.own: Counter[str] = Counter()
        """Requests through this copy alone: other copies send theirs at the same time."""
        self._pace = pace
        self.paid: Counter[str] = Counter()
        self.first_calls = 0
        """How many more calls of a poll, which has had its turn, go before polls that have not."""

    def turn(self, operation: str, **how: Any) -> float:
        """As :meth:`wait`, and count the request."""
        waited = self.wait(operation, **how)
        self.count(operation)
        return waited

    def not_sent(self, operation: str) -> None:
        """Take back a turn that was not used."""
        self._put_back(operation, 1)
        self.count(operation, -1)

    @property
    def holds_back(self) -> bool:
        """Whether a call of a cancel waits for the quota."""
        buckets = self._pace().buckets.values()
        return any(ticket.is_urgent for bucket in buckets for ticket in [*bucket.waiting])

    def wait(
        self, operation: str, *, urgent: bool = False, again: bool = False, at_most: float = inf
    ) -> float:
        """Wait for a request's turn; seconds waited.

        :param urgent: of a cancel.
        :param again: the same request was throttled before.
        :param at_most: seconds after which it goes although it is not its turn.
        """
        waited = 0.0
        if not self._is_paid(operation):
            buckets, begun = self._pace().of(operation), self.first_calls > 0
            self.first_calls -= begun
            with Turn(buckets, urgent=urgent, again=again, begun=begun) as turn:
                waited = self._wait(turn, at_most)
        return waited

    def _wait(self, turn: Turn, at_most: float) -> float:
        pace = self._pace()
        came = pace.clock()
        while seconds := turn.take():
            left = came + at_most - pace.clock()
            if left <= 0:
                turn.take_anyway()
                break
            pace.sleep(min(seconds, left))
        return pace.clock() - came

    async def prepaid(self, operation: str, calls: int, *, at_once: bool = False) -> Self:
        """Wait, on the event loop, until so many requests are let go; a copy that has paid for them.

        :param at_once: it has waited before; those who come later wait for these requests, too.
        """
        with Turn(self._pace().of(operation), calls) as turn:
            if at_once:
                turn.take_anyway()
            else:
                while seconds := turn.take():  # noqa: ASYNC110  tokens come with time alone
                    await asyncio.sleep(seconds)
        other = copy(self)
        other.paid, other.own = Counter({self._name(operation): calls}), Counter()
        other.first_calls = MOST_FIRST
        return other

    def give_back(self) -> None:
        """Put back what was paid for and not used."""
        left, self.paid = self.paid, Counter()
        for name, calls in left.items():
            self._put_back(name, calls)

    def _put_back(self, operation: str, calls: int) -> None:
        buckets = self._pace().of(operation)
        with exclusive():
            for bucket in buckets:
                bucket.spend(-calls)

    def throttled(self, operation: str) -> None:
        """Take in that the service throttled a request: slow down."""
        for bucket in self._pace().of(operation)[:1]:
            with exclusive():
                bucket.slow_down()

    def repeated(self, operation: str, times: int) -> None:
        """Count what a client has sent again by itself; who comes next waits for it, too."""
        if times:
            buckets = self._pace().of(operation)
            with exclusive():
                for bucket in buckets:
                    bucket.spend(times)
            self.count(operation, times)

    def _name(self, operation: str) -> str:
        """What a request is paid for as."""
        return operation if operation in self._pace().buckets else EVERY

    def _is_paid(self, operation: str) -> bool:
        if not self.paid:
            return False
        name = self._name(operation)
        with exclusive():
            is_paid = self.paid[name] > 0
            self.paid[name] -= is_paid
            return is_paid

    def count(self, operation: str, times: int = 1) -> None:
        """Count requests that are sent."""
        with exclusive():
            self.traffic[operation] += times
            self.own[operation] += times
