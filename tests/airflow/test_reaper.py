"""The reaper on a real Airflow: whose tries are over, by each way to ask, and what becomes of their jobs."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
import requests

from airflow_cancel_provider.owner import Label, deployment_of, release_key
from tests.airflow_versions import REMOTE_JOBS
from tests.demo.places import aws_client
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import DEPLOYMENT, ROLE, STEP, SUCCEEDED, Run, World, eventually

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()

SWEEP_SECONDS = "airflow.remote_jobs.sweep_seconds"
ORPHANS = {"failed", "replaced", "deleted", "triggered again"}
CONNECTION = "airflow_api"
EXECUTOR_SECONDS = 15.0
"""Until the scheduler has read from its executor that a task's process has ended."""


@dataclass
class Scene:
    """Jobs of tries that stand in different ways, in one place."""

    world: World
    service: str
    place: str
    jobs: dict[str, str]

    def asked_to_end(self) -> set[str]:
        """Whose jobs somebody has asked to end."""
        asked = {job["id"] for job in self.world.cloud.jobs() if job["cancel_requested_at"]}
        return {name for name, job in self.jobs.items() if job in asked}

    def have_ended(self, *names: str) -> bool:
        """Whether these jobs were seen to end."""
        ended = {job["id"] for job in self.world.cloud.jobs() if job["ended_at"]}
        return all(self.jobs[name] in ended for name in names)


def label_of(run: Run, task_id: str, *states: str) -> Label:
    """What a try writes on its jobs."""
    return Label(deployment_of(DEPLOYMENT), UUID(run.wait_for(task_id, *states)["id"]))


def ended(world: World, dag_id: str, task_id: str, state: str) -> tuple[Run, Label]:
    """A run that has ended, and the label of its try."""
    run = world.run_with(dag_id, {"scope": world.place("batch")})
    run.end(state)
    return run, label_of(run, task_id, state)


def cleared(world: World, dag_id: str, task_id: str, state: str) -> Label:
    """The label of a try that ended so, and was replaced by another that did."""
    run, label = ended(world, dag_id, task_id, state)
    run.mark(task_id, "cleared")
    run.end(state)
    return label


def delete(world: World, run: Run) -> None:
    """Delete a run, as a person would."""
    world.airflow.rest.call("DELETE", f"dags/{run.dag_id}/dagRuns/{run.run_id}")


def released(world: World, label: Label) -> dict[str, Any]:
    """What the guard of a task that has succeeded left behind, because jobs of it live."""
    value = world.airflow.rest.call("GET", f"variables/{release_key(label.ti_id)}")["value"]
    release: dict[str, Any] = json.loads(value)
    assert release["all"], release
    return release


def triggered_again(world: World) -> tuple[Label, Label]:
    """Labels of the try of a deleted run, and of the one of the run that has its id now, which runs."""
    run, jobs = world.submit("sync")
    old = label_of(run, "submit", "running")
    for job in jobs.ids:
        world.cloud.mrs.finish(job, SUCCEEDED["mrs"])
    run.end("success")
    # The scheduler itself goes by names: it takes the executor's word of the old try's end for the new one's.
    time.sleep(EXECUTOR_SECONDS)
    delete(world, run)
    body = {"logical_date": None, "dag_run_id": run.run_id, "conf": {"scope": jobs.scope}}
    world.airflow.rest.call("POST", f"dags/{run.dag_id}/dagRuns", json=body)
    new = label_of(run, "submit", "running")
    assert new != old
    return old, new


