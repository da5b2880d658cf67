"""The guard on a real Airflow: what a task has started, and how the task ends."""

from __future__ import annotations

import json
import signal
import time
from typing import Any

import pytest
from packaging.version import Version

from airflow_cancel_provider.owner import release_key
from tests.airflow_versions import AIRFLOW, needs_a_retry_after_sigkill
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import Run, World, eventually

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()


def jobs_in(world: World, service: str, place: str) -> list[dict[str, Any]]:
    """Ground truth of a queue, cluster or application."""
    local: Any = world.cloud.services[service]
    return [job for job in local.jobs() if job["scope"] == place]


def ran(
    world: World, dag: str, service: str = "batch", state: str = "failed"
) -> tuple[Run, list[dict[str, Any]]]:
    """A run that has ended, and the jobs that it has started."""
    place = world.place(service)
    run = world.run_with(dag, {"scope": place})
    run.end(state)
    return run, jobs_in(world, service, place)


def said_in_dag_processor(world: World, words: str) -> None:
    """Wait for these words in a log of the Dag processor; it would kill a callback only later."""

    def is_said() -> bool:
        logs = world.airflow.home.rglob("*.log")
        return any(words in log.read_text(errors="replace") for log in logs)

    eventually(is_said, words, seconds=40)
    assert "Unable to decode message" not in (world.airflow.home / "dag-processor.log").read_text()


@stories(dag=["guarded_error", "guarded_result", "guarded_track", "guarded_callback"])
def a_job_of_a_task_that_fails_is_cancelled(world: World, dag: str) -> None:
    _, (job,) = ran(world, dag)
    eventually(lambda: jobs_in(world, "batch", job["scope"])[0]["cancelled"], "the job is cancelled")


@stories()
def a_job_in_mrs_is_cancelled_and_bears_the_label(world: World) -> None:
    _, (job,) = ran(world, "guarded_mrs", "mrs")
    assert job["cancelled"]
    assert job["name"].startswith("nightly-af-")


@stories()
def a_failed_task_reports_after_its_job_has_ended(world: World) -> None:
    run, (job,) = ran(world, "guarded_error")
    task = run.wait_for("error", "failed")
    assert job["ended_at"] <= timestamp(task["end_date"])
    address = f"batch://@us-east-1/{job['id']}"
    lines = run.remote_job_lines("error")
    assert f"Started AWS Batch job {job['id']}" in lines[0]
    assert "it will be cancelled unless this task succeeds." in lines[0]
    assert f"cancelled {address} (CANCELLED after " in lines[-1]
    assert lines[-1].startswith("[remote jobs] Task failed (")


@stories(dag=["guarded_success", "guarded_release", "guarded_not"])
def a_job_that_is_meant_to_live_lives(world: World, dag: str) -> None:
    run, (job,) = ran(world, dag, state="success" if dag == "guarded_success" else "failed")
    if dag == "guarded_success":
        said = f"[remote jobs] Task succeeded; left running: batch://@us-east-1/{job['id']}."
        assert run.remote_job_lines("success")[-1] == said
    time.sleep(5)
    (job,) = jobs_in(world, "batch", job["scope"])
    assert job["cancel_requested_at"] is None


@stories()
def that_a_job_was_released_is_on_record_when_its_run_is_deleted(world: World) -> None:
    run, (job,) = ran(world, "guarded_release")
    (task,) = world.airflow.rest.tasks(run.dag_id, run.run_id)
    world.airflow.rest.call("DELETE", f"dags/{run.dag_id}/dagRuns/{run.run_id}")
    found = world.airflow.rest.call("GET", f"variables/{release_key(task['id'])}")
    record = json.loads(found["value"])
    assert record.pop("at")
    assert record.pop("jobs") == [f"batch://@us-east-1/{job['id']}"]
    assert record == {"all": False, "task": f"{run.dag_id} / {run.run_id} / released try 1"}


