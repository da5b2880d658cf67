"""Follow the runs and the jobs until all is over, a line for each event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tests.demo.machine import Machine
from tests.demo.runs import Run

WIDTH = 120
PATIENCE = 300.0
"""Seconds for all runs together."""


def follow(machine: Machine, runs: list[Run], *, pause: float = 0.5) -> None:
    """Print what happens until every run has ended, and every job that it started is seen to have ended.

    A run that leaves jobs alive is not waited for any longer: its row in the table will say so.
    """
    begun = time.monotonic()
    jobs = _Jobs()
    while not all(run.has_ended for run in runs):
        if time.monotonic() - begun > PATIENCE:
            tell(begun, "demo", f"gave up after {PATIENCE:.0f} s")
            return
        machine.airflow.processes.check()
        for run in runs:
            for line in [] if run.has_ended else run.refresh(machine.rest):
                tell(begun, run.scenario.dag_id.removeprefix("example_cancel_"), line)
        for service, line in jobs.news(machine.cloud.jobs()):
            tell(begun, f"cloud: {service}", line)
        time.sleep(pause)


def tell(begun: float, who: str, what: str) -> None:
    """Print one event."""
    print(f"{time.monotonic() - begun:6.1f} s  {who:<27} {what}"[:WIDTH], flush=True)


class _Jobs:
    """What the cloud has shown of its jobs so far."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}

    def news(self, jobs: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        for job in jobs:
            stage = _stage(job)
            if stage and self._seen.get(job["id"]) != stage:
                self._seen[job["id"]] = stage
                yield job["service"], f"{job['id']} {stage}"


def _stage(job: dict[str, Any]) -> str:
    if job["ended_at"]:
        return f"ended: {job['state']}"
    return "is asked to end" if job["cancel_requested_at"] else ""
