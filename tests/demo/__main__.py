"""Run the demo; exit 0 only if every job was seen cancelled in its service.

``KEEP=1`` in the environment leaves Airflow and the local cloud up until Ctrl-C.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.demo import kills
from tests.demo.machine import SIGNALS, Machine, ignore_signals, machine
from tests.demo.progress import follow
from tests.demo.report import HEADER, problems, rows, strangers, table
from tests.demo.runs import trigger
from tests.demo.scenarios import SCENARIOS


def main() -> int:
    """Run all scenarios on a machine of their own."""
    keep = os.environ.get("KEEP", "0") not in ("", "0")
    folder = Path(tempfile.mkdtemp(prefix="airflow-cancel-demo-"))
    good = interrupted = False
    try:
        print("Starting a local cloud and an Airflow; about half a minute.", flush=True)
        with machine(folder) as up:
            good = run(up)
            if keep:
                stay(up)
    except KeyboardInterrupt:
        interrupted = True
        print("\nInterrupted; all processes have ended.", flush=True)
    except Exception as error:  # noqa: BLE001  whatever it is: one line, and where to look
        print(f"The demo failed: {error}", flush=True)
    if good or interrupted:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"Logs: {folder}", flush=True)
    if good:
        return 0
    return 130 if interrupted else 1


def run(up: Machine) -> bool:
    """Run the scenarios, print the table, and say whether all is well."""
    begun = time.monotonic()
    runs = trigger(up, SCENARIOS)
    follow(up, runs)
    truth = up.cloud.jobs()
    results = rows(runs, truth)
    wrong = [*problems(runs, truth), *strangers(runs, truth)]
    print("\nNow tasks of the Amazon provider's own operators are killed.", flush=True)
    killed, survivors = kills.run(up, begun)
    print(f"\n{table(HEADER, results)}\n\n{table(kills.HEADER, killed)}\n", flush=True)
    for line in (*wrong, *survivors):
        print(f"WRONG: {line}")
    if not wrong and not survivors:
        seconds, jobs = time.monotonic() - begun, len(results) + len(killed)
        print(f"All {jobs} jobs were cancelled, as their services show ({seconds:.0f} s).", flush=True)
    return not wrong and not survivors


def stay(up: Machine) -> None:
    """Leave everything up until Ctrl-C."""
    print(f"\nAirflow is up at {up.airflow.url}: no login is asked for, everybody is admin.")
    print(f"The local cloud is up at {up.cloud.url}; its jobs: {up.cloud.url}/_cloud/jobs")
    print("Ctrl-C ends both.", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("\nEnding.", flush=True)


def interrupt(*_: object) -> None:
    """SIGTERM as Ctrl-C."""
    ignore_signals()
    raise KeyboardInterrupt


if __name__ == "__main__":
    for each in SIGNALS:
        signal.signal(each, interrupt)
    sys.exit(main())
