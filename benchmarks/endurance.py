"""Thousands of waits in one event loop while everything fails by turns: ``make endurance``.

Jobs end at an even rate; for each wait that is over another one begins, so that their number stays. Meanwhile
the account throttles, has outages, resets connections, and the connection in Airflow is edited, whereupon its
old credentials expire. The process samples its memory, threads and file descriptors.

Exits with 1 if the end of a job was not seen, or late, or reported wrongly, or if one of the samples grew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count, cycle
from typing import Any

from benchmarks.account.ends import Finishing
from benchmarks.account.population import SERVICES
from benchmarks.account.process import account, control, figures
from benchmarks.account.server import FINISH, TROUBLE
from benchmarks.processes import connection, environment, home, last_line
from benchmarks.scale import memory
from benchmarks.waits.blocks import Heartbeat
from benchmarks.waits.plan import Plan
from benchmarks.waits.run import LATENCY
from benchmarks.waits.triggers import addresses, trigger

DELAY = 10.0
SAMPLE_EVERY = 5.0
TROUBLE_SECONDS, QUIET_SECONDS = 5.0, 20.0
"""Credentials so expire every 100 s; real ones live for 900 s at least."""
TROUBLES: tuple[dict[str, Any], ...] = (
    {"kind": "throttled", "share": 0.5},
    {"kind": "outage", "share": 1.0},
    {"kind": "reset", "share": 0.5},
    {"kind": "expired"},
)
AFTER_TROUBLE = 20.0
"""Seconds for which a poll may go on repeating its calls, and pause, after a trouble."""
PACE_LEFT = 0.7
"""Share of the quota that is used: the account throttles calls by turns, and the pace heeds it."""
MARGIN = 2.0
GROWTH = {"memory": (1.05, 16.0), "threads": (1.0, 2.0), "files": (1.0, 8.0)}
"""How far the last third of the samples may exceed the second one: times, and so many more. A client with old
credentials keeps its connections until Python collects it."""


class Endurance:
    """The waits, and what goes on around them."""

    def __init__(self, url: str, plan: Plan) -> None:
        self.url, self.plan = url, plan
        self.jobs = dict(addresses(plan.population))
        self.finishing = Finishing(0.0, 1.0, plan.ending)
        self.seen: dict[int, float] = {}
        self.wrong: list[str] = []
        self.samples: list[dict[str, float]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.heartbeat = Heartbeat()
        self.is_over = False

    async def run(self) -> dict[str, Any]:
        """Wait, be disturbed, and report."""
        self.heartbeat.start()
        for number in self.jobs:
            self._begin(number)
        await asyncio.sleep(DELAY * 2)
        self.heartbeat.forget()
        queues = [(steps.start, steps.stop) for steps in self.plan.population.scopes("emr")]
        self.finishing = Finishing(time.time(), self.plan.window, self.plan.ending, queues)
        await asyncio.to_thread(control, self.url, FINISH, **self.finishing.__dict__)
        around = [asyncio.create_task(each) for each in (self._disturb(), self._sample())]
        await asyncio.sleep(self.plan.window)
        await self._until_seen()
        self.is_over = True
        for task in (*around, *self.tasks):
            task.cancel()
        await asyncio.wait([*around, *self.tasks])
        return self._report()

    def _begin(self, number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._wait(number))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _wait(self, number: int) -> None:
        job = self.jobs[number]
        try:
            async for event in trigger("ours", job, DELAY).run():
                self._take_in(number, event.payload)
                break
        except Exception as error:  # noqa: BLE001  what would end a trigger in a triggerer is what is looked for
            self.wrong.append(f"{job}: {error!r}")
        self._begin(self._another(number))

    def _another(self, number: int) -> int:
        """A job of the same cluster, application or queue that lives on."""
        for numbers in map(self.plan.population.scopes, SERVICES):
            for some in numbers:
                if number in some:
                    return next((each for each in reversed(some) if self.finishing.at(each) is None), number)
        return number

    def _take_in(self, number: int, payload: dict[str, Any]) -> None:
        at = self.finishing.at(number)
        if payload["error"] or at is None or number in self.seen or time.time() < at:
            self.wrong.append(f"{self.jobs[number]}: {payload['error'] or 'an event for a job that lives'}")
        self.seen[number] = time.time()

    async def _disturb(self) -> None:
        keys = (f"key{number}" for number in count())
        key = "bench"
        for trouble in cycle(TROUBLES):
            await asyncio.sleep(QUIET_SECONDS)
            how = dict(trouble)
            if trouble["kind"] == "expired":
                how["key"], key = key, next(keys)
                os.environ["AIRFLOW_CONN_AWS_DEFAULT"] = connection(self.url, key)
            await asyncio.to_thread(control, self.url, TROUBLE, seconds=TROUBLE_SECONDS, **how)
            await asyncio.sleep(TROUBLE_SECONDS)

    async def _sample(self) -> None:
        while True:
            files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  a pathlib call is refused in async code
            threads = float(threading.active_count())
            self.samples.append({"memory": memory.resident(), "threads": threads, "files": float(files)})
            await asyncio.sleep(SAMPLE_EVERY)

    def _ends(self) -> dict[int, float]:
        return {number: at for number in self.jobs if (at := self.finishing.at(number)) is not None}

    async def _until_seen(self) -> None:
        deadline = time.time() + 2 * self.plan.latest_in_order(PACE_LEFT) + 3 * AFTER_TROUBLE
        while self._ends().keys() - self.seen.keys() and time.time() < deadline:  # noqa: ASYNC110  of many
            await asyncio.sleep(0.5)

    def _report(self) -> dict[str, Any]:
        ends, met = self._ends(), control(self.url, TROUBLE, kind="none")
        late: dict[str, list[float]] = {service: [] for service in SERVICES}
        for number in ends.keys() & self.seen.keys():
            late[self.jobs[number].service].append(self.seen[number] - ends[number])
        return {
            "ends": len(ends),
            "lost": len(ends) - sum(map(len, late.values())),
            "late": {service: _spread(some) for service, some in late.items()},
            "most": self.plan.latest_in_order(PACE_LEFT) + DELAY + TROUBLE_SECONDS + AFTER_TROUBLE + MARGIN,
            "wrong": self.wrong,
            "block": self.heartbeat.worst,
            "callback": self.heartbeat.longest_callback,
            "cpu": time.process_time(),
            "samples": self.samples,
            "troubles": met,
            "calls": figures(self.url)["calls"],
        }


def _spread(seconds: list[float]) -> dict[str, float]:
    """Median, 99 % and worst; zeros where there are none."""
    some = sorted(seconds) or [0.0]
    return {"median": statistics.median(some), "99 %": some[int(len(some) * 0.99) - 1], "worst": some[-1]}


def problems(found: dict[str, Any]) -> Iterator[str]:
    """What is not as it should be, a sentence each."""
    if found["lost"]:
        yield f"The ends of {found['lost']} jobs of {found['ends']} were not seen."
    for service, late in found["late"].items():
        worst, most = late["worst"], found["most"]
        if worst > most:
            yield f"An end in {service} was seen after {worst:.1f} s; allowed are {most:.1f} s."
    yield from found["wrong"][:5]
    third = len(found["samples"]) // 3
    for what, (times, more) in GROWTH.items() if third else ():
        values = [sample[what] for sample in found["samples"]]
        before, after = statistics.median(values[third : 2 * third]), statistics.median(values[2 * third :])
        if after > before * times + more:
            yield f"{what} grew from {before:.0f} to {after:.0f}."
    for kind in ("throttled", "outage", "reset", "expired"):
        if not found["troubles"].get(kind):
            yield f"No call has met the trouble {kind!r}; let it run longer."


def main() -> int:
    """Run it in a new process, and say what came of it."""
    options = _options()
    if options.url:
        print(json.dumps(asyncio.run(Endurance(options.url, Plan(**json.loads(options.plan))).run())))
        return 0
    plan = Plan("ours", options.waits, DELAY, options.minutes * 60, ending=2)
    with home() as folder, account(plan.population, LATENCY) as url:
        args = ["--url", url, "--plan", json.dumps(plan.as_json())]
        found = last_line("benchmarks.endurance", *args, env=environment(folder, url))
    last = found["samples"][-1]
    print(
        f"{options.waits:,} waits for {options.minutes:g} minutes; {found['ends']:,} of their jobs ended; "
        f"{found['most']:.1f} s are allowed until one is seen"
    )
    for service, late in found["late"].items():
        print(f"  {service}: " + ", ".join(f"{seconds:.1f} s ({what})" for what, seconds in late.items()))
    print(
        f"worst block of the event loop {found['block']:.3f} s, longest callback "
        f"{found['callback']:.3f} s of CPU; CPU {found['cpu']:.0f} s; in the end "
        f"{last['memory']:.0f} MiB, {last['threads']:.0f} threads, {last['files']:.0f} file descriptors\n"
        f"calls that met a trouble: {found['troubles']}"
    )
    for name, call in found["calls"].items():
        print(f"  {name}: {call['calls']:,} calls, {call['throttled']:,} throttled by the quota")
    wrong = list(problems(found))
    print("\n".join(wrong) or "None lost, none late, nothing grew.")
    return int(bool(wrong))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--waits", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=6.0, help="over which half of the jobs end")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
