"""Run the matrix; write its table; exit 1 when a cell is not as it should be."""

from __future__ import annotations

import argparse
import time

from tests.matrix.report import problems
from tests.matrix.runner import Runner, run_to_the_end
from tests.matrix.scenario import Result
from tests.matrix_containers import report
from tests.matrix_containers.cells import PODS, cells
from tests.matrix_containers.executor import KINDS
from tests.matrix_containers.ground import check, choose, ground

AT_ONCE = 6
"""Each container starts an Airflow of its own."""


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    kinds = options.kind or list(KINDS)
    if options.list:
        print(
            "\n".join(
                f"{kind}: {cell.name}" for kind in kinds for cell in cells(kind, options.only, reaper=False)
            )
        )
        return 0
    check()
    outcome: dict[report.Column, list[Result]] = {}
    for reaper in {"both": (False, True), "off": (False,), "on": (True,)}[options.reaper]:
        _run(kinds, reaper, options, outcome)
    for row in report.rows(outcome):
        print(" | ".join(row))
    wrong = [line for results in outcome.values() for line in problems(results)]
    for line in wrong:
        print(f"NOT AS EXPECTED: {line}")
    return int(bool(wrong))


def _run(
    kinds: list[str], reaper: bool, options: argparse.Namespace, outcome: dict[report.Column, list[Result]]
) -> None:
    begun = time.monotonic()
    with ground(guarded=True, reaper=reaper, keep=options.keep) as up:
        print(f"Reaper {'on' if reaper else 'off'}; logs in {up.airflow.home}", flush=True)
        for kind in kinds:
            choose(up, kind)
            runner = Runner(up, lambda result, kind=kind: _tell(begun, kind, result), at_once=AT_ONCE)  # type: ignore[misc]
            outcome[kind, reaper] = runner.run(cells(kind, options.only, reaper=reaper))
            PODS.clear()
            report.write(outcome)


def _tell(begun: float, kind: str, result: Result) -> None:
    seconds = "" if result.seconds is None else f"{result.seconds:.2f} s"
    mark = " " if result.is_expected else "!"
    words = f"{result.verdict} {seconds} {result.note}".strip()
    print(f"{time.monotonic() - begun:5.0f} {mark} {kind}: {result.cell.name}: {words}\n", end="", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix_containers", description=__doc__)
    parser.add_argument("--kind", action="append", choices=KINDS, help="only containers of this kind")
    parser.add_argument("--reaper", choices=("on", "off", "both"), default="both")
    parser.add_argument("--only", default="", metavar="PATTERN", help="cells whose names hold this")
    parser.add_argument("--keep", action="store_true", help="keep Airflow's home with its logs")
    parser.add_argument("--list", action="store_true", help="name the cells, run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    run_to_the_end(main)
