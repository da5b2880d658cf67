"""Tasks killed on a real Airflow: what becomes of the jobs that they cancel, wait for, or started."""

from __future__ import annotations

import signal

import pytest
from packaging.version import Version

from tests.airflow_versions import AIRFLOW
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import Jobs, Run, World

pytest_plugins = ["tests.real_airflow.fixtures"]
MODES = ("sync", "deferrable")
WAITING = {"sync": "running", "deferrable": "deferred"}
stories = Stories()


POLL = {"emr": "ListSteps", "mrs": "ShowSingleJobExe"}


def waits(world: World, run: Run, task_id: str, mode: str, jobs: Jobs) -> None:
    """Wait until a task waits for its jobs.

    One that is killed a moment earlier is not told: neither before its process knows the jobs, nor after it
    was deferred, until the triggerer has taken its trigger up.
    """
    run.wait_for(task_id, WAITING[mode])
    world.wait_for_call(jobs.service, POLL[jobs.service], jobs.scope, after_now=True)


def sensing(world: World, dag: str, mode: str, jobs: Jobs) -> Run:
    """A run whose sensor waits for the jobs."""
    run = world.run(f"{dag}_emr_{mode}", jobs)
    waits(world, run, "sense", mode, jobs)
    return run


# A cancel operator that is killed.
@stories(mode=MODES)
def cancel_goes_on_when_its_operator_is_marked_failed(world: World, mode: str) -> None:
    jobs = world.start("emr", cancel=12)
    run = world.run(f"cancel_emr_{mode}", jobs)
    jobs.wait_until_asked()
    waits(world, run, "cancel", mode, jobs)
    run.mark("cancel", "failed")
    run.end("failed")
    jobs.wait_until_cancelled()


@stories(number=(signal.SIGTERM, signal.SIGKILL))
def cancel_goes_on_when_its_operator_gets_a_signal(world: World, number: signal.Signals) -> None:
    jobs = world.start("emr", cancel=12)
    run = world.run("cancel_emr_sync", jobs)
    jobs.wait_until_asked()
    run.signal("cancel", number)
    run.end("success" if number is signal.SIGTERM else "failed")
    jobs.wait_until_cancelled()


# A sensor that is killed.
@stories(mode=MODES)
def killed_sensor_leaves_the_jobs_alone(world: World, mode: str) -> None:
    jobs = world.start("emr", 2)
    run = sensing(world, "sense", mode, jobs)
    run.mark("sense", "failed")
    run.end("failed")
    jobs.check_left_alone(10)


@stories(mode=MODES, mark=("failed", "success", "cleared"))
def killed_guard_cancels_the_jobs(world: World, mode: str, mark: str) -> None:
    jobs = world.start("emr", 2)
    run = sensing(world, "guard", mode, jobs)
    run.mark("sense", mark)
    jobs.wait_until_cancelled()
    # Cleared, it waits once more, and sees them cancelled.
    run.end("failed" if mark == "failed" else "success")


@stories(number=(signal.SIGTERM, signal.SIGKILL))
def guard_cancels_the_jobs_when_it_gets_a_signal(world: World, number: signal.Signals) -> None:
    jobs = world.start("emr", 2)
    run = sensing(world, "guard", "sync", jobs)
    run.signal("sense", number)
    jobs.wait_until_cancelled()
    run.end("failed")
    if number is signal.SIGTERM:
        assert run.error("sense")[0] == "Killed"


@stories(mode=MODES)
def sensor_that_times_out_leaves_the_jobs_alone(world: World, mode: str) -> None:
    jobs = world.start("emr", 2)
    run = world.run(f"sense_timeout_emr_{mode}", jobs)
    run.end("failed")
    assert run.error("sense")[0] == "AirflowSensorTimeout"
    jobs.check_left_alone()


@stories(mode=MODES)
def sensor_that_times_out_is_skipped_with_soft_fail(world: World, mode: str) -> None:
    jobs = world.start("emr", 2)
    run = world.run(f"soft_timeout_emr_{mode}", jobs)
    run.end()
    assert run.wait_for("sense", "skipped", "failed", "success")["state"] == "skipped"
    jobs.check_left_alone()


@stories(mode=MODES)
def guard_that_times_out_cancels_the_jobs(world: World, mode: str) -> None:
    jobs = world.start("emr", 2)
    run = world.run(f"guard_timeout_emr_{mode}", jobs)
    jobs.wait_until_cancelled()
    run.end("failed")
    assert run.error("sense")[0] == "AirflowSensorTimeout"


# A task that started a job.
@stories(mode=MODES)
def submitted_job_succeeds(world: World, mode: str) -> None:
    run, jobs = world.submit(mode, run=15)
    run.end()
    assert run.xcom("submit") == jobs.uris[0]
    record = run.xcom("submit", "remote_jobs")
    assert (record["jobs"], record["state"]) == (jobs.uris, "returned")


@stories(mode=MODES)
def submitted_job_that_fails_fails_its_task(world: World, mode: str) -> None:
    run, jobs = world.submit(mode, run=15, outcome="failure")
    run.end("failed")
    kind, text = run.error("submit")
    assert kind == "UnexpectedEnd"
    assert f"{jobs.uris[0]} is FAILED" in text


@stories(mode=MODES, mark=("failed", "success"))
def submitted_job_ends_when_its_task_is_marked(world: World, mode: str, mark: str) -> None:
    run, jobs = world.submit(mode)
    waits(world, run, "submit", mode, jobs)
    run.mark("submit", mark)
    run.end(mark)
    jobs.wait_until_cancelled()


@stories(mode=MODES)
def submitted_job_ends_when_its_task_is_cleared(world: World, mode: str) -> None:
    run, jobs = world.submit(mode)
    waits(world, run, "submit", mode, jobs)
    run.mark("submit", "cleared")
    jobs.wait_until_cancelled()
    if Version("3.1") > AIRFLOW and mode == "sync":
        return  # it starts the next try when the cleared one has sent no heartbeat for five minutes
    # The next try starts a job of its own, which nobody may touch.
    (next_job,) = world.wait_for_jobs(jobs.scope, 2).without(jobs).truth()
    assert not next_job["cancel_requested_at"]
    world.cloud.mrs.finish(next_job["id"], "FINISHED")
    run.end()
    assert next_job["id"] in run.xcom("submit")


@stories()
def submitted_job_ends_when_its_task_gets_sigterm(world: World) -> None:
    run, jobs = world.submit("sync")
    run.signal("submit", signal.SIGTERM)
    jobs.wait_until_cancelled()
    run.end("failed")
    assert run.error("submit")[0] == "Killed"


@pytest.mark.airflow
@pytest.mark.wide(
    "sync-success", "sync-cleared"
)  # Airflow tells a running task the same, whatever it is marked
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_kill(told: Told, story: Story) -> None:
    told(story)


@pytest.mark.airflow
@pytest.mark.timeout(600)
def test_restart_of_the_triggerer_cancels_nothing(told: Told, world: World) -> None:
    told.wait_for_all()
    jobs = world.start("emr", 2)
    run = sensing(world, "guard", "deferrable", jobs)
    world.airflow.processes.stop("triggerer")
    world.airflow.start_component("triggerer")
    world.wait_for_call("emr", "ListSteps", jobs.scope, after_now=True)
    jobs.check_left_alone()
    run.end()
    assert run.xcom("sense") == dict.fromkeys(jobs.uris, "SUCCEEDED")
