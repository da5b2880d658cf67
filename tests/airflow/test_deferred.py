"""Guarded tasks that are deferred, on a real Airflow: mapped ones, and one whose time is up."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import Run, World, eventually

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()


def jobs_in(world: World, queue: str) -> dict[str, dict[str, Any]]:
    """Ground truth of a queue, by job id."""
    local: Any = world.cloud.services["batch"]
    return {job["id"]: job for job in local.jobs() if job["scope"] == queue}


def asked(world: World, queue: str) -> set[str]:
    return {job_id for job_id, job in jobs_in(world, queue).items() if job["cancel_requested_at"]}


def waiting(world: World, queue: str) -> tuple[Run, dict[int, str]]:
    """A run whose three mapped tasks are deferred, taken up by the triggerer; the job of each."""
    world.airflow.rest.wait_for_dags("deferred_mapped")
    run = world.run_with("deferred_mapped", {"scope": queue})
    for index in range(3):
        run.wait_for(f"batch[{index}]", "deferred")
    jobs, since = {index: job_of(run, index) for index in range(3)}, world.cloud.clock()
    for job in jobs.values():
        eventually(lambda: polled(world, job, since), f"the triggerer polls {job}")  # noqa: B023
    return run, jobs


def polled(world: World, job: str, since: float) -> bool:
    calls = world.cloud.journal.entries("batch", "DescribeJobs")
    return any(job in call.ids and call.time > since for call in calls)


def job_of(run: Run, index: int) -> str:
    """What is on record of a mapped task."""
    record = run.xcom("batch", "remote_jobs", map_index=index)
    assert record["state"] == "deferred"
    (job,) = record["jobs"]
    return str(job).rpartition("/")[2]


def mark(world: World, run: Run, index: int, state: str) -> None:
    path = f"dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/batch/{index}"
    world.airflow.rest.call("PATCH", path, json={"new_state": state})


def clear(world: World, run: Run, index: int | None = None) -> None:
    body = {
        "dry_run": False,
        "dag_run_id": run.run_id,
        "task_ids": ["batch" if index is None else ["batch", index]],
        "only_failed": False,
        "only_running": False,
        "reset_dag_runs": True,
    }
    world.airflow.rest.call("POST", f"dags/{run.dag_id}/clearTaskInstances", json=body)


def finish(world: World, queue: str) -> None:
    local: Any = world.cloud.services["batch"]
    for job_id in jobs_in(world, queue):
        local.finish(job_id, "SUCCEEDED")


@stories(state=("failed", "success", "skipped"))
def of_mapped_deferred_tasks_only_the_marked_one_loses_its_job(world: World, state: str) -> None:
    queue = world.place("batch")
    run, jobs = waiting(world, queue)
    mark(world, run, 1, state)
    eventually(lambda: bool(asked(world, queue)), "its job's end is requested")
    time.sleep(12)  # also the API server has had its turn
    assert asked(world, queue) == {jobs[1]}
    address = f"batch://aws_default@us-east-1/{jobs[1]}"
    lines = run.remote_job_lines("batch[1]")
    assert f"deferred: cancelling {address}" in "\n".join(lines)
    # On a busy machine the API server may be the first to ask.
    words = (f"{address}: REQUESTED", f"{address} has ended as CANCELLED")
    assert any(each in "\n".join(lines) for each in words)
    finish(world, queue)
    run.end("failed" if state == "failed" else "success")


@stories()
def of_mapped_deferred_tasks_only_the_cleared_one_loses_its_job(world: World) -> None:
    queue = world.place("batch")
    run, jobs = waiting(world, queue)
    clear(world, run, 2)
    eventually(lambda: len(jobs_in(world, queue)) == 4, "the next try's job")
    eventually(lambda: bool(asked(world, queue)), "the old job's end is requested")
    time.sleep(6)
    assert asked(world, queue) == {jobs[2]}
    finish(world, queue)
    run.end("success")


@stories()
def a_deferred_task_whose_execution_timeout_is_up_loses_its_job(world: World) -> None:
    queue = world.place("batch")
    world.airflow.rest.wait_for_dags("deferred_timeout")
    run = world.run_with("deferred_timeout", {"scope": queue})
    run.wait_for("batch", "deferred")
    assert asked(world, queue) == set()
    run.end("failed")
    assert run.error("batch")[0] == "TaskDeferralTimeout"
    (job,) = jobs_in(world, queue).values()
    assert job["cancelled"]


@stories()
def a_deferred_task_whose_name_is_not_in_ascii_loses_its_job(world: World) -> None:
    """Here its run: while it sends metrics, Airflow itself starts no Dag of such a name."""
    queue, rest = world.place("batch"), world.airflow.rest
    rest.wait_for_dags("deferred_once")
    body = {"dag_run_id": "Bericht für 日報", "logical_date": None, "conf": {"scope": queue}}
    run = Run(
        world.airflow,
        "deferred_once",
        rest.call("POST", "dags/deferred_once/dagRuns", json=body)["dag_run_id"],
    )
    run.wait_for("batch", "deferred")
    (job,) = jobs_in(world, queue)
    since = world.cloud.clock()
    eventually(lambda: polled(world, job, since), f"the triggerer polls {job}")
    run.mark("batch", "failed")
    eventually(lambda: asked(world, queue) == {job}, "its job's end is requested")
    words = f"was ended by Airflow while it was deferred: cancelling batch://aws_default@us-east-1/{job}."
    # The API server cancels, too; these words are the trigger's.
    eventually(lambda: words in "\n".join(run.remote_job_lines("batch")), words)
    run.end("failed")


@stories()
def a_deferred_task_that_its_trigger_ends_as_succeeded_leaves_its_job(world: World) -> None:
    queue = world.place("batch")
    world.airflow.rest.wait_for_dags("deferred_ended_by_trigger")
    run = world.run_with("deferred_ended_by_trigger", {"scope": queue})
    run.end("success")
    assert run.xcom("batch", "remote_jobs")["state"] == "returned"
    clear(world, run)
    eventually(lambda: len(jobs_in(world, queue)) == 2, "the next try's job")
    run.end("success")
    time.sleep(3)
    assert asked(world, queue) == set()


@pytest.mark.airflow
@pytest.mark.wide("[success]")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_deferred(told: Told, story: Story) -> None:
    told(story)
