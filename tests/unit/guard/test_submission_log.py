"""What the task's log says of the jobs that a task starts."""

from __future__ import annotations

import logging

import pytest

from airflow_cancel_provider.guard.events import JobsStarted
from airflow_cancel_provider.guard.submission_log import LINES, SubmissionLog
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.client_spec import ClientSpec

CLIENT = ClientSpec("batch", None, "us-east-1", "http://127.0.0.1:1", secrets={})


def test_a_tracked_job_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A kill that interrupts ``track()`` has its event passed on again."""
    caplog.set_level("INFO")
    log = SubmissionLog(logging.getLogger("task"))
    one, two = (RemoteJob(f"batch://@us-east-1/{name}") for name in ("one", "two"))
    for jobs in ((one,), (one,), (one, two)):
        log.hear(JobsStarted("", jobs, CLIENT))
    said = "Guarding batch://@us-east-1/{}; it will be cancelled unless this task succeeds."
    assert caplog.messages == [said.format("one"), said.format("two")]


def test_a_job_that_is_started_has_a_line_of_its_own_behind_many_that_are_tracked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """So it is, too, where a try takes over many jobs of those before it."""
    log = SubmissionLog(logging.getLogger("task"))
    for number in range(LINES):
        log.hear(JobsStarted("", (RemoteJob(f"batch://@us-east-1/{number}"),), CLIENT))
    caplog.set_level("INFO")
    log.hear(JobsStarted("1", (RemoteJob("batch://@us-east-1/own"),), CLIENT, 1.0))
    assert "Started AWS Batch job own; it will be cancelled unless this task succeeds." in caplog.text
