"""Tries that are told to end: by a signal, as Airflow does."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config

from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.try_fixtures import CANCEL, Try


def client(attempts: int = 1) -> Any:
    config = Config(retries={"mode": "standard", "total_max_attempts": attempts})
    return boto3.session.Session().client("batch", region_name="us-east-1", config=config)


def submit(name: str = "job") -> str:
    answer = client().submit_job(jobName=name, jobQueue="queue", jobDefinition="definition")
    return str(answer["jobId"])


def kill_after(seconds: float) -> None:
    """Have the task's on_kill called as Airflow does: in a signal handler."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


@pytest.fixture(autouse=True)
def _alarm() -> Any:
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def guarded(work: Callable[[], Any], settings: Settings = CANCEL) -> tuple[Try, TaskGuard]:
    ti = Try(work=work)
    guard = TaskGuard(ti, settings)
    guard.install()
    signal.signal(signal.SIGALRM, lambda *_: ti.task.on_kill())
    return ti, guard


def names(cloud: LocalCloud) -> dict[str, bool]:
    """Each job's name, and whether it was cancelled."""
    return {job["name"]: job["cancelled"] for job in cloud.batch.jobs()}
