"""Whose credentials cancel a job: those of the client that submitted it, as they were last renewed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.credentials import RefreshableCredentials

from airflow_cancel_provider.guard.canceller import Canceller
from airflow_cancel_provider.guard.client_pool import ClientPool
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel import known_clients
from airflow_cancel_provider.guard.sentinel.known_clients import KnownClients
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.client_spec import ClientSpec, identity_of
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import DyingTask, canceller, tracked, until
from tests.service_fixtures import HAS_BULK, TERMINATE

TWO_IDENTITIES = """
for key in ("AKIDFIRST", "AKIDSECOND"):
    submit(batch(boto3.session.Session(aws_access_key_id=key, aws_secret_access_key="secret")))
"""
# What botocore's own assume-role provider makes, except that it lasts for seconds; STS has no less than 900.
ROLE = """
import os
from datetime import UTC, datetime, timedelta
import botocore.session
from botocore.credentials import RefreshableCredentials

def assume():
    sts = botocore.session.Session().create_client("sts", endpoint_url=url, region_name="us-east-1")
    role = sts.assume_role(RoleArn="arn:aws:iam::123456789012:role/task", RoleSessionName="task")
    keys = role["Credentials"]
    return {
        "access_key": keys["AccessKeyId"],
        "secret_key": keys["SecretAccessKey"],
        "token": keys["SessionToken"],
        "expiry_time": (datetime.now(UTC) + timedelta(seconds=8)).isoformat(),
    }
"""
RENEWING = (
    ROLE
    + """
session = botocore.session.Session()
session._credentials = RefreshableCredentials.create_from_metadata(
    assume(), assume, "assume-role", advisory_timeout=5, mandatory_timeout=3
)
submit(batch(boto3.session.Session(botocore_session=session)))
"""
)
RENEWING_ASYNC = (
    ROLE
    + """
import asyncio
from aiobotocore.credentials import AioRefreshableCredentials
from aiobotocore.session import AioSession

async def assume_async():
    return assume()

async def work():
    session = AioSession()
    session._credentials = AioRefreshableCredentials.create_from_metadata(
        assume(), assume_async, "assume-role", advisory_timeout=5, mandatory_timeout=3
    )
    async with session.create_client("batch", endpoint_url=url, region_name="us-east-1") as client:
        job = await client.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
    print("job", job["jobId"], flush=True)

asyncio.run(work())
"""
)
PROFILE = """
[profile task]
role_arn = arn:aws:iam::123456789012:role/task
credential_source = Environment
"""


@pytest.fixture
def dying(cloud: LocalCloud, tmp_path: Path) -> Iterator[Callable[..., DyingTask]]:
    """Starts tasks that submit and wait to be killed; their sentinels end by themselves."""
    tasks: list[DyingTask] = []

    def start(script: str, **environment: str) -> DyingTask:
        tasks.append(DyingTask(cloud, tmp_path / "sentinel.log", script, **environment))
        return tasks[-1]

    yield start
    for task in tasks:
        task.close()


def cancelled(cloud: LocalCloud) -> set[str]:
    return {job["id"] for job in cloud.batch.jobs() if job["cancelled"]}


def deny_each_other(cloud: LocalCloud, first: str, second: str) -> None:
    """Two identities, each of which may do nothing with the other's job."""
    cloud.faults.add("batch", kind="denied", id=second, access_key="AKIDFIRST")
    cloud.faults.add("batch", kind="denied", id=first, access_key="AKIDSECOND")


def test_after_sigkill_each_job_is_cancelled_by_the_identity_that_submitted_it(
    cloud: LocalCloud, dying: Callable[..., DyingTask]
) -> None:
    task = dying(TWO_IDENTITIES)
    deny_each_other(cloud, *task.jobs)
    task.kill()
    until(lambda: cancelled(cloud) == set(task.jobs))
    assert "AccessDenied" not in task.log.read_text()


@pytest.fixture
def worker() -> tuple[TryLedger, Canceller]:
    settings = Settings(patience=40, sentinel=False)
    return (ledger := TryLedger()), canceller(ledger, settings, logging.getLogger("task"))


def line(url: str, key: str) -> ClientSpec:
    keys = {"aws_access_key_id": key, "aws_secret_access_key": "secret", "aws_session_token": None}
    return ClientSpec("batch", None, "us-east-1", url, secrets={"credentials": keys})


def submit(cloud: LocalCloud, line: ClientSpec) -> RemoteJob:
    batch: Any = boto3.client("batch", endpoint_url=cloud.url, region_name="us-east-1")
    answer = batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
    return line.address(None, answer["jobId"])


def test_in_process_each_job_is_cancelled_by_the_identity_that_submitted_it(
    cloud: LocalCloud, worker: tuple[TryLedger, Canceller]
) -> None:
    ledger, cancels = worker
    lines = [line(cloud.url, "AKIDFIRST"), line(cloud.url, "AKIDSECOND")]
    jobs = [submit(cloud, each) for each in lines]
    deny_each_other(cloud, *(job.id for job in jobs))
    for each, job in zip(lines, jobs, strict=True):
        ledger.apply(tracked(each, [job]))
    cancels.cancel("Task failed (ValueError)")
    assert cancels.wait_for("ended", 10)
    assert cancelled(cloud) == {job.id for job in jobs}


def test_a_service_that_cant_be_opened_keeps_nobody_from_the_others(
    cloud: LocalCloud, worker: tuple[TryLedger, Canceller], caplog: pytest.LogCaptureFixture
) -> None:
    ledger, cancels = worker
    good = line(cloud.url, "AKIDFIRST")
    bad = replace(good, region="no region of any kind", endpoint=None)
    lost, job = bad.address(None, str(uuid4())), submit(cloud, good)
    ledger.apply(tracked(bad, [lost]))
    ledger.apply(tracked(good, [job]))
    cancels.cancel("Task failed (ValueError)")
    until(lambda: cancelled(cloud) == {job.id})
    assert f"{lost}: UNANSWERED: batch can't be reached as its submitter did" in caplog.text


