"""Every example Dag, run on a real Airflow against the local cloud."""

from __future__ import annotations

import pytest

from tests.demo.places import create_places
from tests.demo.report import problems
from tests.demo.runs import Run
from tests.demo.scenarios import SCENARIOS, Scenario
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.system import REPOSITORY
from tests.real_airflow.world import World, eventually

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()


def test_every_example_is_run() -> None:
    examples = {path.stem for path in (REPOSITORY / "example_dags").glob("*.py")}
    # A sweep over all that the tests have started would be in their way; it is run in test_airflow_reaper.py.
    assert {scenario.dag_id for scenario in SCENARIOS} | {"example_reap_remote_jobs"} == examples


@stories()
def the_reaper_waits_for_a_person(world: World) -> None:
    dag = world.airflow.rest.call("GET", "dags/example_reap_remote_jobs")
    assert dag["is_paused"]
    tasks = world.airflow.rest.call("GET", "dags/example_reap_remote_jobs/tasks")["tasks"]
    assert {task["task_id"] for task in tasks} == {"reap", "check"}


@stories(scenario=SCENARIOS)
def every_job_is_cancelled(world: World, scenario: Scenario) -> None:
    run_id = world.airflow.rest.trigger(scenario.dag_id, scenario.conf_at(create_places(world.cloud.url)))
    run = Run(scenario, run_id)

    def has_ended() -> bool:
        list(run.refresh(world.airflow.rest))
        return run.has_ended

    eventually(has_ended, f"the end of {scenario.dag_id}", seconds=240)
    assert run.jobs
    assert list(problems([run], world.cloud.jobs())) == []


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_example(told: Told, story: Story) -> None:
    told(story)