class Tries:
    """Labels of tries that stand in different ways, and of strangers; the same for all scenes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._labels: dict[str, Label | None] = {}

    def labels(self, world: World) -> dict[str, Label | None]:
        with self._lock:
            self._labels = self._labels or played(world)
            return self._labels


TRIES = Tries()


def played(world: World) -> dict[str, Label | None]:
    """Labels of tries that were run for it."""
    _, failed = ended(world, "guarded_error", "error", "failed")
    _, succeeded = ended(world, "guarded_success", "success", "success")
    deleted_run, deleted = ended(world, "guarded_error", "error", "failed")
    forgotten_run, forgotten = ended(world, "guarded_success", "success", "success")
    assert released(world, forgotten)["jobs"]
    for run in (deleted_run, forgotten_run):
        delete(world, run)
    old, new = triggered_again(world)
    return {
        "failed": failed,
        "replaced": cleared(world, "guarded_error", "error", "failed"),
        "deleted": deleted,
        "triggered again": old,
        "released, deleted": forgotten,
        "alive": new,
        "succeeded": succeeded,
        "succeeded before": cleared(world, "guarded_success", "success", "success"),
        "foreign": Label("abcd1234", failed.ti_id),
        "by hand": None,
    }


def scene(world: World, service: str) -> Scene:
    """One job of each try."""
    labels, place, start = TRIES.labels(world), world.place(service), STARTS[service]
    return Scene(world, service, place, {name: start(world, place, label) for name, label in labels.items()})


def _start_step(world: World, cluster: str, label: Label | None) -> str:
    name = f"step {label}" if label else "step"
    answer = aws_client(world.cloud.url, "emr").add_job_flow_steps(
        JobFlowId=cluster, Steps=[{**STEP, "Name": name}]
    )
    return str(answer["StepIds"][0])


def _start_batch_job(world: World, queue: str, label: Label | None) -> str:
    parameters = {"airflow_owner": str(label)} if label else {}
    answer = aws_client(world.cloud.url, "batch").submit_job(
        jobName="job", jobQueue=queue, jobDefinition="job", parameters=parameters
    )
    return str(answer["jobId"])


def _start_job_run(world: World, application: str, label: Label | None) -> str:
    answer = aws_client(world.cloud.url, "emr-serverless").start_job_run(
        applicationId=application,
        executionRoleArn=ROLE,
        jobDriver={"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}},
        name=f"run {label}" if label else "run",
    )
    return str(answer["jobRunId"])


Start = Callable[[World, str, Label | None], str]
STARTS: dict[str, Start] = {
    "emr": _start_step,
    "batch": _start_batch_job,
    "emr-serverless": _start_job_run,
}


def api_connection(world: World) -> dict[str, Any]:
    """How a reaper elsewhere reaches the API server."""
    return {"conn_type": "http", "host": world.airflow.url, "password": world.airflow.rest.token}


def reap(world: World, there: Scene, *options: str, is_elsewhere: bool = False) -> tuple[int, dict[str, Any]]:
    """One sweep from the command line; its exit code and what it said.

    :param is_elsewhere: where there is no metadata database, but a connection with an account.
    """
    at = f"{there.service}://aws_default@us-east-1"
    places = ("--at", at, "--scope", there.place)
    pace = ("--grace", "1", "--share", "1")
    command = [*REMOTE_JOBS, "reap", *places, *pace, "-o", "json", *options]
    if is_elsewhere:
        connections = {
            f"AIRFLOW_CONN_{CONNECTION.upper()}": api_connection(world),
            "AIRFLOW_CONN_AWS_DEFAULT": {
                "conn_type": "aws",
                "login": "AKIDEXAMPLE",
                "password": "secret",
                "extra": {"endpoint_url": world.cloud.url},
            },
        }
        settings = [f"{name}={json.dumps(value)}" for name, value in connections.items()]
        settings.append("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=sqlite:////tmp/there-is-no-database-here.db")
        command = ["env", *settings, *command, "--airflow-conn-id", CONNECTION]
    done = world.airflow.processes.complete(command)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


def check_swept(there: Scene, report: dict[str, Any]) -> None:
    """Every orphan has ended, and nothing else."""
    assert there.asked_to_end() == ORPHANS, report
    assert there.have_ended(*ORPHANS)
    assert report["fates"] == {"ended": len(ORPHANS)}
    kinds = ("alive", "succeeded", "foreign", "released", "unlabelled")
    counted = {kind: report["jobs"].get(kind) for kind in kinds}
    assert counted == {"alive": 1, "succeeded": 2, "foreign": 1, "released": 1, "unlabelled": 1}


@stories(service=["emr"])
def the_command_line_asks_the_database(world: World, service: str) -> None:
    there = scene(world, service)
    code, dry = reap(world, there, "--dry-run")
    assert code == 0, dry
    assert {each["job"].rpartition("/")[2] for each in dry["orphans"]} == {
        there.jobs[name] for name in ORPHANS
    }
    assert there.asked_to_end() == set()
    code, braked = reap(world, there, "--brake", "3")
    assert (code, braked["fates"]) == (1, {"braked": 4})
    assert there.asked_to_end() == set()
    assert world.statsd.wait_for("airflow.remote_jobs.braked", 4.0)
    code, report = reap(world, there)
    assert code == 0, report
    check_swept(there, report)
    assert world.statsd.wait_for(SWEEP_SECONDS, report["seconds"])


@stories(service=["emr-serverless"])
def a_process_elsewhere_asks_the_api_server(world: World, service: str) -> None:
    there = scene(world, service)
    code, report = reap(world, there, is_elsewhere=True)
    assert code == 0, report
    check_swept(there, report)


@stories(service=["batch"])
def a_dag_asks_the_api_server(world: World, service: str) -> None:
    there = scene(world, service)
    _define_api_connection(world)
    run = world.run_with("reap_by_endpoint", {"scopes": [there.place]})
    run.end("success")
    report: dict[str, Any] = run.xcom("reap")
    check_swept(there, report)
    assert world.statsd.wait_for(SWEEP_SECONDS, report["seconds"])
    events = "assets/events?source_dag_id=reap_by_endpoint"
    told = world.airflow.rest.call("GET", events)["asset_events"]
    assert report in [_nested(event["extra"], report) for event in told]


def _nested(extra: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """An event's extra as it is from Airflow 3.1 on; before, what is no text or number in it is JSON."""
    as_json = {name for name, value in like.items() if isinstance(value, (dict, list))}
    return {
        name: json.loads(value) if name in as_json and isinstance(value, str) else value
        for name, value in extra.items()
    }


