"""From a kill to the cancel request, by who sends it: real Airflow processes, as in ``make matrix``.

``python -m benchmarks.kills``: the last line of its output is JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from benchmarks.report import TRIGGER
from tests.matrix.cells import cells
from tests.matrix.ground import ground
from tests.matrix.runner import Runner
from tests.matrix.scenario import Cell

LAYERS = {
    "SIGTERM to the task [batch sync]": "task process",
    "SIGTERM to the task [emr sync]": "task process",
    "SIGKILL of the task [emr sync]": "sentinel",
    "SIGKILL of the task [emr-serverless plain]": "sentinel",
    "deferred, marked failed [emr-serverless deferred]": TRIGGER,
    "deferred, marked failed [batch deferred]": TRIGGER,
    "triggerer gone for good, marked failed [batch deferred]": "API server",
    "task, supervisor and sentinel killed [glue sync]": "reaper",
}
"""Which layer sends the request, by cell of the matrix."""


def measure(*, times: int = 1) -> dict[str, Any]:
    """Seconds from the kill to the request, by layer; with the guard and the reaper (a sweep each 5 s)."""
    found: dict[str, list[float]] = {}
    wrong = []
    with ground(guarded=True, sqlite=True, reaper=True) as up:
        for _ in range(times):
            # One cell at a time: what is measured is not to wait for another.
            results = Runner(up, at_once=1).run(_chosen())
            for result in results:
                if result.is_expected and result.seconds is not None:
                    found.setdefault(LAYERS[result.cell.name], []).append(result.seconds)
                else:
                    wrong.append(f"{result.cell.name}: {result.verdict} {result.note}")
    layers = {
        layer: {"median": statistics.median(some), "worst": max(some), "kills": len(some)}
        for layer, some in found.items()
    }
    return {"layers": layers, "wrong": wrong}


def _chosen() -> Iterator[Cell]:
    for cell in cells("", reaper=True):
        if cell.name in LAYERS:
            yield replace(cell, scenario=replace(cell.scenario, within=60.0))


def main() -> None:
    """Measure, and print."""
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        found = measure()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
