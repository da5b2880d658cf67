"""Jobs that other libraries start: each is recorded, labelled and cancelled, however its task ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_cancel_provider.owner import Label
from tests.clients.dags.submissions import SERVICES
from tests.real_airflow.world import Run, World, eventually

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(600)]

ENDS = {"raise": None, "sigterm": signal.SIGTERM, "sigkill": signal.SIGKILL}
COUNTS = {"awswrangler_emr_steps": 2}
"""How many jobs a client starts, if it is not one."""
RECORDED_AT_THE_END = ("aioboto3",)
"""Clients that wait in an event loop, where the guard may not ask Airflow for anything: while they wait, only
the sentinel knows of their jobs, and a task that gets SIGKILL leaves no record."""


def jobs_in(world: World, place: str) -> list[dict[str, Any]]:
    return [job for job in world.cloud.jobs() if job["scope"] == place]


def recorded(run: Run) -> str:
    """All that the task has on record."""
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/submit/xcomEntries"
    keys = [each["key"] for each in run.airflow.rest.call("GET", path)["xcom_entries"]]
    return json.dumps([run.xcom("submit", key) for key in keys])


def check_recorded(run: Run, jobs: list[dict[str, Any]]) -> None:
    eventually(lambda: all(job["id"] in recorded(run) for job in jobs), f"the record of {jobs}")


def label_of(job: dict[str, Any]) -> Label | None:
    return Label.find(job["name"] + json.dumps(job["labels"]))


def check_labels(jobs: list[dict[str, Any]], ti_id: str) -> None:
    """Each job has the label of this try, in its name or in a parameter."""
    for job in jobs:
        label = label_of(job)
        assert label is not None, job
        assert str(label.ti_id) == ti_id, job


def check_cancelled(world: World, place: str, count: int) -> None:
    eventually(
        lambda: [job["cancelled"] for job in jobs_in(world, place)] == [True] * count,
        f"the cancelled end of {count} jobs in {place}",
    )


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("submit", SERVICES, ids=lambda submit: submit.__name__)
def test_jobs_are_recorded_labelled_and_cancelled(
    world: World, submit: Callable[..., None], end: str
) -> None:
    place, count = world.place(SERVICES[submit]), COUNTS.get(submit.__name__, 1)
    run = world.run_with(f"client_{submit.__name__}", {"place": place, "end": end})
    eventually(lambda: len(jobs_in(world, place)) == count, f"{count} jobs of {submit.__name__}")
    jobs = jobs_in(world, place)
    is_recorded_late = submit.__name__ in RECORDED_AT_THE_END
    if not is_recorded_late:
        check_recorded(run, jobs)
    if number := ENDS[end]:
        assert not any(job["cancel_requested_at"] for job in jobs_in(world, place))
        run.signal("submit", number)
    check_cancelled(world, place, count)
    run.end("failed")
    task = run.wait_for("submit", "failed")
    check_labels(jobs_in(world, place), task["id"])
    if is_recorded_late and end != "sigkill":
        check_recorded(run, jobs)


@dataclass
class Instrumented:
    """``airflow dags test`` in a process that a program has instrumented before it imported anything."""

    process: subprocess.Popen[bytes]
    output: Path

    def has_started(self, world: World, place: str) -> bool:
        """Whether its job is there; what it said when it ended without one."""
        is_over = self.process.poll() is not None
        if jobs_in(world, place):
            return True
        assert not is_over, self.output.read_text()[-3000:]
        return False


@pytest.fixture
def instrumented(world: World) -> Iterator[Callable[..., Instrumented]]:
    begun: list[Instrumented] = []

    def start(program: str, place: str, end: str) -> Instrumented:
        conf = json.dumps({"place": place, "end": end})
        airflow = [str(Path(sys.executable).with_name(program)), sys.executable, "-m", "airflow"]
        output = world.airflow.home / f"{place}.log"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [*airflow, "dags", "test", "client_instrumented_before", "-c", conf],
                env=world.airflow.processes.environment,
                cwd=world.airflow.home,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        begun.append(Instrumented(process, output))
        return begun[-1]

    yield start
    for each in begun:
        each.process.kill()
        each.process.wait()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("program", ["opentelemetry-instrument", "ddtrace-run"])
def test_jobs_of_a_process_that_was_instrumented_before_the_guard(
    world: World, instrumented: Callable[..., Instrumented], program: str, end: str
) -> None:
    place = world.place("batch")
    task = instrumented(program, place, end)
    eventually(lambda: task.has_started(world, place), "a job", seconds=300)
    (job,) = jobs_in(world, place)
    eventually(lambda: job["id"] in recorded(newest_run(world)), f"the record of {job}")
    assert label_of(job), job
    if number := ENDS[end]:
        assert not jobs_in(world, place)[0]["cancel_requested_at"]
        os.kill(task.process.pid, number)
    check_cancelled(world, place, 1)


def newest_run(world: World) -> Run:
    """The run that ``dags test`` has made last."""
    path = "dags/client_instrumented_before/dagRuns"
    runs = world.airflow.rest.call("GET", path, params={"order_by": "-id", "limit": 1})["dag_runs"]
    return Run(world.airflow, "client_instrumented_before", runs[0]["dag_run_id"])
