"""Cancelling without a sentinel, in the task's own process."""

from __future__ import annotations

import logging
from typing import Any

import boto3
import pytest

from airflow_cancel_provider.guard.inprocess import InProcess
from airflow_cancel_provider.guard.ledger import Ledger
from airflow_cancel_provider.guard.settings import Settings
from airflow_cancel_provider.services.client_spec import ClientSpec
from tests.cloud.server import LocalCloud

LOG = logging.getLogger("task")


@pytest.fixture
def line(cloud: LocalCloud) -> ClientSpec:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_session_token": None}
    return ClientSpec("batch", None, "us-east-1", cloud.url, secrets={"credentials": keys})


def submit(cloud: LocalCloud) -> str:
    batch: Any = boto3.client("batch", endpoint_url=cloud.url, region_name="us-east-1")
    return str(batch.submit_job(jobName="j", jobQueue="q", jobDefinition="d")["jobId"])


def test_it_cancels_and_sees_the_end_each_time_it_is_told(cloud: LocalCloud, line: ClientSpec) -> None:
    worker, ledger = InProcess(Settings(patience=20), "why", LOG), Ledger()
    ledger.readers = [worker.read]
    for _ in range(2):
        ledger.track(line, [line.address(None, submit(cloud))])
        worker.cancel()
        assert worker.wait_for("accepted", 10)
        assert worker.wait_for("ended", 10)
    assert all(job["cancelled"] for job in cloud.batch.jobs())


def test_released_jobs_live_on(cloud: LocalCloud, line: ClientSpec) -> None:
    worker, ledger = InProcess(Settings(patience=20), "why", LOG), Ledger()
    ledger.readers = [worker.read]
    jobs = [line.address(None, submit(cloud)) for _ in range(2)]
    ledger.track(line, jobs)
    ledger.release(jobs[:1])
    worker.killed()
    assert worker.wait_for("ended", 10)
    assert {job["id"]: job["cancelled"] for job in cloud.batch.jobs()} == {
        jobs[0].id: False,
        jobs[1].id: True,
    }


def test_a_reader_in_trouble_does_not_keep_the_others_from_an_entry(line: ClientSpec) -> None:
    heard: list[str] = []

    def broken(*_: Any) -> None:
        raise OSError("no more processes")

    ledger = Ledger()
    ledger.readers = [broken, lambda what, _: heard.append(what)]
    with pytest.raises(OSError, match="no more processes"):
        ledger.intend(line, "queue", None)
    assert heard == ["intent"]
