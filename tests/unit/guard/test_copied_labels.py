"""Submissions that were copied with the label of another try: they get that of the try that submits them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import replace

import pytest

from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.emr.service import EmrStepService
from airflow_cancel_provider.services.mrs.submission import SUBMISSIONS as MRS
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, OpenSubmission, set_recorder
from tests.capture_fixtures import LABEL, ROLE, STEP, Notes, application, client, recorder, start, submit
from tests.cloud.server import LocalCloud
from tests.service_fixtures import create_virtual_cluster

__all__ = ["recorder"]

STALE = Label("abcd1234", uuid.UUID(int=6), reconnects=True)
"""Of a job that was copied: its owner is not the one that submits now."""


def owners(texts: Sequence[str]) -> list[Label | None]:
    return [Label.find(text) for text in texts]


@pytest.mark.parametrize("carrier", ["name", "properties"])
def test_a_step_that_is_submitted_again_gets_the_label_of_who_does(
    cloud: LocalCloud, notes: Notes, carrier: str
) -> None:
    notes.carriers["emr"] = carrier
    property_ = {"Key": "airflow.owner", "Value": str(STALE)}
    copied = {"Jar": "command-runner.jar", "Args": [], "Properties": [property_]}
    steps = [{"Name": f"step {STALE}", "HadoopJarStep": copied}, {**STEP, "Name": str(STALE)}]
    made, cluster = client(cloud, "emr"), cloud.emr.create_cluster()
    made.add_job_flow_steps(JobFlowId=cluster, Steps=steps)
    assert len(EmrStepService(made).labelled(cluster, LABEL)) == 2
    assert steps[0]["Name"] == f"step {STALE}"


@pytest.mark.usefixtures("notes")
def test_a_batch_job_that_is_submitted_again_gets_the_label_of_who_does(cloud: LocalCloud) -> None:
    copied = {LABEL_PARAMETER: STALE.in_full}
    submit(client(cloud, "batch"), parameters={**copied, "own": "value"})
    (job,) = cloud.batch.jobs()
    assert job["labels"]["parameters"] == {"own": "value", LABEL_PARAMETER: str(LABEL)}


@pytest.mark.usefixtures("notes")
def test_a_run_that_is_submitted_again_gets_the_label_of_who_does(cloud: LocalCloud) -> None:
    made = client(cloud, "emr-serverless")
    app = made.create_application(name="a", releaseLabel="emr-7.9.0", type="SPARK")["applicationId"]
    driver = {"sparkSubmit": {"entryPoint": "s3://b/x.py"}}
    for name in (f"run {STALE}", str(STALE), f"{'x' * 200} {STALE}"):
        made.start_job_run(applicationId=app, executionRoleArn=ROLE, jobDriver=driver, name=name)
    assert owners([job["name"] for job in cloud.emr_serverless.jobs()]) == [LABEL] * 3


def resubmitted_step(cloud: LocalCloud) -> None:
    property_ = {"Key": "airflow.owner", "Value": str(STALE)}
    jar = {"Jar": "command-runner.jar", "Args": [], "Properties": [property_]}
    steps = [{"Name": f"step {STALE}", "HadoopJarStep": jar}, {**STEP, "Name": str(STALE)}]
    client(cloud, "emr").add_job_flow_steps(JobFlowId=cloud.emr.create_cluster(), Steps=steps)


def resubmitted_job(cloud: LocalCloud) -> None:
    submit(client(cloud, "batch"), parameters={LABEL_PARAMETER: STALE.in_full})


def resubmitted_run(cloud: LocalCloud) -> None:
    made = client(cloud, "emr-serverless")
    start(made, application(made), name=f"run {STALE}")


def resubmitted_container_run(cloud: LocalCloud) -> None:
    made = client(cloud, "emr-containers")
    cluster = create_virtual_cluster(made)
    made.start_job_run(virtualClusterId=cluster, executionRoleArn=ROLE, name=f"run-{STALE}")


def resubmitted_glue_run(cloud: LocalCloud) -> None:
    job = cloud.glue.create_job("etl")
    client(cloud, "glue").start_job_run(JobName=job, Arguments={"--airflow_owner": str(STALE), "--day": "1"})


RESUBMITTED = {
    "emr": resubmitted_step,
    "batch": resubmitted_job,
    "emr_serverless": resubmitted_run,
    "emr_containers": resubmitted_container_run,
    "glue": resubmitted_glue_run,
}


@pytest.mark.parametrize("service", RESUBMITTED)
def test_a_copied_label_goes_also_where_none_is_added(cloud: LocalCloud, notes: Notes, service: str) -> None:
    """As with ``labels = False``, and in a callback."""
    notes.wanted_label = None
    RESUBMITTED[service](cloud)
    jobs = getattr(cloud, service).jobs()
    assert jobs
    assert Label.find(json.dumps(jobs)) is None


@pytest.mark.usefixtures("notes")
def test_what_our_own_hooks_submit_again_gets_the_label_of_who_does() -> None:
    line = ClientSpec("mrs", "mrs_default", None, "https://mrs.example")
    assert OpenSubmission(*MRS, lambda: line, "cluster", f"job-{STALE}").name == f"job-{LABEL}"
    # Without room for the new one, the old one goes nevertheless.
    assert (
        OpenSubmission(replace(*MRS, longest_name=20), lambda: line, "cluster", f"job-{STALE}").name == "job"
    )
    set_recorder(None)
    assert OpenSubmission(*MRS, lambda: line, "cluster", f"etl-{STALE}").name == "etl"
    assert OpenSubmission(*MRS, lambda: line, "cluster", str(STALE)).name == "job"
