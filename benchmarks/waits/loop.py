"""One event loop with many waits, in a process of its own; the last line of its output is JSON.

``python -m benchmarks.waits.loop <address of the account> <plan as JSON>``
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

from benchmarks.account.ends import Finishing
from benchmarks.account.process import control, figures
from benchmarks.account.server import FINISH
from benchmarks.collections import Collections
from benchmarks.scale import memory
from benchmarks.waits.blocks import Heartbeat
from benchmarks.waits.plan import Plan
from benchmarks.waits.triggers import addresses, trigger

STARTED_WITHIN = 300.0
"""Seconds after which waits that have not polled yet are no longer waited for."""
MARGIN = 15.0
"""Seconds that an event may come later than it should before its wait counts as lost."""


class Waits:
    """All waits of a plan, and when their events came."""

    def __init__(self, url: str, plan: Plan) -> None:
        self.url, self.plan = url, plan
        self.events: dict[int, float] = {}
        self.errors: list[str] = []
        self.heartbeat = Heartbeat()

    async def run(self) -> dict[str, Any]:
        """Start them, count for the length of the window, and wait for the events that are to come."""
        before, began, cpu = memory.resident(), time.monotonic(), time.process_time()
        self.heartbeat.start()
        jobs = list(addresses(self.plan.population))
        tasks = [asyncio.create_task(self._wait(number, job)) for number, job in jobs]
        await self._all_have_polled()
        start = {
            "seconds": time.monotonic() - began,
            "cpu": time.process_time() - cpu,
            "block": self.heartbeat.worst,
            "callback": self.heartbeat.longest_callback,
        }
        found = await self._window()
        found |= {"start": start, "memory": memory.resident() - before}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return found | {"errors": len(self.errors), "error": (self.errors or [""])[0]}

    async def _wait(self, number: int, job: Any) -> None:
        try:
            async for _ in trigger(self.plan.side, job, self.plan.delay).run():
                self.events[number] = time.time()
                break
        except Exception as error:  # noqa: BLE001  what a triggerer would log as the end of the trigger
            self.errors.append(f"{job}: {error!r}")

    async def _all_have_polled(self) -> None:
        """Ours have after one poll; of stock triggers each makes a call of its own."""
        if self.plan.side == "ours":
            await asyncio.sleep(self.plan.delay * 1.2)
            return
        deadline = time.monotonic() + STARTED_WITHIN
        while time.monotonic() < deadline:
            if sum(call["calls"] for call in (await self._calls()).values()) >= self.plan.waits:
                return
            await asyncio.sleep(1)

    async def _window(self) -> dict[str, Any]:
        plan, began = self.plan, time.time()
        finishing = Finishing(began, plan.window, plan.ending)
        await asyncio.to_thread(control, self.url, FINISH, **finishing.__dict__)
        calls, cpu = await self._calls(), time.process_time()
        self.heartbeat.forget()
        collections = Collections()
        await asyncio.sleep(plan.window)
        seconds = time.time() - began
        used = {"cpu": time.process_time() - cpu, "seconds": seconds}
        worst = {"block": self.heartbeat.worst, "callback": self.heartbeat.longest_callback}
        worst["collection"] = collections.longest
        made = _difference(await self._calls(), calls, seconds)
        ends = {number: at for number in range(plan.waits) if (at := finishing.at(number)) is not None}
        await self._until_seen(ends, began + plan.window + plan.latest_of_any() + MARGIN)
        late = sorted(self.events[number] - at for number, at in ends.items() if number in self.events)
        return {
            **used,
            **worst,
            "calls": made,
            "ends": len(ends),
            "lost": len(ends) - len(late),
            "late": {"median": statistics.median(late or [0.0]), "worst": max(late, default=0.0)},
            "latest": plan.latest_of_any(),
        }

    async def _calls(self) -> dict[str, Any]:
        found: dict[str, Any] = (await asyncio.to_thread(figures, self.url))["calls"]
        return found

    async def _until_seen(self, ends: dict[int, float], deadline: float) -> None:
        while ends.keys() - self.events.keys() and time.time() < deadline:  # noqa: ASYNC110  events come one by one
            await asyncio.sleep(0.1)


def _difference(now: dict[str, Any], then: dict[str, Any], seconds: float) -> dict[str, dict[str, float]]:
    """Calls and throttled ones a minute, by service and operation."""
    found = {}
    for name, call in now.items():
        before = then.get(name, {"calls": 0, "throttled": 0})
        words = ("calls", "throttled")
        found[name] = {word: (call[word] - before[word]) * 60 / seconds for word in words}
    return {name: rates for name, rates in found.items() if rates["calls"]}


def main() -> None:
    """Run the plan, and print."""
    url, plan = sys.argv[1], Plan(**json.loads(sys.argv[2]))
    print(json.dumps(asyncio.run(Waits(url, plan).run())))


if __name__ == "__main__":
    main()
