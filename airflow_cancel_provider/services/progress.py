"""How far a long series of calls has got, for people who wait for it. Imports no SDK."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

EVERY_SECONDS = 5.0
"""Between two lines of a log."""
_present: ContextVar[Callable[[int], None] | None] = ContextVar("progress", default=None)


@contextmanager
def shown(advance: Callable[[int], None]) -> Iterator[None]:
    """Within this context, have a function called with the number of jobs that are done with."""
    token = _present.set(advance)
    try:
        yield
    finally:
        _present.reset(token)


def advance(jobs: int) -> None:
    """Say that so many more jobs are done with, if anybody wants to know."""
    if (present := _present.get()) is not None:
        present(jobs)


class Progress:
    """Counts jobs that are done with, and logs every few seconds: done, total, rate, time left.

    :param what: begins each line.
    :param info: takes a line and its arguments.
    """

    def __init__(
        self, what: str, total: int, info: Callable[..., Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what, self._total, self._info, self._clock = what, total, info, clock
        self.done = 0
        self._began = self._logged = clock()

    def advance(self, jobs: int) -> None:
        """Take in that so many more are done with."""
        self.done += jobs
        now = self._clock()
        if self.done < self._total and now - self._logged >= EVERY_SECONDS:
            self._logged = now
            rate = self.done / (now - self._began)
            left = (self._total - self.done) / rate if rate else 0.0
            figures = (self._what, self.done, self._total, rate, in_words(left))
            self._info("%s: %d of %d jobs, %.1f a second, about %s left.", *figures)


def in_words(seconds: float) -> str:
    """A time for people: seconds, or minutes if it is long."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
