"""Capture on the wire: every submission is seen, labelled and recorded, and none is harmed."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from airflow_cancel_provider.exceptions import SubmissionRefused
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.guard.ledger import Ledger
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.lines import Line, frozen
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, RECORDERS, Intent
from tests.cloud.server import LocalCloud

LABEL = Label("abcd1234", uuid.UUID(int=7))
STEP = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["true"]}}
ROLE = "arn:aws:iam::123456789012:role/spark"


class Notes:
    """A recorder that writes to a ledger, as the guard does."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.lines: list[Line] = []
        self.holes: list[str] = []
        self.refuses = False
        self.breaks = False

    def label(self) -> Label | None:
        if self.refuses:
            raise SubmissionRefused("told to end")
        return LABEL

    def intend(self, line: Line, scope: str | None) -> Intent:
        if self.breaks:
            raise OSError("disk full")
        self.lines.append(line)
        return self.ledger.intend(line, scope, LABEL)

    def started(self, intent: Intent, jobs: Sequence[tuple[str | None, str]]) -> None:
        self.ledger.started(intent, [intent.line.address(scope, job) for scope, job in jobs])

    def refused(self, intent: Intent) -> None:
        self.ledger.refused(intent)

    def unguarded(self, why: str) -> None:
        self.holes.append(why)


@pytest.fixture
def notes() -> Iterator[Notes]:
    recorder = Notes()
    RECORDERS[:] = [recorder]
    capture.install()
    yield recorder
    RECORDERS.clear()


def client(cloud: LocalCloud, service: str, **options: Any) -> Any:
    return boto3.session.Session().client(
        service,
        endpoint_url=cloud.url,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
        **options,
    )


def submit(cloud: LocalCloud, made: Any, **extra: Any) -> Any:
    return made.submit_job(jobName="job", jobQueue="queue", jobDefinition="def", **extra)


def test_batch_is_labelled_in_a_parameter_and_recorded(cloud: LocalCloud, notes: Notes) -> None:
    given = {"own": "value"}
    answer = submit(cloud, client(cloud, "batch"), parameters=given)
    assert notes.ledger.jobs == [RemoteJob(f"batch://@us-east-1/{answer['jobId']}")]
    (job,) = cloud.batch.jobs()
    assert job["labels"]["parameters"] == {"own": "value", LABEL_PARAMETER: str(LABEL)}
    assert given == {"own": "value"}


def test_emr_steps_are_labelled_in_their_names(cloud: LocalCloud, notes: Notes) -> None:
    cluster, steps = cloud.emr.create_cluster(), [dict(STEP), {**STEP, "Name": "x" * 250}]
    ids = client(cloud, "emr").add_job_flow_steps(JobFlowId=cluster, Steps=steps)["StepIds"]
    assert notes.ledger.jobs == [RemoteJob(f"emr://@us-east-1/{cluster}/{step}") for step in ids]
    # The long one keeps its own name: there is no room for both.
    assert {job["name"] for job in cloud.emr.jobs()} == {f"step {LABEL}", "x" * 250}
    assert [step["Name"] for step in steps] == ["step", "x" * 250]


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
    assert notes.ledger.jobs == [RemoteJob(f"emr-serverless://@us-east-1/{app}/{run}")]
    (job,) = cloud.emr_serverless.jobs()
    assert job["name"] == (f"{name} {LABEL}" if name else str(LABEL))


def test_the_line_is_the_clients_own(cloud: LocalCloud, notes: Notes) -> None:
    submit(cloud, client(cloud, "batch", aws_access_key_id="AKIDOFCLIENT", aws_secret_access_key="hidden"))
    (line,) = notes.lines
    assert (line.service, line.region, line.endpoint) == ("batch", "us-east-1", cloud.url)
    assert frozen(line.secrets)["credentials"]["aws_access_key_id"] == "AKIDOFCLIENT"
    assert "hidden" not in repr(line)


def test_threads_and_plain_botocore_are_seen(cloud: LocalCloud, notes: Notes) -> None:
    def work() -> None:
        made = botocore.session.Session().create_client(
            "batch", endpoint_url=cloud.url, region_name="us-east-1"
        )
        submit(cloud, made)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(notes.ledger.jobs)) == 5


def test_aiobotocore_is_seen(cloud: LocalCloud, notes: Notes) -> None:
    session = pytest.importorskip("aiobotocore.session")

    async def work() -> None:
        async with session.get_session().create_client(
            "batch", endpoint_url=cloud.url, region_name="us-east-1"
        ) as made:
            await made.submit_job(jobName="job", jobQueue="queue", jobDefinition="def")

    asyncio.run(work())
    assert len(notes.ledger.jobs) == 1
    assert notes.lines[0].endpoint == cloud.url


def test_the_default_session_that_was_there_before_is_seen(cloud: LocalCloud, notes: Notes) -> None:
    capture._installed = False
    boto3.setup_default_session()
    try:
        capture.install()
        submit(cloud, boto3.client("batch", endpoint_url=cloud.url, region_name="us-east-1"))
    finally:
        boto3.DEFAULT_SESSION = None
    assert len(notes.ledger.jobs) == 1


def test_a_refused_submission_leaves_nothing_open(cloud: LocalCloud, notes: Notes) -> None:
    cloud.faults.add("batch", "SubmitJob", kind="denied")
    with pytest.raises(ClientError):
        submit(cloud, client(cloud, "batch"))
    assert notes.ledger.is_empty


@pytest.mark.parametrize("kind", ["lost_reply", "server_error"])
def test_a_submission_without_an_answer_stays_open(cloud: LocalCloud, notes: Notes, kind: str) -> None:
    cloud.faults.add("batch", "SubmitJob", kind=kind)
    with pytest.raises(Exception):  # noqa: B017, PT011  which one is boto's business
        submit(cloud, client(cloud, "batch"))
    assert notes.ledger.is_submitting
    assert not notes.ledger.jobs


def test_the_fence_refuses_before_anything_is_sent(cloud: LocalCloud, notes: Notes) -> None:
    made = client(cloud, "batch")
    notes.refuses = True
    with pytest.raises(SubmissionRefused):
        submit(cloud, made)
    assert not cloud.journal.count("batch", "SubmitJob")


def test_the_recorders_own_trouble_stays_out_of_the_users_call(cloud: LocalCloud, notes: Notes) -> None:
    notes.breaks = True
    assert submit(cloud, client(cloud, "batch"))["jobId"]
    assert notes.holes
    assert "SubmitJob" in notes.holes[0]


def test_other_calls_are_left_alone(cloud: LocalCloud, notes: Notes) -> None:
    client(cloud, "batch").list_jobs(jobQueue="queue")
    assert notes.ledger.is_empty
    assert not notes.lines


def test_without_a_recorder_nothing_changes(cloud: LocalCloud, notes: Notes) -> None:
    RECORDERS.clear()
    submit(cloud, client(cloud, "batch"), parameters={"own": "value"})
    (job,) = cloud.batch.jobs()
    assert job["labels"]["parameters"] == {"own": "value"}
