"""The table of the documents: what happens, by kind of container, without a reaper and with one."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.matrix.scenario import Result, Verdict
from tests.matrix_containers.cells import scenarios
from tests.matrix_containers.executor import KINDS

TABLE = Path(__file__).parents[2] / "docs/containers.csv"
Column = tuple[str, bool]
"""Kind of container; whether there was a reaper."""
Outcome = Mapping[Column, Sequence[Result]]
WAYS = {False: "no reaper", True: "reaper"}


def word(results: Sequence[Result]) -> str:
    """Seconds to the slowest request of those that came, and how many jobs were left."""
    if not results:
        return ""
    bad = [result for result in results if result.verdict in (Verdict.WRONG_CANCEL, Verdict.ERROR)]
    if bad:
        return str(bad[0].verdict)
    times = [result.seconds for result in results if result.seconds is not None]
    left = sum(result.verdict is not Verdict.OK for result in results)
    words = [f"{max(times):.1f} s"] if times else []
    if left:
        words.append(f"{left} of {len(results)} left")
    return ", ".join(words) or "kept"


def rows(outcome: Outcome) -> list[list[str]]:
    """Heading and lines."""
    columns = [(kind, way) for kind in KINDS for way in WAYS]
    head = ["what happens", *(f"{kind}, {WAYS[way]}" for kind, way in columns)]
    names = [scenario.name for scenario in scenarios(next(iter(KINDS)))]
    lines = [[name, *(word(_of(outcome.get(column, ()), name)) for column in columns)] for name in names]
    return [head, *lines]


def write(outcome: Outcome, table: Path = TABLE) -> None:
    """Write the table; a column that was not run keeps what it said."""
    found = rows(outcome)
    if table.exists():
        with table.open(newline="") as file:
            before = {line["what happens"]: line for line in csv.DictReader(file)}
        for line in found[1:]:
            for index, name in enumerate(found[0]):
                line[index] = line[index] or before.get(line[0], {}).get(name, "")
    with table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(found)


def _of(results: Iterable[Result], name: str) -> list[Result]:
    """The results of a scenario, if all its services were run."""
    found = [result for result in results if result.cell.scenario.name == name]
    services = {
        service for result in found for group in result.cell.scenario.modes.values() for service in group
    }
    return found if services == {result.cell.service for result in found} else []
