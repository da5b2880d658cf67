"""The guard on a real Airflow, in the less common shapes of a Dag."""

from __future__ import annotations

from typing import Any

import pytest

from tests.airflow_versions import BEGINS_IN_TRIGGERER, KEEPS_RECORDS
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import Run, World, eventually

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()


def jobs_in(world: World, queue: str) -> list[dict[str, Any]]:
    """Ground truth of a queue, the oldest first."""
    jobs = [job for job in world.cloud.batch.jobs() if job["scope"] == queue]
    return sorted(jobs, key=lambda job: float(job["created_at"]))


def begun(world: World, dag: str) -> tuple[Run, str]:
    queue = world.place("batch")
    world.airflow.rest.wait_for_dags(dag)
    return world.run_with(dag, {"scope": queue}), queue


@stories()
def setup_and_teardown_are_tasks_like_others(world: World) -> None:
    run, queue = begun(world, "shapes_setup")
    run.end("failed")
    assert [job["cancelled"] for job in jobs_in(world, queue)] == [False, True, True]


@stories()
def what_an_earlier_poke_has_started_is_cancelled_with_the_sensor(world: World) -> None:
    run, queue = begun(world, "shapes_reschedule_error")
    run.end("failed")
    (job,) = jobs_in(world, queue)
    assert job["cancelled"] is KEEPS_RECORDS


@stories()
def what_an_earlier_poke_has_started_lives_on_with_the_sensor(world: World) -> None:
    run, queue = begun(world, "shapes_reschedule_success")
    run.end("success")
    (job,) = jobs_in(world, queue)
    assert not job["cancel_requested_at"]


@stories(state=["failed", "cleared"] if KEEPS_RECORDS else ["failed"])
def what_a_poke_has_started_is_cancelled_between_two_pokes(world: World, state: str) -> None:
    run, queue = begun(world, "shapes_reschedule_never")
    run.wait_for("poked", "up_for_reschedule")
    run.mark("poked", state)
    eventually(lambda: jobs_in(world, queue)[0]["cancelled"], "the job is cancelled")
    if state == "cleared":  # its next try would poke as long as this Airflow lives
        run.wait_for("poked", "up_for_reschedule")
        run.mark("poked", "failed")


@stories()
def an_operator_that_begins_in_the_triggerer_is_guarded(world: World) -> None:
    run, queue = begun(world, "shapes_started")
    run.end("failed")
    jobs = jobs_in(world, queue)
    assert [job["cancelled"] for job in jobs] == [True] * BEGINS_IN_TRIGGERER


@stories()
def what_a_callback_submits_again_is_not_the_tasks(world: World) -> None:
    run, queue = begun(world, "shapes_resubmit")
    run.end("failed")
    eventually(lambda: len(jobs_in(world, queue)) == 2, "the callback's job")
    first, again = jobs_in(world, queue)
    assert first["cancelled"]
    assert not again["cancel_requested_at"]
    assert again["labels"]["parameters"] == {}


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_shapes(story: Story, told: Told) -> None:
    told(story)
