"""What is logged, and goes on record, of jobs that have ended."""

from __future__ import annotations

import logging

import pytest

from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.record import Actor

LOG = logging.getLogger("task")
JOB = RemoteJob("batch://@us-east-1/job")


@pytest.mark.parametrize(
    "outcome, by",
    [
        (CancelOutcome.REQUESTED, "sentinel"),
        (CancelOutcome.ALREADY_CANCELLING, "sentinel"),
        (CancelOutcome.UNANSWERED, "sentinel"),
        (CancelOutcome.ALREADY_ENDED, "service"),
        (CancelOutcome.REFUSED, "service"),
    ],
)
def test_who_has_cancelled_a_job(caplog: pytest.LogCaptureFixture, outcome: CancelOutcome, by: str) -> None:
    """The operator's own on_kill may have cancelled it before."""
    caplog.set_level("INFO")
    cancellation = Cancellation([JOB], "why")
    cancellation.requested_at = cancellation.clock.now()
    cancellation.results[JOB] = CancelResult(JOB, outcome)
    cancellation.observe([JobStatus(JOB, JobState.CANCELLED)])
    log = CancelLog(LOG, Actor.SENTINEL, lambda: "Task received SIGTERM")
    log.ended(cancellation)
    assert log.ends[JOB].by == by
    ours = f"Task received SIGTERM: cancelled {JOB} (CANCELLED after 0.0 s)."
    theirs = f"Task received SIGTERM: {JOB} has ended as CANCELLED."
    assert caplog.messages == [ours if by == "sentinel" else theirs]


def test_of_some_jobs_alone() -> None:
    other = RemoteJob("batch://@us-east-1/other")
    cancellation = Cancellation([JOB, other], "why")
    cancellation.observe([JobStatus(JOB, JobState.FAILED), JobStatus(other, JobState.FAILED)])
    log = CancelLog(LOG, Actor.TRIGGER, lambda: "why")
    log.ended(cancellation, [other, RemoteJob("batch://@us-east-1/not-seen")])
    assert list(log.ends) == [other]
