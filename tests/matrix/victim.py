"""One cell at work: its runs in Airflow, its jobs in the cloud."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from tests.matrix.ground import Ground
from tests.matrix.scenario import Cell
from tests.real_airflow.world import eventually

TASK = "t"
ALIVE = (
    "queued",
    "scheduled",
    "running",
    "deferred",
    "restarting",
    "up_for_retry",
    "up_for_reschedule",
    None,
)
PATIENCE = 150.0
"""Seconds that a victim may take to be in place."""


class Victim:
    """Runs whose jobs have a place of their own, and so can't be mistaken for others.

    :param scope: a place that others had before; by default a new one.
    :param patience: seconds that it may take to be in place.
    """

    def __init__(
        self, ground: Ground, cell: Cell, scope: str | None = None, patience: float = PATIENCE
    ) -> None:
        self.ground, self.cell = ground, cell
        self.scenario = cell.scenario
        self.dag_id = f"{cell.scenario.shape}__{cell.service}__{cell.mode}"
        self.scope = scope or ground.place(cell.service)
        self.begun = time.time()
        self.patience = patience
        self.runs: list[str] = []
        self.strikes: list[float] = []
        self.spared: set[str] = set()
        self.conf: dict[str, Any] = {"scope": self.scope}
        self.tasks: list[dict[str, Any]] = []
        self.made = threading.Event()

    # Before the fault.

    def start(self) -> None:
        """Start its runs, and wait until they are where the fault is to meet them."""
        if self.scenario.prepare:
            self.scenario.prepare(self)
        self.runs = [self.ground.rest.trigger(self.dag_id, self.conf) for _ in range(self.scenario.runs)]
        (self.scenario.ready or Victim.wait_in_place)(self)

    def wait_in_place(self) -> None:
        """Wait until each run has a job, and each task waits for it."""
        self.wait_for_jobs(self.scenario.runs)
        self.look_at_tasks()

    def wait_for_jobs(self, count: int, seconds: float | None = None) -> None:
        """Wait until there are so many jobs that run, or did."""

        def are_there() -> bool:
            return sum(has_run(job) for job in self.own_jobs()) >= count

        eventually(are_there, f"{count} jobs of {self.cell.name}", seconds=seconds or self.patience)

    def look_at_tasks(self, pause: float = 0.7) -> None:
        """Take the task instances as they are once they wait for their jobs."""
        state = "deferred" if self.cell.mode == "deferred" else "running"
        self.tasks = [
            self.wait_for_task(run, lambda s: s == state or s not in ALIVE, pause) for run in self.runs
        ]

    def wait_for_task(
        self, run: str, is_so: Callable[[str | None], bool], pause: float = 0.7
    ) -> dict[str, Any]:
        """Wait until the task's state is so; the task instance."""
        deadline = time.monotonic() + self.patience
        while not is_so((task := self.task(run))["state"]):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.cell.name}: the task is {task['state']}")
            time.sleep(pause)
        return task

    def wait_for_run(self, wanted: str) -> None:
        """Wait until each run has ended so."""
        for run in self.runs:
            state = self.ground.rest.wait_for_run(self.dag_id, run, timeout=self.patience)
            if state != wanted:
                raise RuntimeError(f"{self.cell.name}: the run is {state}")

    # What there is.

    def task(self, run: str | None = None) -> dict[str, Any]:
        """The task instance as it is now."""
        path = f"dags/{self.dag_id}/dagRuns/{run or self.runs[0]}/taskInstances/{TASK}"
        task: dict[str, Any] = self.ground.rest.call("GET", path)
        return task

    def jobs(self) -> list[dict[str, Any]]:
        """The truth about all jobs in its place."""
        service: Any = self.ground.cloud.services[self.cell.service]
        return [job for job in service.jobs() if job["scope"] == self.scope]

    def own_jobs(self) -> list[dict[str, Any]]:
        """Those that its runs started."""
        return [job for job in self.jobs() if job["id"] not in self.spared]

    def calls(self, *, fault: str | None = None) -> list[Any]:
        """What was asked of the service about its place or its jobs."""
        ids = {job["id"] for job in self.jobs()}
        return [
            entry
            for entry in self.ground.cloud.journal.entries(self.cell.service)
            if (entry.scope == self.scope or ids & set(entry.ids))
            and fault in (None, entry.fault)
            and entry.time >= self.begun
        ]

    # The fault.

    def strike(self, at: float | None = None) -> None:
        """Note when the fault happened."""
        self.strikes.append(at or time.time())

    def spare(self, *ids: str) -> None:
        """Jobs that nobody may touch."""
        self.spared.update(ids)

    def finish(self) -> None:
        """End what is left, so that it costs nothing any more."""
        service: Any = self.ground.cloud.services[self.cell.service]
        for run in self.runs:
            with contextlib.suppress(RuntimeError):  # the run was deleted
                path = f"dags/{self.dag_id}/dagRuns/{run}"
                self.ground.rest.call("PATCH", path, json={"state": "failed"})
        for job in self.jobs():
            if not job["ended_at"]:
                service.finish(job["id"], "FAILED")


def has_run(job: dict[str, Any]) -> bool:
    """Whether a job runs, or has done so."""
    return bool(job["state"].upper() == "RUNNING" or job["ended_at"] or job["cancel_requested_at"])


def moment(text: str) -> float:
    """Airflow's time as epoch seconds."""
    return datetime.fromisoformat(text).timestamp()
