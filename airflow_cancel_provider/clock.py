"""A clock that goes on evenly when the clock of the host is set."""

from __future__ import annotations

import time


class Clock:
    """The time in epoch seconds: read from the host's clock once, from then on by the monotonic clock.

    For durations. Times of one clock can be compared, however the host's clock jumps meanwhile. A process
    that runs for long takes a new one for each piece of work: the host's clock may have been wrong at first.

    :param offset: of the clock of another process on this host, so that both show the same time.
    """

    def __init__(self, offset: float | None = None) -> None:
        self.offset = time.time() - time.monotonic() if offset is None else offset
        """Epoch seconds at zero of the monotonic clock, which all processes of a host share."""

    def now(self) -> float:
        """Epoch seconds."""
        return self.offset + time.monotonic()
