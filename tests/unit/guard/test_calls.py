"""What becomes of a submission: taken, refused, never sent, lost, or answered inside this process."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from airflow_cancel_provider.jobs import JobState
from airflow_cancel_provider.services.submissions import set_recorder
from tests.call_fixtures import batch, closed_port, gateway, run
from tests.capture_fixtures import (
    STEP,
    Notes,
    application,
    client,
    recorder,  # noqa: F401
    start,
    submit,
)
from tests.cloud.server import LocalCloud
from tests.gateway import RESET, Answer, Gateway
from tests.guard_fixtures import until

__all__ = ["gateway"]

FAILURE = (500, b'{"message": "an error of ours"}')


OWN_FAILURES = ("InternalServerError", "InternalServiceException", "OperationTimeoutException")
"""Codes that come with HTTP 400; the first from EMR."""


UNAVAILABLE = (503, b"<html>no backend</html>")


THROTTLED = (429, b'{"__type": "TooManyRequestsException", "message": "Rate exceeded"}')


DENIED = (403, b'{"__type": "AccessDeniedException", "message": "not authorized"}')


INVALID = (400, b'{"__type": "ClientException", "message": "no"}')


PAGE = (200, b"<html>Welcome</html>")


def steps(gateway: Gateway, cloud: LocalCloud, retries: int = 2) -> Callable[[], Any]:
    cluster = cloud.emr.create_cluster()
    made = client(cloud, "emr", retries, endpoint_url=gateway.url)
    return lambda: made.add_job_flow_steps(JobFlowId=cluster, Steps=[STEP])


def cluster(gateway: Gateway, cloud: LocalCloud, retries: int = 2) -> Callable[[], Any]:
    made = client(cloud, "emr", retries, endpoint_url=gateway.url)
    return lambda: made.run_job_flow(Name="etl", Steps=[STEP], Instances={"InstanceCount": 1})


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


FOREIGN: list[Answer] = [
    (403, b"<html>blocked</html>"),
    (302, b""),
    (400, b"{}"),
    (408, b"<html>timed out</html>"),
    (300, b"{}"),
]


@pytest.mark.parametrize("answer", FOREIGN, ids=str)
@pytest.mark.parametrize("service", UNTOKENED)
def test_a_page_of_a_proxy_is_no_refusal(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, service: Any, answer: Answer
) -> None:
    """It may stand in the place of the answer to a submission that was carried out."""
    call = service(gateway, cloud, retries=0)
    gateway.answers = [answer]
    with pytest.raises(ClientError):
        call()
    assert notes.words == ["lost"]
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


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_answer_that_is_not_read_any_more_is_lost(
    cloud: LocalCloud, notes: Notes, error: type[BaseException]
) -> None:
    """A handler of the user's fails, or the task's time-out comes, between the answer and its reading."""

    def interrupt(**_: Any) -> None:
        raise error

    made = client(cloud, "batch")
    made.meta.events.register_last("needs-retry.batch.SubmitJob", interrupt)
    with pytest.raises(error):
        submit(made)
    assert len(cloud.batch.jobs()) == 1
    assert notes.words == ["lost"]


@pytest.mark.parametrize("id", [" ", "s-1 s-2", "s-\u00e9", "s-\ud800"])
def test_an_answer_with_what_can_be_no_id_stays_open(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, id: str
) -> None:
    made = client(cloud, "emr", endpoint_url=gateway.url)
    gateway.answers = [(200, json.dumps({"StepIds": [id]}).encode())]
    made.add_job_flow_steps(JobFlowId=cloud.emr.create_cluster(), Steps=[STEP])
    assert (notes.words, notes.jobs, notes.holes) == (["lost"], [], [])


def test_an_answer_that_tells_more_ids_than_were_asked_for_is_another_requests(
    cloud: LocalCloud, notes: Notes, gateway: Gateway
) -> None:
    """What stands in between has taken it for this one's: with the task, jobs of others would end."""
    made = client(cloud, "emr", endpoint_url=gateway.url)
    gateway.answers = [(200, b'{"StepIds": ["s-1", "s-2"]}')]
    made.add_job_flow_steps(JobFlowId=cloud.emr.create_cluster(), Steps=[STEP])
    assert notes.words == ["lost"]


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


