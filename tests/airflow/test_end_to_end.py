"""Cancel operators and sensors on a real Airflow: in the task and in the triggerer, with the same results."""

from __future__ import annotations

import re
import time

import pytest

from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import Jobs, Run, World

pytest_plugins = ["tests.real_airflow.fixtures"]
SERVICES = ("emr", "batch", "emr-serverless", "emr-containers", "mrs")
MODES = ("sync", "deferrable")
CANCELS = {
    "emr": ("CancelSteps", "elasticmapreduce:CancelSteps"),
    "batch": ("TerminateJobs", "batch:TerminateJob"),
    "emr-serverless": ("CancelJobRun", "emr-serverless:CancelJobRun"),
    "emr-containers": ("CancelJobRun", "emr-containers:CancelJobRun"),
    "mrs": ("StopJob", "mrs:cluster:stopJob"),
}
# Triggers must not fire right after the deferral: Airflow 3.3 fails a task that is queued again before the
# scheduler has heard that its first half has ended (https://github.com/apache/airflow/issues/67287).
LATER = 8
stories = Stories()
alike = Stories()
"""What is written once for all services, and of each tested without an Airflow: here EMR tells it."""


def in_both_modes(world: World, dag: str, *jobs: Jobs, **conf: object) -> list[Run]:
    """A run in each mode, about the same jobs or each about its own."""
    pairs = zip(MODES, jobs * 2, strict=False)
    return [world.run(f"{dag}_{some.service}_{mode}", some, **conf) for mode, some in pairs]


def same_error(runs: list[Run], task_id: str, *jobs: Jobs) -> tuple[str, str]:
    """The error of a task that fails in both modes, and in both with the same words.

    The run, and jobs of which each run has its own, are called the same.
    """
    errors = []
    for run in runs:
        run.end("failed")
        kind, text = run.error(task_id)
        text = text.replace(run.dag_id, "DAG").replace(run.run_id, "RUN")
        for some in jobs:
            text = text.replace(some.ids[0], "JOB").replace(some.scope, "PLACE")
        errors.append((kind, re.sub(r"request \w+", "request …", text)))
    assert errors[0] == errors[1]
    return errors[0]


@stories(service=SERVICES, mode=MODES)
def cancelled_jobs_are_returned_with_their_states(world: World, service: str, mode: str) -> None:
    jobs = world.start(service, 2, cancel=LATER)
    run = world.run(f"cancel_{service}_{mode}", jobs)
    run.end()
    assert jobs.are_cancelled
    assert run.xcom("cancel") == dict.fromkeys(jobs.uris, "CANCELLED")


@alike(service=SERVICES)
def refused_cancel_is_the_same_error_in_both_modes(world: World, service: str) -> None:
    jobs = world.start(service)
    operation, permission = CANCELS[service]
    for name in {operation, operation.rstrip("s")}:
        world.cloud.faults.add(service, name, "denied", id=jobs.ids[0])
    kind, text = same_error(in_both_modes(world, "cancel", jobs), "cancel")
    assert kind == "CancelRefused"
    assert f"{jobs.uris[0]}: REFUSED" in text
    assert permission in text
    assert not jobs.are_asked_to_end


@alike(service=SERVICES)
def cancel_that_takes_too_long_is_the_same_error_in_both_modes(world: World, service: str) -> None:
    # Each has its own: MRS refuses to kill a job again that is being killed.
    both = [world.start(service, cancel=1e6) for _ in MODES]
    kind, text = same_error(in_both_modes(world, "cancel", *both, attempts=3 * LATER), "cancel", *both)
    assert kind == "NotEnded"
    assert "JOB is " in text
    assert all(jobs.are_asked_to_end for jobs in both)


@alike(service=SERVICES)
def end_is_sensed_in_both_modes(world: World, service: str) -> None:
    jobs = world.start(service, 2, run=2 * LATER)
    runs = in_both_modes(world, "sense", jobs)
    if service == "emr":
        runs.append(world.run("sense_emr_reschedule", jobs))
    for run in runs:
        run.end()
        assert run.xcom("sense") == dict.fromkeys(jobs.uris, "SUCCEEDED")


@alike(service=SERVICES)
def wrong_end_is_the_same_error_in_both_modes(world: World, service: str) -> None:
    jobs = world.start(service, run=2 * LATER, outcome="failure")
    runs = in_both_modes(world, "sense_success", jobs)
    if service == "emr":
        runs.append(world.run("sense_success_emr_reschedule", jobs))
        runs[2].end("failed")
    kind, text = same_error(runs[:2], "sense")
    assert kind == "UnexpectedEnd"
    assert f"{jobs.uris[0]} is FAILED" in text
    assert all(run.error("sense") == (kind, text) for run in runs)


@stories()
def right_withdrawn_while_waiting_is_the_same_error_in_both_modes(world: World) -> None:
    jobs = world.start("emr")
    runs = in_both_modes(world, "sense", jobs)
    runs[0].wait_for("sense", "running")
    runs[1].wait_for("sense", "deferred")
    time.sleep(LATER)
    world.cloud.faults.add("emr", "ListSteps", "denied", scope=jobs.scope)
    kind, text = same_error(runs, "sense")
    assert kind == "AccessDenied"
    assert "elasticmapreduce:ListSteps" in text
    jobs.check_left_alone(0)


@stories()
def mapped_operator_cancels_the_jobs_of_each_index(world: World) -> None:
    jobs = world.start("emr", 4, cancel=LATER)
    run = world.run("mapped", jobs)
    run.end()
    assert jobs.are_cancelled
    first, second = (run.xcom("cancel", map_index=index) for index in range(2))
    assert first == dict.fromkeys(jobs.uris[:2], "CANCELLED")
    assert second == dict.fromkeys(jobs.uris[2:], "CANCELLED")


@stories()
def connection_and_region_of_default_args_are_used(world: World) -> None:
    cluster = world.cloud.emr.create_cluster(region="eu-west-1")
    jobs = world.start_steps(cluster, region="eu-west-1")
    run = world.run("default_args", jobs)
    run.end()
    assert jobs.are_cancelled
    address = f"emr://other_aws@eu-west-1/{cluster}/{jobs.ids[0]}"
    assert run.xcom("cancel") == run.xcom("sense") == {address: "CANCELLED"}
    calls = [call for call in world.cloud.journal.entries("emr") if call.access_key == "OTHERKEY"]
    assert {"CancelSteps", "ListSteps"} <= {call.operation for call in calls}
    assert {call.region for call in calls} == {"eu-west-1"}


@pytest.mark.airflow
@pytest.mark.wide
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_on_airflow(told: Told, story: Story) -> None:
    told(story)


@pytest.mark.airflow
@pytest.mark.wide("batch", "mrs")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", alike, ids=str)
def test_alike_on_airflow(told: Told, story: Story) -> None:
    told(story)
