"""``make model``: explore, look for seeded faults, and write both into docs/model-results.txt."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.model.explorer import Findings, explore
from tests.model.guards import Rules
from tests.model.mutants import MUTANTS

RESULTS = Path(__file__).parents[2] / "docs" / "model-results.txt"


@dataclass(frozen=True)
class Run:
    """One exploration."""

    words: str
    rules: Rules
    faults: int


RUNS = (
    Run("one try, no reaper", Rules(has_reaper=False), 1),
    Run("one try, two jobs, no reaper", Rules(has_reaper=False, jobs=2), 1),
    Run("two tries, no reaper", Rules(has_reaper=False, max_tries=1), 1),
    Run("one try, reaper", Rules(), 1),
    Run("one try, two jobs, reaper", Rules(jobs=2), 1),
    Run("two tries, reaper", Rules(max_tries=1), 1),
    Run("two tries, on_retry = keep, reaper", Rules(max_tries=1, goes_on=True), 1),
    Run("one try, no reaper", Rules(has_reaper=False), 2),
    Run("one try, reaper", Rules(), 2),
)


def main() -> int:
    """Run all; 1 if a promise is broken or a seeded fault was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.model")
    parser.add_argument("--most", type=int, default=150_000, help="states of one run, at most")
    most = parser.parse_args().most
    lines = [
        f"{'exploration':40} {'faults':>6} {'states':>8} {'moves':>8} {'ends':>6} {'depth':>5} {'seconds':>7}"
    ]
    is_good = True
    for run in RUNS:
        found = explore(run.rules, run.faults, most=most)
        lines.append(_line(run, found))
        print(lines[-1], flush=True)
        is_good = is_good and not found.wrongs
        for wrong, way in found.wrongs.items():
            lines += [f"  WRONG: {wrong}", *(f"    {name}" for name in way)]
            print("\n".join(lines[-len(way) - 1 :]), flush=True)
    lines += ["", "seeded fault: how it is found"]
    for mutant in MUTANTS:
        with mutant.planted():
            limit = min(most, 5_000) if mutant.doubled_by else most
            found = explore(mutant.rules, mutant.faults, most=limit, stop_at_first=True)
        doubled = f"does not show, as {mutant.doubled_by}" if mutant.doubled_by else "NOT FOUND"
        words = next(iter(found.wrongs), doubled)
        is_good = is_good and words != "NOT FOUND"
        lines.append(f"{mutant.what}: {words} ({found.states} states)")
        print(lines[-1], flush=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    return 0 if is_good else 1


def _line(run: Run, found: Findings) -> str:
    states = f"{found.states}{'' if found.is_whole else '+'}"
    return (
        f"{run.words:40} {run.faults:6} {states:>8} {found.moves:8} {found.ends:6} {found.depth:5} "
        f"{found.seconds:7.0f}"
    )


if __name__ == "__main__":
    sys.exit(main())
