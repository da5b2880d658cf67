"""What becomes of a submission: taken, refused, never sent, lost, or answered inside this process."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.stub import Stubber
from moto import mock_aws

from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, RECORDERS
from tests.capture_fixtures import (
    LABEL,
    STEP,
    Notes,
    application,
    client,
    recorder,  # noqa: F401
    start,
    submit,
)
from tests.cloud.server import LocalCloud
from tests.gateway import RESET, Answer, Gateway, certificate

FAILURE = (500, b'{"message": "an error of ours"}')
OWN_FAILURES = ("InternalServerError", "InternalServiceException", "OperationTimeoutException")
"""Codes that come with HTTP 400; the first from EMR."""
UNAVAILABLE = (503, b"<html>no backend</html>")
THROTTLED = (429, b'{"__type": "TooManyRequestsException", "message": "Rate exceeded"}')
DENIED = (403, b'{"__type": "AccessDeniedException", "message": "not authorized"}')
INVALID = (400, b'{"__type": "ClientException", "message": "no"}')
PAGE = (200, b"<html>Welcome</html>")


@pytest.fixture
def gateway(cloud: LocalCloud) -> Iterator[Gateway]:
    with Gateway(cloud.url) as server:
        yield server


def batch(gateway: Gateway, cloud: LocalCloud, retries: int = 2) -> Callable[[], Any]:
    made = client(cloud, "batch", retries, endpoint_url=gateway.url)
    return lambda: submit(made)


def steps(gateway: Gateway, cloud: LocalCloud, retries: int = 2) -> Callable[[], Any]:
    cluster = cloud.emr.create_cluster()
    made = client(cloud, "emr", retries, endpoint_url=gateway.url)
    return lambda: made.add_job_flow_steps(JobFlowId=cluster, Steps=[STEP])


def cluster(gateway: Gateway, cloud: LocalCloud, retries: int = 2) -> Callable[[], Any]:
    made = client(cloud, "emr", retries, endpoint_url=gateway.url)
    return lambda: made.run_job_flow(Name="etl", Steps=[STEP], Instances={"InstanceCount": 1})


def run(gateway: Gateway, cloud: LocalCloud, retries: int = 2) -> Callable[[], Any]:
    app = application(client(cloud, "emr-serverless"))
    made = client(cloud, "emr-serverless", retries, endpoint_url=gateway.url)
    return lambda: start(made, app)


def glue(gateway: Gateway, cloud: LocalCloud, retries: int = 2) -> Callable[[], Any]:
    job, made = cloud.glue.create_job("etl"), client(cloud, "glue", retries, endpoint_url=gateway.url)
    return lambda: made.start_job_run(JobName=job)


UNTOKENED = [batch, steps, cluster, glue]


@pytest.mark.parametrize("lost", [RESET, FAILURE, UNAVAILABLE], ids=["reset", "500", "503"])
@pytest.mark.parametrize("service", UNTOKENED)
def test_an_attempt_without_an_outcome_stays_open_beside_the_success_of_the_next(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, service: Any, lost: Answer
) -> None:
    call = service(gateway, cloud)
    gateway.answers = [lost]
    call()
    assert len(gateway.seen) == 2
    assert notes.words == ["lost", "placed" if service is cluster else "started"]
    assert notes.is_open


@pytest.mark.parametrize("code", OWN_FAILURES)
@pytest.mark.parametrize("service", UNTOKENED)
def test_a_failure_of_the_service_is_no_refusal_whatever_its_status(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, service: Any, code: str
) -> None:
    call = service(gateway, cloud, retries=0)
    gateway.answers = [(400, json.dumps({"__type": code, "message": "an error of ours"}).encode())]
    with pytest.raises(ClientError, match=code):
        call()
    assert notes.words == ["lost"]
    assert notes.is_open


@pytest.mark.parametrize("last", [THROTTLED, DENIED, INVALID], ids=["429", "403", "400"])
@pytest.mark.parametrize("service", [*UNTOKENED, run])
def test_a_refusal_does_not_close_what_an_attempt_before_may_have_started(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, service: Any, last: Answer
) -> None:
    call = service(gateway, cloud, retries=1)
    gateway.answers = [RESET, last]
    with pytest.raises(ClientError):
        call()
    assert notes.words == ["lost"]


@pytest.mark.parametrize("service", [*UNTOKENED, run])
def test_a_refusal_alone_closes_at_once(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, service: Any
) -> None:
    call = service(gateway, cloud)
    gateway.answers, gateway.passes_on = [THROTTLED, DENIED], False
    with pytest.raises(ClientError):
        call()
    assert notes.words == ["closed"]


@pytest.mark.parametrize("service", [*UNTOKENED, run])
@pytest.mark.parametrize("lost", [RESET, FAILURE, PAGE, (200, b""), (200, b'{"jobId": ')])
def test_no_answer_at_all_is_lost(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, service: Any, lost: Answer
) -> None:
    call = service(gateway, cloud, retries=0)
    gateway.answers = [lost]
    with suppress(ClientError, BotoCoreError):
        call()
    assert notes.words == ["lost"]
    assert not notes.holes


def test_an_answer_that_tells_some_ids_only_stays_open_for_the_others(
    cloud: LocalCloud, notes: Notes, gateway: Gateway
) -> None:
    made = client(cloud, "emr", endpoint_url=gateway.url)
    gateway.answers = [(200, b'{"StepIds": ["s-1", 7]}')]
    made.add_job_flow_steps(JobFlowId=cloud.emr.create_cluster(), Steps=[STEP, STEP])
    assert notes.words == ["lost", "started"]
    assert [job.id for job in notes.jobs] == ["s-1"]


def test_a_repeated_request_with_a_token_of_botocores_gives_the_same_run(
    cloud: LocalCloud, notes: Notes, gateway: Gateway
) -> None:
    call = run(gateway, cloud)
    gateway.answers = [RESET, FAILURE]
    answer = call()
    assert len(cloud.emr_serverless.jobs()) == 1
    assert notes.words == ["started"]
    assert [job.id for job in notes.jobs] == [answer["jobRunId"]]
    assert notes.not_before == [0.0]


@pytest.mark.parametrize("mode", ["legacy", "standard", "adaptive"])
def test_in_every_retry_mode_an_attempt_is_judged(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, mode: str
) -> None:
    config = Config(retries={"mode": mode, "total_max_attempts": 2})
    made = client(cloud, "batch", endpoint_url=gateway.url, config=config)
    gateway.answers = [RESET, RESET]
    with pytest.raises(BotoCoreError):
        submit(made)
    assert notes.words == ["lost"]
    assert len(gateway.seen) == 2


def test_aiobotocore_tells_lost_from_never_sent(notes: Notes, gateway: Gateway) -> None:
    session = pytest.importorskip("aiobotocore.session")
    config = Config(retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=2)

    async def work(url: str) -> None:
        made = session.get_session().create_client(
            "batch", endpoint_url=url, region_name="us-east-1", config=config
        )
        async with made as batch:
            await batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="def")

    gateway.answers = [RESET]
    asyncio.run(work(gateway.url))
    assert notes.words == ["lost", "started"]
    with pytest.raises(BotoCoreError):
        asyncio.run(work(f"http://127.0.0.1:{closed_port()}"))
    assert notes.words == ["lost", "started", "closed"]


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class NotSent:
    """Ways to fail before the first byte."""

    @staticmethod
    def no_server(_: Path) -> dict[str, Any]:
        return {"endpoint_url": f"http://127.0.0.1:{closed_port()}"}

    @staticmethod
    def no_name(_: Path) -> dict[str, Any]:
        return {"endpoint_url": "http://no-such-host.invalid"}

    @staticmethod
    def no_proxy(_: Path) -> dict[str, Any]:
        return {"config": Config(proxies={"http": f"http://127.0.0.1:{closed_port()}"})}

    @staticmethod
    def unreachable(_: Path) -> dict[str, Any]:
        return {"endpoint_url": "http://192.0.2.1", "config": Config(connect_timeout=0.2)}

    @staticmethod
    def plain_server(_: Path) -> dict[str, Any]:
        """TLS with a server that speaks none."""
        return {"tls": True}

    @staticmethod
    def missing_ca(folder: Path) -> dict[str, Any]:
        return {"endpoint_url": f"https://127.0.0.1:{closed_port()}", "verify": str(folder / "none.pem")}


@pytest.mark.parametrize("how", [name for name in vars(NotSent) if not name.startswith("_")])
def test_what_never_left_is_closed_at_once(cloud: LocalCloud, notes: Notes, tmp_path: Path, how: str) -> None:
    options = getattr(NotSent, how)(tmp_path)
    if options.pop("tls", False):
        options["endpoint_url"] = cloud.url.replace("http:", "https:")
    with pytest.raises((BotoCoreError, OSError)):
        submit(client(cloud, "batch", **options))
    assert notes.words == ["closed"]
    assert not cloud.batch.jobs()


def test_an_untrusted_certificate_is_closed_at_once(cloud: LocalCloud, notes: Notes, tmp_path: Path) -> None:
    with Gateway(cloud.url, tls=certificate(tmp_path, "own")) as server:
        with pytest.raises(BotoCoreError):
            submit(client(cloud, "batch", endpoint_url=server.url))
        assert not server.seen
    assert notes.words == ["closed"]


def test_without_credentials_nothing_is_sent(
    cloud: LocalCloud, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    made = botocore.session.Session().create_client("batch", endpoint_url=cloud.url, region_name="us-east-1")
    with pytest.raises(BotoCoreError, match="credentials"):
        submit(made)
    assert notes.words == ["closed"]


def test_a_handler_that_stops_a_request_before_it_leaves(cloud: LocalCloud, notes: Notes) -> None:
    def stop(**_: Any) -> None:
        raise LookupError("not today")

    made = client(cloud, "batch")
    made.meta.events.register("before-send", stop)
    with pytest.raises(LookupError):
        submit(made)
    assert notes.words == ["closed"]


def test_what_clean_up_submits_is_not_followed(cloud: LocalCloud, notes: Notes) -> None:
    notes.is_cleaning_up = True
    submit(client(cloud, "batch"))
    assert len(cloud.batch.jobs()) == 1
    assert not notes.told


@mock_aws
def test_what_moto_answers_is_not_carried_outside(notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    made: Any = boto3.client("emr-serverless", region_name="us-east-1")
    answer = start(made, application(made), clientToken="mine")
    assert answer["jobRunId"]
    assert notes.words == ["closed"]
    assert "StartJobRun was answered inside this process" in caplog.text


@pytest.mark.parametrize("registered", ["before", "after"])
def test_a_stubber_sees_the_parameters_of_the_caller(
    cloud: LocalCloud, notes: Notes, registered: str
) -> None:
    made = client(cloud, "batch") if registered == "after" else None
    if made is None:
        made = boto3.client("batch", region_name="us-east-1")
    expected = {"jobName": "job", "jobQueue": "queue", "jobDefinition": "def"}
    with Stubber(made) as stubber:
        stubber.add_response("submit_job", {"jobName": "job", "jobId": "7"}, expected)
        stubber.add_client_error("submit_job", "ClientException", expected_params=expected)
        assert submit(made)["jobId"] == "7"
        with pytest.raises(ClientError):
            submit(made)
        stubber.assert_no_pending_responses()
    assert not notes.jobs
    assert not notes.is_open
    submit(client(cloud, "batch"))
    assert len(notes.jobs) == 1


def test_what_a_handler_answers_is_not_carried_outside(cloud: LocalCloud, notes: Notes) -> None:
    def answer(request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, 200, {}, Raw(b'{"jobId": "7", "jobName": "job"}'))

    made = client(cloud, "batch")
    made.meta.events.register("before-send", answer)
    assert submit(made)["jobId"] == "7"
    assert notes.words == ["closed"]


class Raw:
    """A body that can be read once."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.body