def test_an_identity_that_may_not_poll_does_not_keep_the_other_from_it(
    cloud: LocalCloud, worker: tuple[TryLedger, Canceller]
) -> None:
    ledger, cancels = worker
    lines = [line(cloud.url, "AKIDFIRST"), line(cloud.url, "AKIDSECOND")]
    jobs = [submit(cloud, each) for each in lines]
    cloud.faults.add("batch", "DescribeJobs", kind="denied", access_key="AKIDFIRST")
    cloud.faults.add("batch", TERMINATE, kind="reset", access_key="AKIDSECOND", seconds=6)
    for each, job in zip(lines, jobs, strict=True):
        ledger.apply(tracked(each, [job]))
    cancels.cancel("Task failed (ValueError)")
    # The second one's request is repeated after the poll, which the first one's denial must not end.
    until(lambda: cancelled(cloud) == {job.id for job in jobs}, 25)


def test_two_endpoints_are_two_lines_and_equal_lines_are_one_service(cloud: LocalCloud) -> None:
    here, there = line(cloud.url, "AKIDFIRST"), line(cloud.url.replace("127.0.0.1", "localhost"), "AKIDFIRST")
    same = line(cloud.url, "AKIDFIRST")
    jobs = {submit(cloud, each): each for each in (here, there, same)}
    pool = ClientPool(jobs.__getitem__, Patience(seconds=5))
    assert len(pool.by_service(jobs)[0]) == 2
    assert len({identity_of(each) for each in jobs.values()}) == 2
    assert len(pool.cancel(list(jobs), "why")) == 3
    assert cloud.journal.count("batch", TERMINATE) == (2 if HAS_BULK else 3)


@pytest.mark.parametrize("script", [RENEWING, RENEWING_ASYNC], ids=["boto3", "aiobotocore"])
def test_the_sentinel_cancels_with_what_was_renewed_while_the_task_did_nothing(
    cloud: LocalCloud, dying: Callable[..., DyingTask], script: str
) -> None:
    if script is RENEWING_ASYNC:
        pytest.importorskip("aiobotocore")
    task = dying(script)
    (submission,) = cloud.journal.entries("batch", "SubmitJob")
    until(lambda: cloud.journal.count("sts", "AssumeRole") >= 2)
    cloud.expired_access_keys.add(submission.access_key)
    # Once the renewed ones are told; the task makes no call of its own.
    until(lambda: cloud.clock() > submission.time + 8)
    task.kill()
    until(lambda: cancelled(cloud) == set(task.jobs))
    assert submission.access_key not in keys_that_cancelled(cloud)


def keys_that_cancelled(cloud: LocalCloud) -> set[str]:
    return {entry.access_key for entry in cloud.journal.entries("batch", TERMINATE)}


def test_a_renewal_that_fails_is_said_and_tried_again(
    cloud: LocalCloud, dying: Callable[..., DyingTask]
) -> None:
    task = dying(RENEWING)
    cloud.faults.add("sts", "AssumeRole", kind="denied", seconds=10)
    until(lambda: "can't be renewed" in Path(f"{task.log}.task").read_text())
    seen = cloud.journal.count("sts", "AssumeRole")
    until(lambda: cloud.journal.count("sts", "AssumeRole") > seen + 1)
    until(lambda: cloud.journal.entries("sts", "AssumeRole")[-1].status == 200)
    (submission,) = cloud.journal.entries("batch", "SubmitJob")
    time.sleep(1)
    cloud.expired_access_keys.add(submission.access_key)
    task.kill()
    until(lambda: cancelled(cloud) == set(task.jobs))


def test_a_task_that_waits_for_all_of_its_threads_does_not_wait_for_the_one_that_renews(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It joins all that ``threading`` lists, or waits until that is one."""
    monkeypatch.setattr(known_clients, "SHORTEST_PAUSE", 0.05)
    rounds: list[int] = []

    def renewed() -> dict[str, Any]:
        rounds.append(threading.get_ident())
        logging.getLogger("task").warning("A log call lists the thread that it comes from.")
        soon = datetime.now(UTC) + timedelta(seconds=0.1)
        return {"access_key": "a", "secret_key": "b", "token": "c", "expiry_time": soon.isoformat()}

    credentials = RefreshableCredentials.create_from_metadata(renewed(), renewed, "assume-role")
    spec = ClientSpec("batch", None, "us-east-1", None, secrets={"credentials": credentials})
    before = threading.enumerate()
    clients = KnownClients(lambda *_: None, logging.getLogger("task"))
    clients.name(spec)
    until(lambda: len(set(rounds)) == 2 and rounds[-3] == rounds[-2] == rounds[-1])
    until(lambda: threading.enumerate() == before, 5)
    clients.stop()


def test_a_profile_with_a_role_is_followed(
    cloud: LocalCloud, dying: Callable[..., DyingTask], tmp_path: Path
) -> None:
    """The provider chain itself; moto's sessions last 900 s, within which botocore renews at every poll."""
    config = tmp_path / "config"
    config.write_text(PROFILE)
    script = "submit(batch(boto3.session.Session(profile_name='task')))"
    task = dying(script, AWS_CONFIG_FILE=str(config), AWS_ENDPOINT_URL_STS=cloud.url)
    (submission,) = cloud.journal.entries("batch", "SubmitJob")
    assert submission.access_key != "testing"
    task.kill()
    until(lambda: cancelled(cloud) == set(task.jobs))
    assert "testing" not in keys_that_cancelled(cloud)
