"""Capture on a real Airflow: what a Dag file makes while it is parsed is seen in its tasks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import World, eventually

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()


@stories(made=["session", "client", "default_client"])
def a_job_of_a_module_level_client_ends_with_its_task(world: World, made: str) -> None:
    local: Any = world.cloud.services["batch"]
    place = world.place("batch")
    run = world.run_with(f"module_level_{made}", {"scope": place})
    run.end("failed")
    eventually(
        lambda: any(job["cancelled"] for job in local.jobs() if job["scope"] == place), "the job is cancelled"
    )
    (job,) = [job for job in local.jobs() if job["scope"] == place]
    assert job["labels"]["parameters"]["airflow_owner"].startswith("af-")


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_capture(told: Told, story: Story) -> None:
    told(story)