TAGGING = (403, b'{"message": "not authorized to perform: batch:TagResource on resource: job-definition/d"}')


def test_a_denial_to_tag_that_persists_is_answered_once_more_and_no_further(
    cloud: LocalCloud, notes: Notes, gateway: Gateway
) -> None:
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    gateway.answers, gateway.passes_on = [None, *[TAGGING] * 20], False
    with pytest.raises(ClientError, match="TagResource"):
        submit(client(cloud, "batch", endpoint_url=gateway.url))
    bodies = [json.loads(seen.body) for seen in gateway.seen if seen.target.endswith("submitjob")]
    assert ["tags" in body for body in bodies] == [True, False]
    assert all(body["parameters"] == {LABEL_PARAMETER: str(LABEL)} for body in bodies)
    assert notes.words == ["closed"]


DEFINITION: dict[str, Any] = {
    "type": "container",
    "containerProperties": {"image": "busybox", "vcpus": 1, "memory": 128},
}


@pytest.mark.parametrize(
    "own,others,propagates,asked,is_tagged",
    [
        (10, 30, True, {}, True),
        (10, 45, True, {}, False),
        (10, 45, False, {}, True),
        (10, 45, True, {"propagateTags": False}, True),
        (10, 45, False, {"propagateTags": True}, False),
    ],
)
def test_tags_of_job_and_definition_together_stay_within_fifty(
    cloud: LocalCloud,
    notes: Notes,
    own: int,
    others: int,
    propagates: bool,
    asked: dict[str, Any],
    is_tagged: bool,
) -> None:
    made = client(cloud, "batch")
    name = f"definition-{own}-{others}-{propagates}-{len(asked)}-{is_tagged}"
    made.register_job_definition(
        jobDefinitionName=name,
        **DEFINITION,
        propagateTags=propagates,
        tags={f"d{number}": "v" for number in range(others)},
    )
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    tags = {f"k{number}": "v" for number in range(own)}
    for _ in range(2):
        made.submit_job(jobName="job", jobQueue="queue", jobDefinition=name, tags=tags, **asked)
    assert [job["labels"]["tags"] != tags for job in cloud.batch.jobs()] == [is_tagged] * 2
    assert cloud.journal.count("batch", "DescribeJobDefinitions") == (asked != {"propagateTags": False})


