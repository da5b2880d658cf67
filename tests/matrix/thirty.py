"""Thirty tasks at once in one Airflow, or more, each killed in another way: none left, none wrong."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tests.matrix import report
from tests.matrix.cells import ALONE, REAPER, RUNNING, WAITING
from tests.matrix.ground import ground
from tests.matrix.reaper import with_reaper
from tests.matrix.runner import Runner
from tests.matrix.scenario import Cell, Expected, Result, Scenario
from tests.matrix.victim import PATIENCE
from tests.real_airflow.statsd import Statsd

LOOP = "scheduler_loop_duration"
MANY = 30
BETWEEN_FAULTS = 0.1
WITHIN = 60.0
"""Seconds for a cancel: thirty faults at once keep the machine busy, and what counts is that none is left.
More tasks have more."""
HEARTBEAT_TIMEOUT = 15
"""Seconds after which Airflow takes a task for lost. More tasks have more: a busy machine is no fault."""


def is_one_kill(scenario: Scenario) -> bool:
    """Whether it ends one task, at a moment that is chosen: what strikes by itself can't wait for others."""
    strikes_by_itself = scenario.ready or scenario.shape not in ("waits", "retries")
    killed = scenario.expected is Expected.CANCELLED
    return killed and scenario.runs == 1 and not scenario.phase and not strikes_by_itself


def choose(count: int = MANY) -> list[Cell]:
    """So many different cells: each scenario once before one comes again, services and modes in turn."""
    within = WITHIN * _times(count)
    known = (_patient(scenario, within) for scenario in (*RUNNING, *WAITING, *ALONE, *REAPER))
    scenarios = [scenario for scenario in known if is_one_kill(scenario)]
    chosen: list[Cell] = []
    while len(chosen) < count and (more := [*_one_of_each(scenarios, chosen)]):
        chosen += more
    return chosen[:count]


def _times(count: int) -> float:
    """How much more time than thirty tasks so many have."""
    return max(1.0, count / MANY)


def _patient(scenario: Scenario, within: float) -> Scenario:
    return replace(with_reaper(scenario), within=max(scenario.within, within))


def _one_of_each(scenarios: list[Scenario], taken: list[Cell]) -> Iterator[Cell]:
    """A new cell of each, whose service and mode were chosen least so far."""
    pairs = Counter((c.service, c.mode) for c in taken)
    services, modes = Counter(c.service for c in taken), Counter(c.mode for c in taken)
    for scenario in scenarios:
        left = [cell for cell in scenario.cells() if cell not in taken]
        if not left:
            continue
        cell = min(left, key=lambda c: (pairs[c.service, c.mode], services[c.service], modes[c.mode]))
        pairs[cell.service, cell.mode] += 1
        services[cell.service] += 1
        modes[cell.mode] += 1
        yield cell


def main() -> int:
    """Run them; exit code 1 if one is not as it should be."""
    options = _options()
    begun = time.monotonic()
    chosen = choose(options.count)
    guarded = not options.unguarded
    seconds = round(HEARTBEAT_TIMEOUT * _times(len(chosen)))
    timeout = {"AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(seconds)}
    with (
        Statsd("scheduler.scheduler_loop_duration") as statsd,
        ground(
            guarded=guarded,
            sqlite=options.sqlite,
            reaper=guarded,
            keep=options.keep,
            tasks=2 * len(chosen),
            more=statsd.settings | timeout,
        ) as up,
    ):
        print(f"{len(chosen)} tasks, each killed in another way; logs in {up.airflow.home}", flush=True)
        patience = PATIENCE * _times(len(chosen))
        runner = Runner(up, _tell, at_once=len(chosen), between_faults=BETWEEN_FAULTS, patience=patience)
        results = runner.run(chosen)
        up.keeps_home |= guarded and not all(result.is_expected for result in results)
        first = [min(victim.strikes) for victim in runner.victims if victim.strikes]
        loops = [each for name, some in statsd.timings.items() if name.endswith(LOOP) for each in some]
    if loops:
        print(f"Scheduler loop: {_spread(loops)}, guard {'on' if guarded else 'off'}.")
    if not guarded:
        return 0
    print(f"\n{report.table({'on': results})}\n")
    print(report.summary("on", results))
    print(
        f"{len(runner.victims)} in place before the first fault, {len(first)} struck within "
        f"{max(first) - min(first):.1f} s; {time.monotonic() - begun:.0f} s in all."
    )
    for line in report.problems(results):
        print(f"NOT AS EXPECTED: {line}")
    return int(len(results) < len(chosen) or any(not result.is_expected for result in results))


def _spread(milliseconds: Sequence[float]) -> str:
    shares = statistics.quantiles(milliseconds, n=20)
    return (
        f"{shares[9]:.0f} ms (median), {shares[18]:.0f} ms (95 %), {max(milliseconds):.0f} ms (worst), "
        f"{len(milliseconds)} times"
    )


def _tell(result: Result) -> None:
    seconds = "" if result.seconds is None else f"{result.seconds:.2f} s"
    mark = " " if result.is_expected else "!"
    print(f"{mark} {result.cell.name}: {result.verdict} {seconds} {result.note}".rstrip(), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix.thirty", description=__doc__)
    parser.add_argument("--count", type=int, default=MANY, help="tasks that are in place together")
    parser.add_argument(
        "--unguarded", action="store_true", help="guard and reaper off: only the scheduler's loop is measured"
    )
    parser.add_argument("--sqlite", action="store_true", help="no PostgreSQL")
    parser.add_argument("--keep", action="store_true", help="keep Airflow's home with its logs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
