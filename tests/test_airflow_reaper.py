"""The reaper on a real Airflow: whose tries are over, by each way to ask, and what becomes of their jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from airflow_cancel_provider.owner import OWNER_PREFIX, Label, Owner, deployment_of
from tests.airflow_versions import REMOTE_JOBS
from tests.demo.places import aws_client
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import DEPLOYMENT, STEP, Run, World

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()

SWEEP_SECONDS = "airflow.remote_jobs.sweep_seconds"

Labelled = Callable[[Owner], str]


@dataclass
class Scene:
    """Jobs of tries that stand in different ways, in one place."""

    world: World
    service: str
    place: str
    jobs: dict[str, str]
    owners: dict[str, Owner | None]

    def leave_variable(self, name: str) -> None:
        """Leave the owner of a job where a reaper without the database can read it."""
        owner = self.owners[name]
        assert owner is not None
        body = {"key": f"{OWNER_PREFIX}{owner.ti_id}", "value": str(owner)}
        known = self.world.airflow.rest.call("GET", "variables?limit=1000")["variables"]
        if body["key"] not in {each["key"] for each in known}:
            self.world.airflow.rest.call("POST", "variables", json=body)

    def asked_to_end(self) -> set[str]:
        """Whose jobs somebody has asked to end."""
        asked = {job["id"] for job in self.world.cloud.jobs() if job["cancel_requested_at"]}
        return {name for name, job in self.jobs.items() if job in asked}

    def have_ended(self, *names: str) -> bool:
        """Whether these jobs were seen to end."""
        ended = {job["id"] for job in self.world.cloud.jobs() if job["ended_at"]}
        return all(self.jobs[name] in ended for name in names)


def owner_of(run: Run, task_id: str, *states: str) -> Owner:
    """A task's try, as its own jobs would name it."""
    ti = run.wait_for(task_id, *states)
    return Owner(
        deployment_of(DEPLOYMENT),
        run.dag_id,
        run.run_id,
        task_id,
        ti["map_index"],
        ti["try_number"],
        UUID(ti["id"]),
    )


def ended(world: World, dag_id: str, task_id: str, state: str) -> tuple[Run, Owner]:
    """A run that has ended, and its try."""
    run = world.run_with(dag_id, {"scope": world.place("batch")})
    run.end(state)
    return run, owner_of(run, task_id, state)


def scene(world: World, service: str) -> Scene:
    """One job each of a try that failed, succeeded, runs, was replaced, was deleted; and of strangers."""
    _, failed = ended(world, "guarded_error", "error", "failed")
    _, succeeded = ended(world, "guarded_success", "success", "success")
    again, replaced = ended(world, "guarded_error", "error", "failed")
    again.mark("error", "cleared")
    again.end("failed")
    once_well, before = ended(world, "guarded_success", "success", "success")
    once_well.mark("success", "cleared")
    once_well.end("success")
    deleted, tidied_up = (ended(world, "guarded_error", "error", "failed") for _ in range(2))
    for gone, _ in (deleted, tidied_up):
        world.airflow.rest.call("DELETE", f"dags/{gone.dag_id}/dagRuns/{gone.run_id}")
    running, _ = world.submit("sync")
    alive = owner_of(running, "submit", "running")
    place = world.place(service)
    start = _start_step if service == "emr" else _start_batch_job
    labels = {
        "failed": failed.label,
        "replaced": replaced.label,
        "deleted": replace(deleted[1].label, waits=True),
        "deleted, may have succeeded": tidied_up[1].label,
        "alive": alive.label,
        "succeeded": succeeded.label,
        "succeeded before": before.label,
        "foreign": Label("abcd1234", failed.ti_id),
        "by hand": None,
    }
    jobs = {name: start(world, place, label) for name, label in labels.items()}
    owners = {name: label.owner if label else None for name, label in labels.items()}
    return Scene(world, service, place, jobs, owners)


def _start_step(world: World, cluster: str, label: Label | None) -> str:
    name = f"step {label}" if label else "step"
    answer = aws_client(world.cloud.url, "emr").add_job_flow_steps(
        JobFlowId=cluster, Steps=[{**STEP, "Name": name}]
    )
    return str(answer["StepIds"][0])


def _start_batch_job(world: World, queue: str, label: Label | None) -> str:
    parameters = {"airflow_owner": label.in_full} if label else {}
    answer = aws_client(world.cloud.url, "batch").submit_job(
        jobName="job", jobQueue=queue, jobDefinition="job", parameters=parameters
    )
    return str(answer["jobId"])


