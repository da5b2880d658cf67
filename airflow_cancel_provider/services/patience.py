"""How long a call is repeated while a service throttles, fails or can't be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long calls are repeated, in seconds, with exponential backoff and full jitter.

    ``seconds`` counts from the last answer, not from the first call: a long series of calls that a quota
    slows down goes on as long as it makes progress, and a service that is down is waited for only once.
    """

    seconds: float = 120.0
    first_pause: float = 0.5
    longest_pause: float = 20.0

    def started(self) -> Persistence:
        """Begin a series of calls."""
        return Persistence(self)


class Persistence:
    """One series of calls under one :class:`Patience`."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._last_answer = time.monotonic()

    def call(self, function: Callable[[], T], transient: Callable[[BaseException], bool]) -> T:
        """Call until it succeeds, fails for good, or patience runs out: then the last error is raised."""
        retrying = Retrying(
            stop=self._is_exhausted,
            wait=wait_random_exponential(self._patience.first_pause, max=self._patience.longest_pause),
            retry=retry_if_exception(transient),
            reraise=True,
        )
        try:
            answer = retrying(function)
        except Exception as error:
            if not transient(error):
                self._last_answer = time.monotonic()  # a refusal is an answer, too
            raise
        self._last_answer = time.monotonic()
        return answer

    def _is_exhausted(self, _: RetryCallState) -> bool:
        return time.monotonic() - self._last_answer >= self._patience.seconds
