"""How long a call is repeated while a service throttles, fails or can't be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long calls are repeated, in seconds, with exponential backoff and full jitter.

    ``seconds`` counts from the last answer, not from the first call: a long series of calls that a quota
    slows down goes on as long as it makes progress, and a service that is down is waited for only once.
    Only time spent on calls counts, not the time between them.
    """

    seconds: float = 120.0
    first_pause: float = 0.5
    longest_pause: float = 20.0

    def started(self) -> CallSeries:
        """Begin a series of calls."""
        return CallSeries(self)

    @property
    def brief(self) -> Patience:
        """A quarter of it: for what may be left out."""
        return replace(self, seconds=self.seconds / 4)


def _at_once() -> None:
    """Nothing to wait for."""


class CallSeries:
    """One series of calls under one :class:`Patience`."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._in_vain = 0.0
        """Seconds spent on calls before the present one, since the last answer."""
        self._since = time.monotonic()

    def call(
        self,
        function: Callable[[], T],
        transient: Callable[[BaseException], bool],
        turn: Callable[[], None] = _at_once,
    ) -> T:
        """Call until it succeeds, fails for good, or patience runs out: then the last error is raised.

        :param turn: called before each attempt; may wait, which is not held against the service.
        """
        retrying = Retrying(
            stop=self._is_exhausted,
            wait=wait_random_exponential(self._patience.first_pause, max=self._patience.longest_pause),
            retry=retry_if_exception(transient),
            reraise=True,
        )

        def attempt() -> T:
            came = time.monotonic()
            turn()
            self._since += time.monotonic() - came
            return function()

        self._since = time.monotonic()
        try:
            answer = retrying(attempt)
        except Exception as error:
            # A refusal is an answer, too.
            self._in_vain = self._waited if transient(error) else 0.0
            raise
        self._in_vain = 0.0
        return answer

    @property
    def seconds_in_vain(self) -> float:
        """How long the call that failed last was tried, and the failed ones before it."""
        return self._in_vain

    @property
    def _waited(self) -> float:
        return self._in_vain + time.monotonic() - self._since

    def _is_exhausted(self, _: RetryCallState) -> bool:
        return self._waited >= self._patience.seconds