def reap(world: World, scene: Scene, *options: str) -> tuple[int, dict[str, Any]]:
    """One sweep from the command line; its exit code and what it said."""
    at = f"{scene.service}://aws_default@us-east-1"
    places = ("--at", at, "--scope", scene.place)
    pace = ("--grace", "1", "--share", "1")
    done = world.airflow.processes.complete([*REMOTE_JOBS, "reap", *places, *pace, "--json", *options])
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


@stories(service=["emr", "batch"])
def the_database_knows_every_label(world: World, service: str) -> None:
    there = scene(world, service)
    code, dry = reap(world, there, "--dry-run")
    assert code == 0
    assert {each["job"].rpartition("/")[2] for each in dry["orphans"]} == {
        there.jobs[name] for name in ("failed", "replaced", "deleted")
    }
    assert there.asked_to_end() == set()
    code, report = reap(world, there)
    assert code == 0
    assert there.asked_to_end() == {"failed", "replaced", "deleted"}
    assert there.have_ended("failed", "replaced", "deleted")
    assert report["fates"] == {"ended": 3}
    assert world.statsd.wait_for(SWEEP_SECONDS, report["seconds"])
    assert {kind: report["jobs"].get(kind) for kind in ("alive", "succeeded", "foreign", "unknown")} == {
        "unknown": 1,
        "alive": 1,
        "succeeded": 2,
        "foreign": 1,
    }


def swept(world: World, there: Scene, dag_id: str) -> dict[str, Any]:
    """What one run of a reaper's Dag has said."""
    run = world.run_with(dag_id, {"scopes": [there.place]})
    run.end("success")
    report: dict[str, Any] = run.xcom("reap")
    return report


@stories()
def rest_knows_batch_jobs_exactly(world: World) -> None:
    there = scene(world, "batch")
    _define_api_connection(world)
    report = swept(world, there, "reap_by_rest")
    assert there.asked_to_end() == {"failed", "replaced", "deleted"}, report
    assert there.have_ended("failed", "replaced", "deleted")
    assert world.statsd.wait_for(SWEEP_SECONDS, report["seconds"])
    told = world.airflow.rest.call("GET", "assets/events?source_dag_id=reap_by_rest")["asset_events"]
    assert report in [_nested(event["extra"], report) for event in told]


def _nested(extra: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """An event's extra as it is from Airflow 3.1 on; before, what is no text or number in it is JSON."""
    as_json = {name for name, value in like.items() if isinstance(value, (dict, list))}
    return {
        name: json.loads(value) if name in as_json and isinstance(value, str) else value
        for name, value in extra.items()
    }


@stories()
def rest_knows_a_short_label_of_a_try_that_is_still_the_last(world: World) -> None:
    there = scene(world, "emr")
    _define_api_connection(world)
    report = swept(world, there, "reap_by_rest")
    assert there.asked_to_end() == {"failed"}, report
    assert report["jobs"]["unknown"] == 4


@stories()
def without_an_account_only_a_deleted_run_is_sure(world: World) -> None:
    there = scene(world, "batch")
    report = swept(world, there, "reap_by_sdk")
    assert there.asked_to_end() == {"deleted"}, report


@stories(way=["rest", "sdk"])
def variables_make_every_label_known(world: World, way: str) -> None:
    there = scene(world, "emr")
    _define_api_connection(world)
    # As the guard of a try leaves it that did not come to its end.
    for name in ("failed", "replaced", "deleted", "deleted, may have succeeded"):
        there.leave_variable(name)
    report = swept(world, there, f"reap_by_{way}")
    assert there.asked_to_end() == {
        "failed",
        "replaced",
        "deleted",
        "deleted, may have succeeded",
    }, report


@stories(dag=["guarded_success", "guarded_error"])
def a_try_leaves_no_variable(world: World, dag: str) -> None:
    run, owner = ended(world, dag, dag.removeprefix("guarded_"), "success" if "success" in dag else "failed")
    assert owner.run_id == run.run_id
    keys = {each["key"] for each in world.airflow.rest.call("GET", "variables?limit=1000")["variables"]}
    assert f"{OWNER_PREFIX}{owner.ti_id}" not in keys


def _define_api_connection(world: World) -> None:
    rest = world.airflow.rest
    body = {
        "connection_id": "airflow_api",
        "conn_type": "http",
        "host": world.airflow.url,
        "password": rest.token,
    }
    known = {each["connection_id"] for each in rest.call("GET", "connections?limit=100")["connections"]}
    if "airflow_api" not in known:
        rest.call("POST", "connections", json=body)


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_reaper(told: Told, story: Story) -> None:
    told(story)
