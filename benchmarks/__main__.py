"""All benchmarks, against the stock way in the same run and against what the quotas allow: ``make bench``.

Writes ``docs/benchmarks/results.json``, the tables and the plots that ``docs/benchmarks.rst`` shows. With
``--only`` it writes nothing; with ``--only ... --update`` the other parts stay as they are there.
Says which goals were missed, and what bounds the figure; that is no failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import parse, report
from benchmarks.account.population import Population
from benchmarks.account.process import ROOT
from benchmarks.cancels import run as cancels
from benchmarks.cancels.plan import Plan as Cancel
from benchmarks.machine import machine
from benchmarks.processes import environment, home, last_line
from benchmarks.scale.run import sweep_over
from benchmarks.series import cancel_panels, wait_panels
from benchmarks.waits import run as waits
from benchmarks.waits.plan import Plan as Wait
from benchmarks.waits.plan import Side

DOCS = ROOT / "docs"
RESULTS, TABLES = DOCS / "benchmarks" / "results.json", DOCS / "benchmarks" / "tables.txt"

WAITS: dict[str, dict[Side, tuple[int, ...]]] = {
    "small": {"ours": (10, 100, 1000), "stock": (10, 30, 100)},
    "full": {"ours": (10, 100, 1000, 5000), "stock": (10, 100, 1000)},
}
CANCELS: dict[str, dict[str, tuple[int, ...]]] = {
    "small": {"emr": (100, 500), "batch": (100, 1000, 10_000), "emr-serverless": (10, 40)},
    "full": {"emr": (100, 1000, 2000), "batch": (100, 1000, 10_000), "emr-serverless": (10, 50, 150)},
}
WINDOW = {"small": 15.0, "full": 60.0}
BUDGET = {"small": 10.0, "full": 60.0}
"""Seconds for the stock way to cancel."""
PROFILED = 10_000
"""From so many jobs on it is measured whose code the processor time goes to."""
REAPED = {"small": (10_000,), "full": (10_000, 100_000)}


def main() -> int:
    """Run what the command line asks for, and write it down."""
    options = _options()
    size, begun = "full" if options.full else "small", time.monotonic()
    parts: dict[str, Callable[[str], Any]] = {
        "parse": lambda _: parse.measure(),
        "guard": lambda _: _in_a_process("benchmarks.guard_cost"),
        "waits": _waits,
        "cancels": _cancels,
        "kills": lambda _: _in_a_process("benchmarks.kills"),
        "reaper": _reaper,
    }
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if options.update else {}
    results |= {"machine": machine(), "size": size}
    broken = []
    for name in options.only or parts:
        print(f"{time.monotonic() - begun:5.0f} s  {name}", flush=True)
        try:
            results[name] = parts[name](size)
        except Exception as error:  # noqa: BLE001  the other parts' figures are not to be lost; exit code 1
            broken.append(f"{name} could not be measured: {error}")
    if options.to or options.update or not options.only:
        _write(results, options.to)
    print(report.document(results))
    print("\n".join([*report.missed(results), *broken]) or "Every goal was met.")
    print(f"{time.monotonic() - begun:.0f} s")
    return int(bool(broken))


def _waits(size: str) -> list[dict[str, Any]]:
    found = []
    for side, numbers in WAITS[size].items():
        for number in numbers:
            found.append(waits.run(Wait(side, number, delay=10.0, window=WINDOW[size])))
            _tell(f"{number:,} waits, {side}")
    return found


def _cancels(size: str) -> list[dict[str, Any]]:
    found = []
    sides: tuple[Side, ...] = ("ours", "stock")
    for service, numbers in CANCELS[size].items():
        for side in sides:
            for number in numbers:
                found.append(cancels.run(Cancel(side, service, number, BUDGET[size])))
                _tell(f"{number:,} cancels, {service}, {side}")
                if side == "ours" and number >= PROFILED:
                    found[-1]["parts"] = cancels.parts(Cancel(side, service, number))
                    _tell("and once more, with a profiler")
    return found


def _reaper(size: str) -> list[dict[str, Any]]:
    found = []
    for jobs in REAPED[size]:
        outcome = sweep_over(Population.of(jobs, jobs // 10), grace=5.0, latency=waits.LATENCY)
        found.append(
            {
                "jobs": outcome.population.size,
                "seconds": outcome.seconds["check"],
                "floor": max(outcome.floors["check"].values()),
                "ratio": outcome.ratio,
                "cpu": outcome.sweep["cpu"],
                "memory": outcome.growth["sweep"],
                "mistakes": outcome.mistakes(),
            }
        )
        _tell(f"sweep over {jobs:,} jobs")
    return found


def _in_a_process(module: str) -> Any:
    with home() as folder:
        return last_line(module, env=environment(folder, "http://127.0.0.1:1"))


def _write(results: dict[str, Any], to: Path | None) -> None:
    """Into the documents; elsewhere if only a part was measured."""
    from benchmarks import plots

    folder, images = (RESULTS.parent, DOCS / "images") if to is None else (to, to)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULTS.name).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / TABLES.name).write_text(report.document(results), encoding="utf-8")
    for name, panels in (("waits", [*wait_panels(results)]), ("cancels", [*cancel_panels(results)])):
        if results.get(name):
            plots.draw(panels, images / f"bench-{name}.svg")


def _tell(words: str) -> None:
    print(f"         {words}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--full", action="store_true", help="5,000 waits, and all sizes of cancels")
    parser.add_argument(
        "--only", nargs="+", choices=("parse", "guard", "waits", "cancels", "kills", "reaper"), help="parts"
    )
    parser.add_argument("--update", action="store_true", help="keep the figures of the other parts")
    parser.add_argument("--to", type=Path, help="a folder for the results, instead of docs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
