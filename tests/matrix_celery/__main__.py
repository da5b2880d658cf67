"""Run the matrix and print it; exit 1 when a cell with the guard on is not as it should be."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from tests.matrix.report import Outcome, as_json, problems, summary, table
from tests.matrix.runner import run_to_the_end
from tests.matrix.scenario import Cell, Result
from tests.matrix_celery.cells import SCENARIOS, cells
from tests.matrix_celery.ground import ground
from tests.matrix_celery.network import enter
from tests.matrix_celery.report import times
from tests.matrix_celery.runner import CeleryRunner


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    chosen = cells(options.only, reaper=options.reaper)
    if options.list:
        print("\n".join(cell.name for cell in chosen))
        return 0
    enter()
    results: list[Result] = []
    for _ in range(options.repeat):
        results += _run(chosen, options)
        if options.json:
            options.json.write_text(json.dumps(as_json({options.guard: results}), indent=1))
    _print({options.guard: results})
    return int(options.guard == "on" and any(not result.is_expected for result in results))


def _run(chosen: list[Cell], options: argparse.Namespace) -> list[Result]:
    begun = time.monotonic()
    with ground(guarded=options.guard == "on", reaper=options.reaper, keep=options.keep) as up:
        print(f"Guard {options.guard}: {len(chosen)} cells; logs in {up.airflow.home}", flush=True)
        results = CeleryRunner(up, lambda result: _tell(begun, result)).run(chosen)
    print(f"Guard {options.guard}: {time.monotonic() - begun:.0f} s", flush=True)
    return results


def _tell(begun: float, result: Result) -> None:
    seconds = "" if result.seconds is None else f"{result.seconds:.2f} s"
    noticed = "" if result.noticed is None else f"(Airflow: {result.noticed:.1f} s)"
    mark = " " if result.is_expected else "!"
    words = " ".join(filter(None, (str(result.verdict), seconds, noticed, result.note)))
    print(f"{time.monotonic() - begun:5.0f} {mark} {result.cell.name}: {words}\n", end="", flush=True)


def _print(outcome: Outcome) -> None:
    print(f"\n{table(outcome, SCENARIOS)}\n")
    for guard, results in outcome.items():
        print(f"Seconds from the fault, median / worst:\n{times(results)}\n")
        print(summary(guard, results))
    for line in problems(outcome.get("on", [])):
        print(f"NOT AS EXPECTED: {line}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix_celery", description=__doc__)
    parser.add_argument("--guard", choices=("on", "off"), default="on")
    parser.add_argument("--reaper", action="store_true", help="run the reaper, too, and expect it to work")
    parser.add_argument("--only", default="", metavar="PATTERN", help="cells whose names hold this")
    parser.add_argument("--repeat", type=int, default=1, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--keep", action="store_true", help="keep Airflow's home with its logs")
    parser.add_argument("--list", action="store_true", help="name the cells, run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_the_end(main)
