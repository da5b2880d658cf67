"""What is logged, and goes on record, of jobs that have ended."""

from __future__ import annotations

import logging
import re

import pytest

from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.engine.recorded import cancel_over_connections, cancel_requests
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.record import Actor, TryRecord, TryState
from tests.memory_service import Memory, memory
from tests.recorded_fixtures import TASK, TI
from tests.trigger_fixtures import DEPLOYMENT

__all__ = ["memory"]

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


def test_of_a_job_that_somebody_else_was_cancelling_already(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    """As the next try does, for what a task that was cleared has left. The time begins when that was seen."""
    caplog.set_level("INFO")
    job = memory.job("a", JobState.CANCELLING)
    requests = cancel_requests(TryRecord(TI, TryState.DEFERRED, (job,)), "why", LOG, TASK)
    engine = cancel_over_connections(
        Access().service, requests, DEPLOYMENT, call_seconds=2, escalate_after=0.0
    )
    engine.step()
    assert memory.sent == []
    engine.step()
    assert memory.sent == [("a", True)]  # it does not end by itself
    memory.states["a"] = JobState.CANCELLED
    engine.step()
    CancelLog(LOG, Actor.TRIGGER, lambda: "Task was ended").ended(engine.cancellation)
    words = rf"Task was ended: cancelled {re.escape(job)} \(CANCELLED after (\S+) s\)\."
    said = re.fullmatch(words, caplog.messages[-1])
    assert said
    assert float(said[1]) < 60
