"""What the record of a retried task names for other tasks, where the first try's job is kept for the next."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from airflow_cancel_provider.exceptions import UnexpectedEnd
from airflow_cancel_provider.record import TryRecord
from tests.cloud.server import LocalCloud
from tests.task_fixtures import context, operator, sensor
from tests.try_fixtures import KEEP, Store, Try, _guarded, submit, variables

__all__ = ["_guarded", "variables"]


def poll(job: str) -> str:
    batch: Any = boto3.session.Session().client("batch", region_name="us-east-1")
    return str(batch.describe_jobs(jobs=[job])["jobs"][0]["status"])


def retried(cloud: LocalCloud, goes_on: bool) -> TryRecord:
    """The record of a second try that has succeeded.

    :param goes_on: whether it has gone on with the first one's job, which then succeeds.
    """
    store, jobs = Store(), []

    def first() -> None:
        jobs.append(submit())
        if not goes_on:
            cloud.batch.finish(jobs[0], "FAILED")
            assert poll(jobs[0]) == "FAILED"
        raise ValueError("for whatever reason")

    def second() -> None:
        jobs.append(jobs[0] if goes_on else submit())
        cloud.batch.finish(jobs[1], "SUCCEEDED")
        assert poll(jobs[1]) == "SUCCEEDED"

    Try(work=first, store=store, max_tries=2).run(KEEP)
    ti = Try(work=second, store=store, try_number=2, max_tries=2)
    ti.run(KEEP)
    return ti.record


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_job_that_has_failed_and_was_replaced_is_not_waited_for(cloud: LocalCloud, goes_on: bool) -> None:
    record = retried(cloud, goes_on)
    states = sensor("batch", remote_jobs=record.as_json(), target_states=["SUCCEEDED"]).execute(context())
    assert list(states.values()) == ["SUCCEEDED"]
    assert operator("batch", remote_jobs=record.as_json()).execute(context()) == states


def test_one_that_was_not_replaced_is(cloud: LocalCloud) -> None:
    record = retried(cloud, goes_on=False)
    alone = {**record.as_json(), "jobs": []}
    with pytest.raises(UnexpectedEnd, match="FAILED"):
        sensor("batch", remote_jobs=alone, target_states=["SUCCEEDED"]).execute(context())