def test_where_the_definition_may_not_be_read_there_are_no_tags(cloud: LocalCloud, notes: Notes) -> None:
    cloud.faults.add("batch", "DescribeJobDefinitions", kind="denied")
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    made = client(cloud, "batch", aws_access_key_id="AKIDLIMITED", aws_secret_access_key="x")
    for _ in range(2):
        submit(made)
    assert [job["labels"]["tags"] for job in cloud.batch.jobs()] == [{}, {}]
    assert len(notes.holes) == 1
    assert "batch:DescribeJobDefinitions" in notes.holes[0]
    assert len(notes.jobs) == 2


def test_an_asynchronous_client_looks_the_definition_up_too(cloud: LocalCloud, notes: Notes) -> None:
    session = pytest.importorskip("aiobotocore.session")
    notes.wanted_tags = {"airflow_dag_id": "etl"}
    cloud.batch.set_definition("of-async")

    async def work() -> None:
        async with session.get_session().create_client(
            "batch", endpoint_url=cloud.url, region_name="us-east-1"
        ) as made:
            await made.submit_job(jobName="job", jobQueue="queue", jobDefinition="of-async")

    asyncio.run(work())
    (job,) = cloud.batch.jobs()
    assert job["labels"]["tags"] == {"airflow_dag_id": "etl"}
    assert cloud.journal.count("batch", "DescribeJobDefinitions") == 1


