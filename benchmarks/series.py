"""The figures of a run as lines of points: what is plotted, and whose slopes are stated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.account.population import SERVICES
from benchmarks.slopes import Points

NAMES = {"emr": "EMR", "batch": "Batch", "emr-serverless": "EMR Serverless"}
SIDES = {"ours": "this provider", "stock": "stock"}


class Line(NamedTuple):
    """One line of a plot; ``side``: ours, stock or floor."""

    name: str
    side: str
    points: Points


class Panel(NamedTuple):
    """One plot."""

    title: str
    x: str
    y: str
    lines: list[Line]


def wait_panels(results: dict[str, Any]) -> Iterator[Panel]:
    """Calls, processor time and memory by the number of waits."""
    runs = results.get("waits", [])
    least = [(run["waits"], sum(run["least"].values())) for run in runs if run["side"] == "ours"]
    for title, y, value, floor in (
        ("API calls", "calls a minute", calls_a_minute, least),
        ("Processor", "CPU seconds a minute", lambda run: run["cpu"] * 60 / run["seconds"], []),
        ("Memory", "MiB", lambda run: run["memory"], []),
        ("Worst block of the event loop", "seconds", lambda run: run["block"], []),
        ("Job's end to event, worst", "seconds", lambda run: run["late"]["worst"], _latest(runs)),
    ):
        lines = [_by_size(side, runs, "waits", value) for side in SIDES]
        if floor:
            lines.append(Line("least that sees every end", "floor", floor))
        yield Panel(title, "deferred waits in one event loop", y, [line for line in lines if line.points])


def cancel_panels(results: dict[str, Any]) -> Iterator[Panel]:
    """Seconds until all were seen to end, by the number of jobs, for each service."""
    for service in SERVICES:
        runs = [run for run in results.get("cancels", []) if run["service"] == service]
        lines = [_by_size(side, runs, "jobs", lambda run: run["seconds for all"]) for side in SIDES]
        floor = [(run["jobs"], run["floor"]["ended"]) for run in runs if run["side"] == "ours"]
        lines.append(Line("floor of the quotas", "floor", floor))
        if runs:
            yield Panel(NAMES[service], "jobs cancelled", "seconds", [line for line in lines if line.points])


def calls_a_minute(run: dict[str, Any]) -> float:
    """All calls, throttled ones included."""
    return sum(float(call["calls"]) for call in run["calls"].values())


def throttled_a_minute(run: dict[str, Any]) -> float:
    """Calls that were throttled."""
    return sum(float(call["throttled"]) for call in run["calls"].values())


def _latest(runs: list[dict[str, Any]]) -> list[tuple[float, float]]:
    return [(run["waits"], run["latest"]) for run in runs if run["side"] == "ours"]


def _by_size(side: str, runs: list[dict[str, Any]], size: str, value: Callable[[Any], float]) -> Line:
    return Line(SIDES[side], side, [(run[size], value(run)) for run in runs if run["side"] == side])