def test_a_submission_that_its_coroutine_no_longer_waits_for_is_lost(cloud: LocalCloud, notes: Notes) -> None:
    session = pytest.importorskip("aiobotocore.session")

    async def work() -> None:
        made = session.get_session().create_client("batch", endpoint_url=cloud.url, region_name="us-east-1")
        async with made as batch:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(
                    batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="def"), 0.5
                )
            cloud.faults.clear()
            await batch.submit_job(jobName="next", jobQueue="queue", jobDefinition="def")

    cloud.faults.add("batch", "SubmitJob", "latency", delay=3)
    asyncio.run(work())
    assert notes.words == ["lost", "started"]
    until(lambda: len(cloud.batch.jobs()) == 2)


class Ended(BaseException):
    """As the exception of ``execution_timeout``, which is no Exception."""


def test_a_submission_that_a_signal_interrupts_is_lost(cloud: LocalCloud, notes: Notes) -> None:
    def ring(*_: Any) -> None:
        raise Ended

    cloud.faults.add("batch", "SubmitJob", "latency", delay=3)
    made, before = client(cloud, "batch"), signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(Ended):
            submit(made)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert notes.words == ["lost"]
    until(cloud.batch.jobs)


def test_a_submission_that_ends_before_it_is_sent_is_closed(cloud: LocalCloud, notes: Notes) -> None:
    def stop(**_: Any) -> None:
        raise Ended

    made = client(cloud, "batch")
    made.meta.events.register("before-sign.batch.SubmitJob", stop)
    with pytest.raises(Ended):
        submit(made)
    assert notes.words == ["closed"]


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
    step = ("emr", region, [(None, steps[0], JobState.FAILED)])
    assert notes.ends == [
        ("batch", region, [(None, jobs[0], JobState.SUCCEEDED)]),
        step,
        step,
        ("emr-serverless", region, [(app, runs[0], JobState.SUCCEEDED)]),
    ]


@pytest.mark.parametrize(
    "policy", [{"retryPolicy": {"maxAttempts": 2}}, {"mode": "STREAMING"}], ids=["batch", "streaming"]
)
def test_the_end_of_an_attempt_is_not_that_of_its_run(
    cloud: LocalCloud, notes: Notes, policy: dict[str, Any]
) -> None:
    serverless = client(cloud, "emr-serverless")
    app = application(serverless)
    run = start(serverless, app, **policy)["jobRunId"]
    cloud.emr_serverless.retry(run)
    first = serverless.get_job_run(applicationId=app, jobRunId=run, attempt=1)["jobRun"]
    assert (first["attempt"], first["state"]) == (1, "FAILED")
    assert notes.ends == []
    cloud.emr_serverless.finish(run, "SUCCESS")
    serverless.get_job_run(applicationId=app, jobRunId=run)
    assert notes.ends == [("emr-serverless", "us-east-1", [(app, run, JobState.SUCCEEDED)])]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"jobs": 7}', b'{"jobs": [{"status": "FAILED"}]}'])
def test_a_poll_of_the_users_ends_as_it_would_without_the_guard(
    cloud: LocalCloud, notes: Notes, gateway: Gateway, body: bytes
) -> None:
    made = client(cloud, "batch", endpoint_url=gateway.url)

    def described() -> Any:
        gateway.answers = [(200, body)]
        try:
            return made.describe_jobs(jobs=["7"]).get("jobs")
        except Exception as error:  # noqa: BLE001  botocore's own parser takes offence at some
            return type(error)

    guarded = described()
    set_recorder(None)
    assert guarded == described()
    assert not notes.ends
    assert len(gateway.seen) == 2