def test_jobs_that_a_reply_shows_as_ended_are_told(cloud: LocalCloud, notes: Notes) -> None:
    batch, emr = client(cloud, "batch"), client(cloud, "emr")
    serverless, cluster = client(cloud, "emr-serverless"), cloud.emr.create_cluster()
    app = application(serverless)
    jobs = [submit(batch)["jobId"] for _ in range(2)]
    steps = emr.add_job_flow_steps(JobFlowId=cluster, Steps=[STEP, STEP])["StepIds"]
    runs = [start(serverless, app)["jobRunId"] for _ in range(2)]
    cloud.batch.finish(jobs[0], "SUCCEEDED")
    cloud.emr.finish(steps[0], "FAILED")
    cloud.emr_serverless.finish(runs[0], "SUCCESS")
    batch.describe_jobs(jobs=jobs)
    emr.describe_step(ClusterId=cluster, StepId=steps[0])
    emr.list_steps(ClusterId=cluster)
    serverless.get_job_run(applicationId=app, jobRunId=runs[1])
    serverless.list_job_runs(applicationId=app)
    region = "us-east-1"
    step = ("emr", region, [(None, steps[0])])
    assert notes.ends == [
        ("batch", region, [(None, jobs[0])]),
        step,
        step,
        ("emr-serverless", region, [(app, runs[0])]),
    ]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"jobs": 7}', b'{"jobs": [{"status": "FAILED"}]}'])
def test_a_look_of_the_users_ends_as_it_would_without_the_guard(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, body: bytes
) -> None:
    made = client(cloud, "batch", endpoint_url=gateway.url)

    def looked() -> Any:
        gateway.answers = [(200, body)]
        try:
            return made.describe_jobs(jobs=["7"]).get("jobs")
        except Exception as error:  # noqa: BLE001  botocore's own parser takes offence at some
            return type(error)

    guarded = looked()
    RECORDERS.clear()
    assert guarded == looked()
    assert not notes.ends
    assert len(gateway.seen) == 2
