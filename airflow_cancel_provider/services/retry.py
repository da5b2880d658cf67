"""How long a call is repeated while a service throttles, fails or can't be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from math import inf
from typing import Any, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long calls are repeated, in seconds, with exponential backoff and full jitter.

    ``seconds`` counts from the last answer, not from the first call: a long series of calls that a quota
    slows down goes on as long as it makes progress, and a service that is down is waited for only once.
    Only time spent on calls counts, not the time between them.

    :param longest_turn: seconds for which the quotas may hold back the calls of a series; then they are sent
        all the same.
    :param meanwhile: entered when a call has its turn for the first time, and left at its end.
    :param is_urgent: whether all its calls go before others, as those of a cancel do.
    """

    seconds: float = 120.0
    first_pause: float = 0.5
    longest_pause: float = 20.0
    longest_turn: float = inf
    meanwhile: Callable[[], AbstractContextManager[Any]] = nullcontext
    is_urgent: bool = False

    def started(self, *, urgent: bool = False) -> CallSeries:
        """Begin a series of calls.

        :param urgent: those of a cancel; they go before others.
        """
        return CallSeries(self, urgent=urgent or self.is_urgent)

    @property
    def brief(self) -> Patience:
        """A quarter of it: for what may be left out."""
        return replace(self, seconds=self.seconds / 4)


Turn = Callable[..., float]
"""Waits until a call may be sent, and gives the seconds waited: see :meth:`Meter.wait`."""


def at_once(**_: object) -> float:
    """Nothing to wait for."""
    return 0.0


def unasked(_: BaseException) -> float:
    """The service does not say when to call again."""
    return 0.0


class CallSeries:
    """One series of calls under one :class:`Patience`; several threads may make them."""

    def __init__(self, patience: Patience, *, urgent: bool = False) -> None:
        self._patience, self._is_urgent = patience, urgent
        self._held_until = time.monotonic() + patience.longest_turn
        self.seconds_in_vain = 0.0
        """Seconds spent on calls that were not answered, since the last answer."""
        self._answered_at = -inf

    def call(
        self,
        function: Callable[[], T],
        transient: Callable[[BaseException], bool],
        turn: Turn = at_once,
        asked: Callable[[BaseException], float] = unasked,
    ) -> T:
        """Call until it succeeds, fails for good, or patience runs out: then the last error is raised.

        :param asked: seconds for which an error asks to wait. Where patience ends before, it is repeated
            after its longest pauses: it may be answered all the same.
        :param turn: called before each attempt. What it waits is not held against the service: where others
            use the quota as well, the next turn may come later than patience would last. Who has no time for
            turns has none for those of repeated calls.
        """
        since, in_vain = time.monotonic(), self.seconds_in_vain

        def waited() -> float:
            if self._answered_at > since:  # to another thread
                return time.monotonic() - self._answered_at
            return in_vain + time.monotonic() - since

        def is_exhausted(_: RetryCallState) -> bool:
            return waited() >= self._patience.seconds

        backoff = wait_random_exponential(self._patience.first_pause, max=self._patience.longest_pause)

        def pause(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            seconds, left = asked(error) if error else 0.0, self._patience.seconds - waited()
            return max(
                backoff(state), seconds if seconds <= left else min(self._patience.longest_pause, left)
            )

        retrying = Retrying(
            stop=is_exhausted,
            wait=pause,
            retry=retry_if_exception(transient),
            reraise=True,
        )

        def attempt() -> T:
            nonlocal since
            again = retrying.statistics["attempt_number"] > 1
            left = max(0.0, self._held_until - time.monotonic())
            held_back = turn(urgent=self._is_urgent, again=again, at_most=left)
            if not again:
                stack.enter_context(self._patience.meanwhile())
                since = time.monotonic()
            elif self._patience.longest_turn == inf:
                since += held_back
            return function()

        try:
            with ExitStack() as stack:
                answer = retrying(attempt)
        except Exception as error:
            if transient(error):
                self.seconds_in_vain = waited()
            else:
                self._note_answer()  # a refusal is one, too
            raise
        self._note_answer()
        return answer

    def _note_answer(self) -> None:
        self.seconds_in_vain, self._answered_at = 0.0, time.monotonic()
