"""Thousands of deferred tasks in a real triggerer while everything fails by turns: ``make endurance``.

Jobs end at an even rate; for each task that is resumed another one is deferred, so that their number stays.
Meanwhile the account throttles, has outages, resets connections, and the connection in Airflow is edited,
whereupon its old credentials expire. Once hundreds of tasks are marked as failed together. Memory,
threads and file descriptors of the triggerer are sampled.

Exits with 1 if the end of a job was not seen, or late, or reported wrongly, if other jobs were cancelled than
those of the marked tasks, or if one of the samples grew.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from itertools import count, cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

from airflow_cancel_provider.owner import Label, deployment_of
from benchmarks.account.ends import Finishing
from benchmarks.account.population import DEPLOYMENT, SERVICES, try_id
from benchmarks.account.process import ROOT, account, control, figures
from benchmarks.account.server import FINISH, TROUBLE
from benchmarks.deferred import DeferredTasks, heartbeat_age, keep_connection
from benchmarks.processes import access_key, connection, home
from benchmarks.scale import memory
from benchmarks.waits.plan import Plan
from benchmarks.waits.run import LATENCY
from benchmarks.waits.triggers import addresses
from tests.matrix.postgres import postgres
from tests.real_airflow.processes import children
from tests.real_airflow.system import AirflowSystem

DELAY = 10.0
STEP = 0.5
SAMPLE_EVERY = 5.0
STARTED_WITHIN = 600.0
"""Seconds until the triggerer has taken up all tasks, at most."""
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
PACE_LEFT = 0.55
"""Share of the quota that is used: the account throttles calls by turns, and the pace heeds it. This is the
lowest of 20 simulated runs of a pace of 0.5 calls a second under these troubles; their mean is 0.72."""
MARGIN = 2.0
KILLED = 10
"""One of so many tasks is marked as failed."""
OLDEST_HEARTBEAT = 30.0
"""Seconds after which another triggerer would take over (``triggerer_health_check_threshold``)."""
BLOCKED = re.compile(r"async thread was blocked for ([\d.]+) seconds")
GROWTH = {"memory": (1.05, 16.0), "threads": (1.0, 2.0), "files": (1.0, 8.0)}
"""How far the last third of the samples may exceed the second one: times, and so many more. A client with old
credentials keeps its connections until Python collects it."""
SETTINGS = {
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    # With the default of 50, a triggerer takes minutes to take up thousands.
    "AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP": "500",
    "AIRFLOW__TRIGGERER__BLOCKED_MAIN_THREAD_WARNING_THRESHOLD": "0.15",
    "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": DEPLOYMENT,
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
}


class Endurance:
    """The tasks, and what goes on around them.

    :param pid: of the triggerer.
    :param folder: with its log.
    """

    def __init__(self, url: str, plan: Plan, pid: int, folder: Path) -> None:
        self.url, self.plan, self.pid, self.folder = url, plan, pid, folder
        self.jobs = dict(addresses(plan.population))
        self.finishing = Finishing(0.0, 1.0, plan.ending)
        self.seen: dict[int, float] = {}
        self.killed: dict[int, float] = {}
        """When the cancel of a marked task's job was noticed, in epoch seconds; 0 before that."""
        self.killed_at = 0.0
        self.wrong: list[str] = []
        self.samples: list[dict[str, float]] = []
        self.tasks = DeferredTasks(DELAY)
        self.numbers: dict[int, int] = {}
        """The job's number by the task's map index."""
        keep_connection(connection(url, access_key(0)))
        self._around = [self._troubles(), self._sampled(), self._marked()]

    def run(self) -> dict[str, Any]:
        """Wait, be disturbed, and report."""
        started = self._start()
        queues = [(steps.start, steps.stop) for steps in self.plan.population.scopes("emr")]
        self.finishing = Finishing(time.time(), self.plan.window, self.plan.ending, queues)
        control(self.url, FINISH, **self.finishing.__dict__)
        most = 2 * self.plan.latest_in_order(PACE_LEFT) + 3 * AFTER_TROUBLE
        due = dict.fromkeys(self._around, 0.0)
        over = time.time() + self.plan.window
        while (now := time.time()) < over or (now < over + most and not self._is_over()):
            self._take()
            for each in (each for each in self._around if due[each] <= now):
                due[each] = now + next(each)
            time.sleep(STEP)
        return self._report(started)

    def _start(self) -> float:
        """Defer all tasks; seconds until the triggerer has taken them all up."""
        begun = time.time()
        self._begin(self.jobs, is_first=True)
        while self.tasks.running() < len(self.jobs):
            if time.time() > begun + STARTED_WITHIN:
                raise TimeoutError(f"The triggerer has taken up {self.tasks.running()} tasks only.")
            time.sleep(STEP)
        took = time.time() - begun
        time.sleep(DELAY * 2)
        return took

    def _begin(self, numbers: Iterable[int], *, is_first: bool = False) -> None:
        numbers = list(numbers)
        # The label of a job names its first task; no other one may cancel it.
        waits = [(self.jobs[n], try_id(n) if is_first else uuid4()) for n in numbers]
        self.numbers |= zip(self.tasks.add(waits), numbers, strict=True)

    def _another(self, number: int) -> int:
        """A job of the same cluster, application or queue that lives on."""
        for numbers in map(self.plan.population.scopes, SERVICES):
            for some in numbers:
                if number in some:
                    return next((each for each in reversed(some) if self.finishing.at(each) is None), number)
        return number

    def _take(self) -> None:
        fired = self.tasks.fired()
        for each in fired:
            number = self.numbers[each.index]
            at = self.finishing.at(number)
            error = each.payload["error"] if each.payload else "the trigger failed"
            if error or at is None or number in self.seen or each.at < at:
                self.wrong.append(f"{self.jobs[number]}: {error or 'an event for a job that lives'}")
            self.seen[number] = each.at
        if fired:
            self._begin(self._another(self.numbers[each.index]) for each in fired)

    def _troubles(self) -> Iterator[float]:
        keys = map(access_key, count(1))
        key = access_key(0)
        for trouble in cycle(TROUBLES):
            yield QUIET_SECONDS
            how = dict(trouble)
            if trouble["kind"] == "expired":
                how["key"], key = key, next(keys)
                keep_connection(connection(self.url, key))
            control(self.url, TROUBLE, seconds=TROUBLE_SECONDS, **how)
            yield TROUBLE_SECONDS

    def _sampled(self) -> Iterator[float]:
        (runner,) = children(self.pid)
        while True:
            found = {"heartbeat": heartbeat_age(), "supervisor memory": memory.resident(self.pid)}
            threads, files = (_entries(runner, each) for each in ("task", "fd"))
            found |= {"supervisor files": _entries(self.pid, "fd"), "threads": threads, "files": files}
            self.samples.append({**found, "memory": memory.resident(runner)})
            yield SAMPLE_EVERY

    def _marked(self) -> Iterator[float]:
        """Mark tasks whose jobs would live on, each the only one of its job; see when these are cancelled."""
        yield self.plan.window / 4
        first = {number: index for index, number in reversed(self.numbers.items())}
        waits = Counter(self.numbers.values())
        alone = [n for n in self.jobs if self._is_ours(n) and waits[n] == 1]
        chosen = alone[:: max(1, len(alone) * KILLED // len(self.jobs))]
        self.killed, self.killed_at = dict.fromkeys(chosen, 0.0), time.time()
        self.tasks.mark_failed([first[number] for number in chosen])
        self._begin(map(self._another, chosen))
        while True:
            yield 1.0
            for number in self._cancelled() & self.killed.keys():
                self.killed[number] = self.killed[number] or time.time()

    def _is_ours(self, number: int) -> bool:
        """Whether a job lives on, and its label says that its task may cancel it."""
        label = Label.find(self.plan.population.label(number))
        is_ours = label is not None and label.deployment == deployment_of(DEPLOYMENT)
        return is_ours and self.finishing.at(number) is None

    def _cancelled(self) -> set[int]:
        return {int(number) for number in figures(self.url)["cancelled"]}

    def _ends(self) -> dict[int, float]:
        return {number: at for number in self.jobs if (at := self.finishing.at(number)) is not None}

    def _is_over(self) -> bool:
        return not self._ends().keys() - self.seen.keys() and all(self.killed.values())

    def _report(self, started: float) -> dict[str, Any]:
        ends, met = self._ends(), control(self.url, TROUBLE, kind="none")
        late: dict[str, list[float]] = {service: [] for service in SERVICES}
        for number in ends.keys() & self.seen.keys():
            late[self.jobs[number].service].append(self.seen[number] - ends[number])
        after = [at - self.killed_at for at in self.killed.values() if at]
        log = (self.folder / "triggerer.log").read_text(encoding="utf-8", errors="replace")
        return {
            "started": started,
            "ends": len(ends),
            "lost": len(ends) - sum(map(len, late.values())),
            "late": {service: _spread(some) for service, some in late.items()},
            "most": self.plan.latest_in_order(PACE_LEFT) + DELAY + TROUBLE_SECONDS + AFTER_TROUBLE + MARGIN,
            "killed": len(self.killed),
            "not cancelled": len(self.killed) - len(after),
            "cancelled": _spread(after),
            "others": sorted(self._cancelled() - self.killed.keys()),
            "wrong": self.wrong,
            "blocks": [float(seconds) - 0.1 for seconds in BLOCKED.findall(log)],
            "heartbeat": max(sample["heartbeat"] for sample in self.samples),
            "logs": sum(file.stat().st_size for file in self.folder.rglob("*.log")) / 2**20,
            "samples": self.samples,
            "troubles": met,
            "calls": figures(self.url)["calls"],
        }


def _entries(pid: int, name: str) -> float:
    return float(sum(1 for _ in Path(f"/proc/{pid}/{name}").iterdir()))


def _spread(seconds: Collection[float]) -> dict[str, float]:
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
    if found["not cancelled"]:
        yield f"Jobs of {found['not cancelled']} marked tasks of {found['killed']} were not cancelled."
    if found["others"]:
        yield f"Jobs of tasks that were not marked were cancelled: {found['others'][:5]}."
    yield from found["wrong"][:5]
    if found["heartbeat"] > OLDEST_HEARTBEAT:
        yield f"The triggerer's heartbeat was {found['heartbeat']:.0f} s old."
    yield from _grown(found["samples"])
    for kind in ("throttled", "outage", "reset", "expired"):
        if not found["troubles"].get(kind):
            yield f"No call has met the trouble {kind!r}; let it run longer."


def _grown(samples: list[dict[str, float]]) -> Iterator[str]:
    third = len(samples) // 3
    for what, (times, more) in GROWTH.items() if third else ():
        values = [sample[what] for sample in samples]
        before, after = statistics.median(values[third : 2 * third]), statistics.median(values[2 * third :])
        if after > before * times + more:
            yield f"{what} grew from {before:.0f} to {after:.0f}."


def tell(plan: Plan, found: dict[str, Any]) -> None:
    """Print the figures."""
    print(
        f"{plan.waits:,} deferred tasks in one triggerer, taken up after {found['started']:.0f} s; "
        f"{found['ends']:,} of their jobs ended within {plan.window / 60:g} minutes; "
        f"{found['most']:.1f} s are allowed until one is seen"
    )
    for service, late in found["late"].items():
        print(f"  {service}: {_words(late)}")
    print(f"{found['killed']} tasks were marked as failed; cancelled after {_words(found['cancelled'])}")
    last, blocks = found["samples"][-1], found["blocks"] or [0.0]
    print(
        f"event loop blocked for 0.05 s or more {len(found['blocks'])} times, at most for "
        f"{max(blocks):.2f} s; heartbeat up to {found['heartbeat']:.0f} s old; logs {found['logs']:.0f} MiB\n"
        f"in the end {last['memory']:.0f} MiB, {last['threads']:.0f} threads, {last['files']:.0f} file "
        f"descriptors; its supervisor {last['supervisor memory']:.0f} MiB, "
        f"{last['supervisor files']:.0f} file descriptors\ncalls that met a trouble: {found['troubles']}"
    )
    for name, call in found["calls"].items():
        print(f"  {name}: {call['calls']:,} calls, {call['throttled']:,} throttled by the quota")


def _words(seconds: dict[str, float]) -> str:
    return ", ".join(f"{each:.1f} s ({what})" for what, each in seconds.items())


def main() -> int:
    """Start all that is needed, and run it in a new process."""
    options = _options()
    plan = Plan("ours", options.waits, DELAY, options.minutes * 60, ending=options.ending)
    if options.url:
        found = Endurance(options.url, plan, options.pid, options.folder).run()
        tell(plan, found)
        wrong = list(problems(found))
        print("\n".join(wrong) or "None lost, none late, nothing grew.")
        return int(bool(wrong))
    with ExitStack() as stack:
        folder, calls = stack.enter_context(home()), None
        if options.keep:
            options.keep.mkdir(parents=True)
            folder = options.keep.resolve()
            calls = folder / "calls.jsonl"
        database = stack.enter_context(postgres())
        url = stack.enter_context(account(plan.population, LATENCY, calls))
        settings = SETTINGS | {"AIRFLOW__TRIGGERER__CAPACITY": str(2 * options.waits)}
        airflow = AirflowSystem(folder, folder / "dags", settings, database=database)
        stack.callback(airflow.stop)
        airflow.airflow("db", "migrate")
        command = [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"]
        pid = airflow.processes.start("triggerer", command).pid
        there = ["--url", url, "--pid", str(pid), "--folder", str(folder)]
        again = [sys.executable, "-m", "benchmarks.endurance", *sys.argv[1:], *there]
        return subprocess.run(again, cwd=ROOT, env=airflow.processes.environment, check=False).returncode


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--waits", type=int, default=5000)
    parser.add_argument("--minutes", type=float, default=6.0, help="over which the jobs end that end")
    parser.add_argument("--ending", type=int, default=4, help="one job of so many ends in that time")
    parser.add_argument("--keep", type=Path, help="new folder for the logs and a list of all calls")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--pid", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
