"""Looks by label that take long: through many clusters, where the quota of an account lets few calls go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config

from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.services.ratelimit import PACES
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.try_fixtures import (  # noqa: F401  two of them are fixtures
    CANCEL,
    Try,
    _guarded,
    start_cluster,
    submit,
    variables,
)

STEP: dict[str, Any] = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}
SLOW = "*=1000000/1000000,emr.ListSteps=1/0.5"


@pytest.fixture(autouse=True)
def _slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One ListSteps, and then one each two seconds."""
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__QUOTAS", SLOW)
    PACES.configure({"*": (1e6, 1e6), "emr.ListSteps": (1, 0.5)})
    yield
    PACES.configure({"*": (1e6, 1e6)})


def lose_answer(cloud: LocalCloud, operation: str) -> None:
    cloud.faults.add("emr", operation, kind="lost_reply", times=1)


def start_cluster_twice(cloud: LocalCloud) -> None:
    """The answer to the first attempt is lost: the steps may be in any cluster."""
    lose_answer(cloud, "RunJobFlow")
    start_cluster()


def add_steps_twice(cloud: LocalCloud, cluster: str, times: int) -> None:
    config = Config(retries={"mode": "standard", "total_max_attempts": 2})
    emr: Any = boto3.session.Session().client("emr", region_name="us-east-1", config=config)
    for _ in range(times):
        lose_answer(cloud, "AddJobFlowSteps")
        emr.add_job_flow_steps(JobFlowId=cluster, Steps=[STEP])


def executed(work: Callable[[], Any], settings: Settings = CANCEL) -> tuple[TaskGuard, float]:
    """Execute a task; the seconds from the end of its own code."""
    began: list[float] = []

    def timed() -> None:
        try:
            work()
        finally:
            began.append(time.monotonic())

    ti = Try(work=timed)
    guard = ti.guarded(settings)
    try:
        ti.task.execute()
    except ValueError:
        ti.state = "failed"
    return guard, time.monotonic() - began[0]


def test_a_task_that_has_succeeded_does_not_wait_for_all_clusters(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("airflow_cancel_provider.guard.label_lookups.DESCRIBE_SECONDS", 1.0)
    for _ in range(4):
        cloud.emr.create_cluster()
    _, seconds = executed(lambda: start_cluster_twice(cloud))
    assert seconds < 4
    assert "Jobs in a new cluster could not be looked up. They are left running" in caplog.text
    assert "Whether a submission to emr was carried out twice can't be found out: no answer" in caplog.text


def test_one_look_serves_all_submissions_to_a_cluster_after_a_success(cloud: LocalCloud) -> None:
    cluster = cloud.emr.create_cluster()
    executed(lambda: add_steps_twice(cloud, cluster, 3))
    assert cloud.journal.count("emr", "ListSteps") == 1


def test_what_is_known_is_cancelled_before_the_rest_is_looked_for(cloud: LocalCloud) -> None:
    cluster = cloud.emr.create_cluster()

    def work() -> None:
        submit()
        add_steps_twice(cloud, cluster, 3)
        raise ValueError("after submitting")

    executed(work, replace(CANCEL, confirm_seconds=0.1))
    until(lambda: cloud.journal.count("emr", "CancelSteps") == 2)
    calls = [entry.operation for entry in cloud.journal]
    assert calls.index("TerminateJobs") < calls.index("ListSteps")
    first, second = (place for place, name in enumerate(calls) if name == "CancelSteps")
    # One look shows all that was started twice.
    assert calls[first:second].count("ListSteps") == 1
