"""The matrix as text and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from tests.matrix.cells import SCENARIOS
from tests.matrix.scenario import MODES, SERVICES, Cell, Expected, Result, Scenario, Verdict

SHORT = {"emr": "emr", "batch": "batch", "emr-serverless": "emr-s", "emr-containers": "eks"} | {
    "mrs": "mrs",
    "glue": "glue",
}
COLUMNS = [(mode, service) for mode in MODES for service in SERVICES]
KINDS = {
    "signal": "SIGTERM or SIGKILL to cancel request",
    "mark": "marked, cleared, run failed to cancel request",
    "deferred": "deferred: fault to cancel request",
}
Outcome = dict[str, list[Result]]
"""Results by "on" and "off"."""


def word(results: Sequence[Result]) -> str:
    """What to print for one cell: the worst of its repetitions."""
    if not results:
        return "-"
    worst = max(results, key=lambda result: (not result.is_expected, result.seconds or 0.0))
    if worst.verdict is not Verdict.OK:
        return str(worst.verdict)
    if worst.seconds is None:
        return "alone"
    return f"{worst.seconds:.1f}"


def table(outcome: Outcome, scenarios: Sequence[Scenario] = SCENARIOS) -> str:
    """Scenario by (mode, service); with the guard on and off, in that order, where both were run."""
    order = [scenario.name for scenario in scenarios]
    by_cell: dict[tuple[str, str, str, str], list[Result]] = {}
    names: dict[str, None] = {}
    for guard, results in outcome.items():
        for result in results:
            cell = result.cell
            names.setdefault(cell.scenario.name)
            by_cell.setdefault((guard, cell.scenario.name, cell.mode, cell.service), []).append(result)
    used = {key[2:] for key in by_cell}
    columns = [column for column in COLUMNS if column in used]
    lines = [["", *(f"{mode[:5]} {SHORT[service]}" for mode, service in columns)]]
    for name in sorted(names, key=order.index):
        cells = [[word(by_cell.get((guard, name, *column), [])) for guard in outcome] for column in columns]
        lines.append([name, *("/".join(words) if set(words) != {"-"} else "" for words in cells)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def totals(results: Sequence[Result]) -> dict[str, Any]:
    """Counts and times of one run."""
    counted: dict[str, Any] = {"cells": len(results)}
    for verdict in Verdict:
        counted[str(verdict)] = sum(result.verdict is verdict for result in results)
    counted["not as expected"] = sum(not result.is_expected for result in results)
    for kind, words in KINDS.items():
        if seconds := _seconds(results, kind):
            counted[words] = {
                "cells": len(seconds),
                "median": round(statistics.median(seconds), 2),
                "worst": round(max(seconds), 2),
            }
    return counted


def summary(guard: str, results: Sequence[Result]) -> str:
    """Totals in a few lines."""
    counted = totals(results)
    named = [str(verdict) for verdict in Verdict]
    lines = [f"Guard {guard}: {counted['cells']} cells; " + ", ".join(f"{v}: {counted[v]}" for v in named)]
    for words in KINDS.values():
        if words in counted:
            times = counted[words]
            lines.append(
                f"  {words}: median {times['median']} s, worst {times['worst']} s ({times['cells']} cells)"
            )
    return "\n".join(lines)


def problems(results: Iterable[Result]) -> list[str]:
    """Cells that are not as they should be, and why."""
    return [f"{r.cell.name}: {r.verdict} {r.note}" for r in results if not r.is_expected]


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Everything."""
    return {
        guard: {"totals": totals(results), "cells": [_cell(result) for result in results]}
        for guard, results in outcome.items()
    }


def _cell(result: Result) -> dict[str, Any]:
    cell: Cell = result.cell
    return {
        "scenario": cell.scenario.name,
        "service": cell.service,
        "mode": cell.mode,
        "expected": str(cell.scenario.expected),
        "verdict": str(result.verdict),
        "seconds": result.seconds,
        "as_expected": result.is_expected,
        "note": result.note,
    }


def _seconds(results: Iterable[Result], kind: str) -> list[float]:
    return [
        result.seconds
        for result in results
        if result.cell.scenario.kind == kind
        and result.seconds is not None
        and result.cell.scenario.expected is Expected.CANCELLED
    ]
