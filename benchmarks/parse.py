"""What it takes to import operators, beyond what Airflow itself has imported for any operator.

``python -m benchmarks.parse MODULE…``: the last line of its output is JSON.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.processes import environment, last_line

TIMES = 5
OURS, STOCK = "airflow_cancel_provider", "airflow.providers.amazon.aws"
CASES: dict[str, tuple[str, ...]] = {
    "EMR operators, ours": (f"{OURS}.operators.emr",),
    "EMR operators and sensors, ours": (f"{OURS}.operators.emr", f"{OURS}.sensors.emr"),
    "Batch operators, ours": (f"{OURS}.operators.batch",),
    "MRS operators and sensors, ours": (f"{OURS}.operators.mrs", f"{OURS}.sensors.mrs"),
    "all six services, ours": tuple(
        f"{OURS}.{kind}.{service}"
        for service in ("emr", "batch", "emr_serverless", "emr_containers", "glue", "mrs")
        for kind in ("operators", "sensors")
    ),
    "EMR operators, stock": (f"{STOCK}.operators.emr",),
    "Batch operators, stock": (f"{STOCK}.operators.batch",),
}


def measure() -> dict[str, dict[str, float]]:
    """Seconds of processor time, the least and the median of some processes, and modules that were added."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        env = environment(Path(folder), "http://127.0.0.1:1")
        for name, modules in CASES.items():
            runs = [last_line("benchmarks.parse", *modules, env=env) for _ in range(TIMES)]
            seconds = [float(run["seconds"]) for run in runs]
            found[name] = {
                "least": min(seconds),
                "median": statistics.median(seconds),
                "modules": runs[0]["modules"],
            }
    return found


def main() -> None:
    """Import what the command line names, and print."""
    importlib.import_module("airflow.providers.standard.operators.empty")
    importlib.import_module("airflow.providers.standard.sensors.python")
    before, began = set(sys.modules), time.process_time()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    seconds = time.process_time() - began
    print(json.dumps({"seconds": seconds, "modules": len(set(sys.modules) - before)}))


if __name__ == "__main__":
    main()
