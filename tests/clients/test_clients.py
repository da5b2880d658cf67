"""Jobs that other libraries start: each is recorded, labelled and cancelled, however its task ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.dags.submissions import SERVICES
from tests.real_airflow.world import Run, World, eventually

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.timeout(600)]

ENDS = {"raise": None, "sigterm": signal.SIGTERM, "sigkill": signal.SIGKILL}
COUNTS = {"awswrangler_emr_steps": 2}
"""How many jobs a client starts, if it is not one."""
PATCHED_BEFORE = {"opentelemetry-instrument": "opentelemetry", "ddtrace-run": "ddtrace"}
"""Programs that put an instrumentation on what they start."""


def jobs_in(world: World, place: str) -> list[dict[str, Any]]:
    return [job for job in world.cloud.jobs() if job["scope"] == place]


def recorded(run: Run) -> str:
    """All that the task has on record."""
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/submit/xcomEntries"
    keys = [each["key"] for each in run.airflow.rest.call("GET", path)["xcom_entries"]]
    return json.dumps([run.xcom("submit", key) for key in keys])


def check_labels(jobs: list[dict[str, Any]], ti_id: str) -> None:
    """Each job has the label of this try, in its name or in a parameter."""
    for job in jobs:
        assert ti_id.replace("-", "") in job["name"] + json.dumps(job["labels"]), job


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
    eventually(lambda: all(job["id"] in recorded(run) for job in jobs), f"the record of {jobs}")
    if number := ENDS[end]:
        assert not any(job["cancel_requested_at"] for job in jobs_in(world, place))
        run.signal("submit", number)
    check_cancelled(world, place, count)
    run.end("failed")
    task = run.wait_for("submit", "failed")
    check_labels(jobs_in(world, place), task["id"])


@pytest.fixture
def patched(world: World) -> Iterator[Callable[..., Any]]:
    """Runs a Dag in one process that was instrumented before it imported anything."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(program: str, place: str, end: str) -> subprocess.Popen[bytes]:
        conf = json.dumps({"place": place, "end": end})
        command = [str(Path(sys.executable).with_name(program)), sys.executable, "-m", "airflow"]
        begun.append(
            subprocess.Popen(
                [*command, "dags", "test", "client_boto3_batch", "--conf", conf],
                env=world.airflow.processes.environment,
                cwd=world.airflow.home,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("program", PATCHED_BEFORE)
def test_jobs_of_a_process_that_was_instrumented_before_the_guard(
    world: World, patched: Callable[..., Any], program: str, end: str
) -> None:
    place = world.place("batch")
    process = patched(program, place, end)
    eventually(lambda: len(jobs_in(world, place)) == 1, "a job", seconds=180)
    loaded = Path(f"/proc/{process.pid}/maps").read_text() if process.poll() is None else ""
    if number := ENDS[end]:
        assert PATCHED_BEFORE[program] in loaded or program == "opentelemetry-instrument"
        os.kill(process.pid, number)
    check_cancelled(world, place, 1)
    (job,) = jobs_in(world, place)
    assert "af-" in json.dumps(job["labels"])
