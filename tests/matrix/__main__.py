"""Run the matrix and print it; exit 1 when a cell with the guard on is not as it should be."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from tests.matrix import report
from tests.matrix.cells import CORE, SMOKE, cells
from tests.matrix.ground import ground
from tests.matrix.runner import Runner
from tests.matrix.scenario import Cell, Result


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    chosen = cells(options.only, reaper=options.reaper)
    if names := options.cell or (options.smoke and SMOKE) or (options.core and CORE):
        chosen = [cell for cell in chosen if cell.name in names]
    if options.list:
        print("\n".join(cell.name for cell in chosen))
        return 0
    outcome: report.Outcome = {}
    for guard in ("on", "off") if options.guard == "both" else (options.guard,):
        outcome[guard] = []
        for _ in range(options.repeat):
            outcome[guard] += _run(guard, chosen, options)
            if options.json:
                options.json.write_text(json.dumps(report.as_json(outcome), indent=1))
    _print(outcome)
    return int(any(not result.is_expected for result in outcome.get("on", [])))


def _run(guard: str, chosen: list[Cell], options: argparse.Namespace) -> list[Result]:
    begun, guarded = time.monotonic(), guard == "on"
    reaper = options.reaper and guarded
    with ground(guarded=guarded, sqlite=options.sqlite, reaper=reaper, keep=options.keep) as up:
        print(f"Guard {guard}: {len(chosen)} cells; logs in {up.airflow.home}", flush=True)
        results = Runner(up, lambda result: _tell(begun, result)).run(chosen)
        up.keeps_home |= guarded and not all(result.is_expected for result in results)
    print(f"Guard {guard}: {time.monotonic() - begun:.0f} s", flush=True)
    return results


def _tell(begun: float, result: Result) -> None:
    seconds = "" if result.seconds is None else f"{result.seconds:.2f} s"
    mark = " " if result.is_expected else "!"
    words = f"{result.verdict} {seconds} {result.note}".strip()
    print(f"{time.monotonic() - begun:5.0f} {mark} {result.cell.name}: {words}\n", end="", flush=True)


def _print(outcome: report.Outcome) -> None:
    print(f"\n{report.table(outcome)}\n")
    for guard, results in outcome.items():
        print(report.summary(guard, results))
    for line in report.problems(outcome.get("on", [])):
        print(f"NOT AS EXPECTED: {line}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("--guard", choices=("on", "off", "both"), default="on")
    parser.add_argument("--only", default="", metavar="PATTERN", help="cells whose names hold this")
    parser.add_argument("--cell", action="append", metavar="NAME", help="only this cell")
    parser.add_argument("--smoke", action="store_true", help="the cells that `make test` runs")
    parser.add_argument("--core", action="store_true", help="the cells that `make versions` runs")
    parser.add_argument("--repeat", type=int, default=1, metavar="N")
    parser.add_argument("--reaper", action="store_true", help="with the guard, run the reaper, too")
    parser.add_argument("--sqlite", action="store_true", help="no PostgreSQL")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--keep", action="store_true", help="keep Airflow's home with its logs")
    parser.add_argument("--list", action="store_true", help="name the cells, run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