@stories()
def a_job_that_was_left_running_on_purpose_outlives_its_run(world: World) -> None:
    """A deferrable operator that does not wait for completion; then its run is deleted."""
    application = world.place("emr-serverless")
    run = world.run_with("reap_forget", {"scope": application})
    run.end("success")
    (job,) = [job["id"] for job in world.cloud.jobs() if job["scope"] == application]
    address = f"emr-serverless://aws_default@us-east-1/{application}/{job}"
    assert released(world, label_of(run, "forget", "success"))["jobs"] == [address]
    delete(world, run)
    there = Scene(world, "emr-serverless", application, {"forgotten": job})
    for is_elsewhere in (False, True):
        code, report = reap(world, there, is_elsewhere=is_elsewhere)
        assert (code, report["jobs"]) == (0, {"released": 1}), report
    assert there.asked_to_end() == set()
    world.cloud.emr_serverless.finish(job, SUCCEEDED["emr-serverless"])


@stories()
def the_api_server_lets_in_who_has_a_token(world: World) -> None:
    run, label = ended(world, "guarded_success", "success", "success")
    url = f"{world.airflow.url}/remote-jobs/v1/owners"
    ask = {"ti_ids": [str(label.ti_id)]}
    headers = {"Authorization": f"Bearer {world.airflow.rest.token}"}
    answer = requests.post(url, json=ask, headers=headers, timeout=60)
    assert answer.json()["owners"][str(label.ti_id)]["state"] == "success"
    assert run.run_id in answer.text
    forged = {"Authorization": f"Bearer {world.airflow.rest.token[:-6]}AAAAAA"}
    assert requests.post(url, json=ask, headers=forged, timeout=60).status_code in (401, 403)


def _define_api_connection(world: World) -> None:
    rest = world.airflow.rest
    known = {each["connection_id"] for each in rest.call("GET", "connections?limit=100")["connections"]}
    if CONNECTION not in known:
        rest.call("POST", "connections", json={"connection_id": CONNECTION, **api_connection(world)})
        eventually(lambda: bool(rest.call("GET", f"connections/{CONNECTION}")), "the connection")


@pytest.mark.airflow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("story", stories, ids=str)
def test_reaper(told: Told, story: Story) -> None:
    told(story)
