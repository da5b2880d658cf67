"""Capture on the wire: every submission is seen, labelled and recorded, and none is harmed."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.exceptions import ClientError, ParamValidationError

from airflow_cancel_provider.exceptions import SubmissionRefused
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.client_spec import frozen
from airflow_cancel_provider.services.emr.service import EmrStepService
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, set_recorder
from tests.capture_fixtures import LABEL, ROLE, STEP, Notes, client, recorder, submit
from tests.cloud.server import LocalCloud

__all__ = ["recorder"]


def test_batch_is_labelled_in_a_parameter_and_recorded(cloud: LocalCloud, notes: Notes) -> None:
    given = {"own": "value"}
    answer = submit(client(cloud, "batch"), parameters=given)
    assert notes.jobs == [RemoteJob(f"batch://@us-east-1/{answer['jobId']}")]
    (job,) = cloud.batch.jobs()
    assert job["labels"]["parameters"] == {"own": "value", LABEL_PARAMETER: str(LABEL)}
    assert given == {"own": "value"}


def test_emr_steps_are_labelled_in_their_names(cloud: LocalCloud, notes: Notes) -> None:
    cluster, steps = cloud.emr.create_cluster(), [dict(STEP), {**STEP, "Name": "x" * 250}]
    ids = client(cloud, "emr").add_job_flow_steps(JobFlowId=cluster, Steps=steps)["StepIds"]
    assert notes.jobs == [RemoteJob(f"emr://@us-east-1/{cluster}/{step}") for step in ids]
    # The long one keeps its own name: there is no room for both.
    assert {job["name"] for job in cloud.emr.jobs()} == {f"step {LABEL}", "x" * 250}
    assert [step["Name"] for step in steps] == ["step", "x" * 250]


def test_emr_steps_are_labelled_in_a_property_where_that_is_wanted(cloud: LocalCloud, notes: Notes) -> None:
    notes.carriers["emr"] = "properties"
    own = [{"Key": "airflow.owner", "Value": "mine"}]
    taken = {**STEP, "HadoopJarStep": {**STEP["HadoopJarStep"], "Properties": own}}
    given = [dict(STEP), {**STEP, "Name": "x" * 256}, taken]
    cluster, made = cloud.emr.create_cluster(), client(cloud, "emr")
    ids = made.add_job_flow_steps(JobFlowId=cluster, Steps=given)["StepIds"]
    steps = {job["id"]: job for job in cloud.emr.jobs()}
    assert [steps[step]["name"] for step in ids] == ["step", "x" * 256, "step"]
    values = [steps[step]["labels"]["properties"]["airflow.owner"] for step in ids]
    assert values == [str(LABEL), str(LABEL), "mine"]
    assert re.fullmatch(r"[A-Za-z0-9._-]+", values[0])
    assert given == [STEP, {**STEP, "Name": "x" * 256}, taken]
    # And the service finds its way back; the one whose property was taken carries none.
    assert [job.id for job in EmrStepService(made).labelled(cluster, LABEL)] == ids[:2]
    assert notes.unlabelled == [("step",)]


def test_what_goes_without_a_label_is_known_by_name(cloud: LocalCloud, notes: Notes) -> None:
    steps = [dict(STEP), {**STEP, "Name": "x" * 250}]
    client(cloud, "emr").add_job_flow_steps(JobFlowId=cloud.emr.create_cluster(), Steps=steps)
    submit(client(cloud, "batch"))
    submit(client(cloud, "batch"), parameters={LABEL_PARAMETER: "the caller's own"})
    serverless = client(cloud, "emr-serverless")
    app = serverless.create_application(name="a", releaseLabel="emr-7.9.0", type="SPARK")["applicationId"]
    driver = {"sparkSubmit": {"entryPoint": "s3://b/x.py"}}
    for name in ("run", "y" * 250):
        serverless.start_job_run(applicationId=app, executionRoleArn=ROLE, jobDriver=driver, name=name)
    assert notes.unlabelled == [("x" * 250,), (), ("job",), (), ("y" * 250,)]


@pytest.mark.parametrize("name", [None, "run"])
def test_emr_serverless_runs_are_labelled_in_their_names(
    cloud: LocalCloud, notes: Notes, name: str | None
) -> None:
    made = client(cloud, "emr-serverless")
    app = made.create_application(name="a", releaseLabel="emr-7.9.0", type="SPARK")["applicationId"]
    run = made.start_job_run(
        applicationId=app,
        executionRoleArn=ROLE,
        jobDriver={"sparkSubmit": {"entryPoint": "s3://b/x.py"}},
        **({"name": name} if name else {}),
    )["jobRunId"]
    assert notes.jobs == [RemoteJob(f"emr-serverless://@us-east-1/{app}/{run}")]
    (job,) = cloud.emr_serverless.jobs()
    assert job["name"] == (f"{name} {LABEL}" if name else str(LABEL))


def test_the_line_is_the_clients_own(cloud: LocalCloud, notes: Notes) -> None:
    submit(client(cloud, "batch", aws_access_key_id="AKIDOFCLIENT", aws_secret_access_key="hidden"))
    (line,) = notes.specs
    assert (line.service, line.region, line.endpoint) == ("batch", "us-east-1", cloud.url)
    assert frozen(line.secrets)["credentials"]["aws_access_key_id"] == "AKIDOFCLIENT"
    assert "hidden" not in repr(line)


def test_threads_and_plain_botocore_are_seen(cloud: LocalCloud, notes: Notes) -> None:
    def work() -> None:
        made = botocore.session.Session().create_client(
            "batch", endpoint_url=cloud.url, region_name="us-east-1"
        )
        submit(made)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(notes.jobs)) == 5


def test_aiobotocore_is_seen(cloud: LocalCloud, notes: Notes) -> None:
    session = pytest.importorskip("aiobotocore.session")

    async def work() -> None:
        async with session.get_session().create_client(
            "batch", endpoint_url=cloud.url, region_name="us-east-1", verify=False
        ) as made:
            await made.submit_job(jobName="job", jobQueue="queue", jobDefinition="def")

    asyncio.run(work())
    assert len(notes.jobs) == 1
    assert notes.specs[0].endpoint == cloud.url
    assert notes.specs[0].verify is False


@pytest.mark.parametrize(
    "given, verify",
    [({}, True), ({"verify": False}, False), ({"verify": "ca.pem"}, str(Path("ca.pem").absolute()))],
)
def test_tls_is_verified_as_the_client_does(
    cloud: LocalCloud,
    notes: Notes,
    given: dict[str, Any],
    verify: bool | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    submit(client(cloud, "batch", **given))
    assert notes.specs[0].verify == verify


def test_the_default_session_that_was_there_before_is_seen(cloud: LocalCloud, notes: Notes) -> None:
    capture._installed = False
    boto3.setup_default_session()
    try:
        capture.install()
        submit(boto3.client("batch", endpoint_url=cloud.url, region_name="us-east-1"))
    finally:
        boto3.DEFAULT_SESSION = None
    assert len(notes.jobs) == 1


def test_a_refused_submission_leaves_nothing_open(cloud: LocalCloud, notes: Notes) -> None:
    cloud.faults.add("batch", "SubmitJob", kind="denied")
    with pytest.raises(ClientError):
        submit(client(cloud, "batch"))
    assert notes.is_empty


@pytest.mark.parametrize("kind", ["lost_reply", "server_error"])
def test_a_submission_without_an_answer_stays_open(cloud: LocalCloud, notes: Notes, kind: str) -> None:
    cloud.faults.add("batch", "SubmitJob", kind=kind)
    with pytest.raises(Exception):  # noqa: B017, PT011  which one is boto's business
        submit(client(cloud, "batch"))
    assert notes.is_open
    assert not notes.jobs


def test_the_fence_refuses_before_anything_is_sent(cloud: LocalCloud, notes: Notes) -> None:
    made = client(cloud, "batch")
    notes.refuses = True
    with pytest.raises(SubmissionRefused):
        submit(made)
    assert not cloud.journal.count("batch", "SubmitJob")


def test_the_recorders_own_trouble_stays_out_of_the_users_call(cloud: LocalCloud, notes: Notes) -> None:
    notes.breaks = True
    assert submit(client(cloud, "batch"))["jobId"]
    assert notes.holes
    assert "SubmitJob" in notes.holes[0]


def test_other_calls_are_left_alone(cloud: LocalCloud, notes: Notes) -> None:
    client(cloud, "batch").list_jobs(jobQueue="queue")
    assert notes.is_empty
    assert not notes.specs


@pytest.mark.usefixtures("notes")
def test_without_a_recorder_nothing_changes(cloud: LocalCloud) -> None:
    set_recorder(None)
    submit(client(cloud, "batch"), parameters={"own": "value"})
    (job,) = cloud.batch.jobs()
    assert job["labels"]["parameters"] == {"own": "value"}


def test_steps_of_a_new_cluster_are_labelled_and_their_place_noted(cloud: LocalCloud, notes: Notes) -> None:
    answer = client(cloud, "emr").run_job_flow(Name="etl", Steps=[STEP], Instances={"InstanceCount": 1})
    assert [job["name"] for job in cloud.emr.jobs()] == [f"step {LABEL}"]
    assert notes.places == [answer["JobFlowId"]]
    assert not notes.is_empty
    assert not notes.is_open


def test_a_new_cluster_without_steps_is_no_job(cloud: LocalCloud, notes: Notes) -> None:
    client(cloud, "emr").run_job_flow(Name="etl", Instances={"InstanceCount": 1})
    assert notes.is_empty


def test_a_name_is_measured_in_bytes(cloud: LocalCloud, notes: Notes) -> None:
    """218 characters with the label, of which a service that counts in UTF-16 sees 268."""
    name = "\N{ROCKET}" * 50 + "x" * 120
    made, cluster = client(cloud, "emr"), cloud.emr.create_cluster()
    made.add_job_flow_steps(JobFlowId=cluster, Steps=[{**STEP, "Name": name}])
    assert [job["name"] for job in cloud.emr.jobs()] == [name]
    assert notes.unlabelled == [(name,)]


@pytest.mark.parametrize("room,is_labelled", [(0, False), (200, True)])
def test_no_label_makes_a_request_too_large(
    cloud: LocalCloud, notes: Notes, room: int, is_labelled: bool
) -> None:
    rest = len(json.dumps({"jobName": "job", "jobQueue": "queue", "jobDefinition": "def"}))
    own = {"sql": "x" * (30 * 1024 - rest - 40 - room)}
    submit(client(cloud, "batch"), parameters=own)
    (job,) = cloud.batch.jobs()
    assert (job["labels"]["parameters"] != own) is is_labelled
    assert notes.unlabelled == [() if is_labelled else ("job",)]


def test_no_property_makes_a_step_too_long(cloud: LocalCloud, notes: Notes) -> None:
    notes.carriers["emr"] = "properties"
    jar = {"Jar": "command-runner.jar", "Args": ["x" * 10_200]}
    step = {"Name": "step", "HadoopJarStep": jar}
    client(cloud, "emr").add_job_flow_steps(JobFlowId=cloud.emr.create_cluster(), Steps=[step])
    (job,) = cloud.emr.jobs()
    assert not job["labels"]["properties"]
    assert notes.unlabelled == [("step",)]


@pytest.mark.parametrize("step", [{"HadoopJarStep": STEP["HadoopJarStep"]}, {**STEP, "Name": 7}])
def test_what_the_client_refuses_it_still_refuses(
    cloud: LocalCloud, notes: Notes, step: dict[str, Any]
) -> None:
    with pytest.raises(ParamValidationError, match="Name"):
        client(cloud, "emr").add_job_flow_steps(JobFlowId="j-1", Steps=[step])
    assert not notes.holes


@pytest.mark.usefixtures("notes")
def test_the_users_own_handler_has_its_say_where_nothing_is_labelled(cloud: LocalCloud) -> None:
    made = client(cloud, "batch")
    made.meta.events.register(
        "provide-client-params.batch.SubmitJob", lambda params, **_: {**params, "jobName": "theirs"}
    )
    set_recorder(None)
    submit(made)
    assert [job["name"] for job in cloud.batch.jobs()] == ["theirs"]


def test_a_label_that_cant_be_made_is_no_trouble_of_the_users(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "label", lambda _: 1 / 0)
    assert submit(client(cloud, "batch"))["jobId"]
    assert "SubmitJob" in notes.holes[0]