@stories()
def what_a_thread_has_released_outlives_a_sigkill_and_the_retry(world: World) -> None:
    needs_a_retry_after_sigkill()
    _, jobs = ran(world, "guarded_release_in_thread", state="success")
    place = jobs[0]["scope"]
    by_age = sorted(jobs, key=lambda job: float(job["created_at"]))
    eventually(lambda: any(job["cancelled"] for job in jobs_in(world, "batch", place)), "one is cancelled")
    time.sleep(3)
    asked = {job["id"] for job in jobs_in(world, "batch", place) if job["cancel_requested_at"]}
    assert asked == {by_age[0]["id"]}


@stories()
def a_task_that_is_cleared_after_its_success_leaves_its_first_job_alone(world: World) -> None:
    run, (first,) = ran(world, "guarded_success", state="success")
    place = first["scope"]
    run.mark("success", "cleared")
    eventually(lambda: len(jobs_in(world, "batch", place)) == 2, "the second try's job")
    run.end("success")
    time.sleep(5)
    assert not any(job["cancel_requested_at"] for job in jobs_in(world, "batch", place))


@stories()
def every_try_cleans_up_after_itself(world: World) -> None:
    _, jobs = ran(world, "guarded_retries")
    first, second = sorted(jobs, key=lambda job: float(job["created_at"]))
    assert first["cancelled"]
    assert second["cancelled"]
    assert first["ended_at"] < second["created_at"]


@stories()
def a_dag_callback_takes_the_tasks_that_did_not_succeed(world: World) -> None:
    _, jobs = ran(world, "guarded_dag_callback")
    assert len(jobs) == 2
    if Version("3.1") > AIRFLOW:  # its Dag processor can't be asked
        said_in_dag_processor(world, "CancelRemoteJobs cancels nothing here")
        assert not any(job["cancel_requested_at"] for job in jobs)
        return
    place = jobs[0]["scope"]
    eventually(
        lambda: sum(job["cancelled"] for job in jobs_in(world, "batch", place)) == 1, "one is cancelled"
    )
    time.sleep(3)
    assert sum(job["cancelled"] for job in jobs_in(world, "batch", place)) == 1


@stories()
def only_the_killed_one_of_mapped_tasks_loses_its_job(world: World) -> None:
    place = world.place("batch")
    run = world.run_with("guarded_mapped", {"scope": place})
    eventually(lambda: len(jobs_in(world, "batch", place)) == 2, "two jobs")
    run.wait_for("batch[0]", "running")
    time.sleep(2)
    run.signal("batch[0]", signal.SIGKILL)
    eventually(lambda: any(job["cancelled"] for job in jobs_in(world, "batch", place)), "one is cancelled")
    # The sentinel's lines are where Airflow shows the log of the try.
    eventually(
        lambda: any(
            " cancelled batch://" in line and "(CANCELLED after " in line
            for line in run.remote_job_lines("batch[0]")
        ),
        "the log of the killed task tells of the cancel",
    )
    time.sleep(3)
    assert sum(job["cancelled"] for job in jobs_in(world, "batch", place)) == 1
    local: Any = world.cloud.services["batch"]
    for job in jobs_in(world, "batch", place):
        if not job["cancelled"]:
            local.finish(job["id"], "SUCCEEDED")
    run.end("failed")


@stories()
def a_task_that_was_told_to_end_starts_no_other_job(world: World) -> None:
    place = world.place("batch")
    run = world.run_with("guarded_fence", {"scope": place})
    eventually(lambda: bool(jobs_in(world, "batch", place)), "a job")
    eventually(lambda: any("Started" in line for line in run.remote_job_lines("stubborn")), "its answer")
    run.signal("stubborn", signal.SIGTERM)
    run.end("failed")
    (job,) = jobs_in(world, "batch", place)
    assert job["cancelled"]
    assert run.error("stubborn")[0] == "Killed"
    last = run.remote_job_lines("stubborn")[-1]
    assert last.startswith("[remote jobs] Task received SIGTERM (")
    assert f"cancelled batch://@us-east-1/{job['id']} (CANCELLED after " in last


@stories()
def execution_timeout_cancels(world: World) -> None:
    _, (step,) = ran(world, "guarded_timeout", "emr")
    assert step["cancelled"]


def timestamp(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_guard(told: Told, story: Story) -> None:
    told(story)
