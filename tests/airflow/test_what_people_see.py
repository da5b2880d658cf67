"""What people see of a job after its task was killed: in the list, the task's log and the event log."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import pytest
from packaging.version import Version

from tests.airflow_versions import AIRFLOW, needs_a_retry_after_sigkill
from tests.real_airflow.processes import children
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import Run, World, eventually

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()
REMOTE_JOBS = [sys.executable, "-m", "airflow_cancel_provider.cli"]


def listed(run: Run) -> list[dict[str, Any]]:
    """The jobs of a run, as ``airflow remote-jobs list`` shows them, the oldest first."""
    command = [*REMOTE_JOBS, "list", "--dag-id", run.dag_id, "--run-id", run.run_id, "-o", "json"]
    found: list[dict[str, Any]] = json.loads(run.airflow.processes.run(command))
    return found[::-1]


def events(run: Run) -> list[dict[str, Any]]:
    """What Airflow's event log has of the ends of jobs of a run."""
    wanted = {"dag_id": run.dag_id, "run_id": run.run_id, "event": "cancel_remote_job_finished"}
    found: list[dict[str, Any]] = run.airflow.rest.call("GET", "eventLogs", params=wanted)["event_logs"]
    return found


def kill(run: Run, task_id: str, number: int, job: str) -> None:
    eventually(lambda: attempt(run, task_id) == number, f"try {number}")
    eventually(lambda: is_on_record(run, task_id, job), "the job on record")
    run.signal(task_id, signal.SIGKILL)


def is_on_record(run: Run, task_id: str, job: str) -> bool:
    try:
        return job in json.dumps(run.xcom(task_id, "remote_jobs"))
    except RuntimeError:  # there is no record yet
        return False


def attempt(run: Run, task_id: str) -> int:
    """The number of the try that runs; 0 while none does."""
    task = run.wait_for(task_id, "running", "up_for_retry", "queued", "scheduled")
    return int(task["try_number"]) if task["state"] == "running" else 0


@stories()
def after_sigkill_every_try_has_its_end_on_record(world: World) -> None:
    needs_a_retry_after_sigkill()
    place = world.place("batch")
    run = world.run_with("guarded_two_tries", {"scope": place})
    for number in (1, 2):
        eventually(lambda: len(jobs_in(world, place)) == number, "a job")  # noqa: B023
        kill(run, "waits", number, jobs_in(world, place)[-1]["id"])
        eventually(lambda: len(events(run)) == number, "its end in the event log")  # noqa: B023
    run.end("failed")
    last = [(each["try_number"], each["end"], each["orphan"]) for each in listed(run)]
    both = [(1, "CANCELLED by sentinel", False), (2, "CANCELLED by sentinel", False)]
    assert last == (both if Version("3.2") <= AIRFLOW else both[1:])
    assert all("SIGKILL" in each["reason"] for each in listed(run))


@stories()
def what_a_later_try_has_cancelled_has_its_end_on_record(world: World) -> None:
    """A host is lost with everything on it; Airflow starts the task again elsewhere."""
    needs_a_retry_after_sigkill()
    place = world.place("batch")
    run = world.run_with("guarded_two_tries", {"scope": place})
    eventually(lambda: len(jobs_in(world, place)) == 1, "a job")
    task = int(run.wait_for("waits", "running")["pid"])
    eventually(lambda: is_on_record(run, "waits", jobs_in(world, place)[0]["id"]), "the job on record")
    for process in (*children(task), task):
        os.kill(process, signal.SIGKILL)
    eventually(lambda: len(jobs_in(world, place)) == 2, "the job of the next try")
    kill(run, "waits", 2, jobs_in(world, place)[-1]["id"])
    eventually(lambda: len(events(run)) == 1, "its end in the event log")
    run.end("failed")
    found = [(each["try_number"], each["end"], each["orphan"]) for each in listed(run)]
    assert found[-1] == (2, "CANCELLED by sentinel", False)
    if Version("3.3") <= AIRFLOW:
        assert found[0] == (1, "CANCELLED by task", False)
        assert "have ended: 1 CANCELLED." in run.airflow.rest.log(run.dag_id, run.run_id, "waits", 2)


def jobs_in(world: World, place: str) -> list[dict[str, Any]]:
    return [job for job in world.cloud.batch.jobs() if job["scope"] == place]


@stories(seconds=(0.3, 26))
def the_log_of_a_deferred_task_tells_how_its_job_has_ended(world: World, seconds: float) -> None:
    place = world.place("batch", cancel=seconds)
    run = world.run_with("deferred_once", {"scope": place})
    eventually(lambda: len(jobs_in(world, place)) == 1, "a job")
    run.wait_for("batch", "deferred")
    (job,) = jobs_in(world, place)
    eventually(lambda: is_polled(world, job["id"]), "the triggerer polls it")
    run.mark("batch", "failed")
    # The second where the API server was first: then the triggerer only sees the end.
    words = (f"{job['id']} (CANCELLED after ", f"{job['id']} has ended as CANCELLED.")
    eventually(lambda: tells(run, words), words[0])
    layers = ("CANCELLED by trigger", "CANCELLED by api-server")
    # Soon, also beside the other one of these stories.
    eventually(
        lambda: [each["end"] in layers for each in listed(run)] == [True], "who has cancelled it", seconds=10
    )


def tells(run: Run, words: tuple[str, ...]) -> bool:
    return any(each in line for line in run.remote_job_lines("batch") for each in words)


def is_polled(world: World, job: str) -> bool:
    calls = world.cloud.journal.entries("batch", "DescribeJobs")
    return sum(job in call.ids for call in calls) > 1


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_what_people_see(told: Told, story: Story) -> None:
    told(story)
