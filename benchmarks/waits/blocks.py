"""For how long an event loop is kept from answering."""

from __future__ import annotations

import asyncio
import time
from typing import Any

BEAT = 0.005
"""Seconds between two beats."""


class Heartbeat:
    """Beats in the running loop; how late each beat comes shows what has blocked the loop.

    On a busy machine a beat is also late because other processes run. So the longest callback is measured as
    well, by the processor time of the loop's thread alone.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        """Seconds by which a beat was late at most."""
        self.longest_callback = 0.0
        """Seconds of processor time that one callback took at most."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Beat, and measure each callback of this process's loops, from now on."""
        handle: Any = asyncio.events.Handle
        plain = handle._run

        def measured(this: Any) -> None:
            begun = time.thread_time()
            try:
                plain(this)
            finally:
                self.longest_callback = max(self.longest_callback, time.thread_time() - begun)

        handle._run = measured
        self._task = asyncio.get_running_loop().create_task(self._beat())

    def forget(self) -> None:
        """Measure anew."""
        self.worst = self.longest_callback = 0.0

    async def _beat(self) -> None:
        while True:
            asleep = time.perf_counter()
            await asyncio.sleep(BEAT)
            self.worst = max(self.worst, time.perf_counter() - asleep - BEAT)
