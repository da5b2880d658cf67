"""Durations, while the clock of the host is set by hours."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from airflow_cancel_provider import clock
from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.engine.label_search import Intent, LabelSearch
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.record import Actor, StoredIntent
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.watch import Watch

HOURS = pytest.mark.parametrize("hours", [-5, 5])
LOG = logging.getLogger("task")
JOB = RemoteJob("batch://@us-east-1/job")


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set the clock of the host: ``time.time`` alone, as NTP does."""
    real = time.time
    return lambda hours: monkeypatch.setattr(time, "time", lambda: real() + hours * 3600)


@HOURS
def test_a_clock_goes_on_evenly(jump: Any, hours: int) -> None:
    one, before = clock.Clock(), time.time()
    jump(hours)
    assert one.now() == pytest.approx(before, abs=5)
    assert clock.Clock().now() == pytest.approx(before + hours * 3600, abs=5)
    assert clock.Clock(one.offset).now() == pytest.approx(one.now(), abs=5)


@HOURS
def test_a_harder_cancel_comes_neither_early_nor_never(jump: Any, hours: int) -> None:
    early, due = (Cancellation([JOB], "why", escalate_after=after) for after in (60.0, 0.0))
    for cancellation in (early, due):
        cancellation.requested_at = cancellation.clock.now()
    jump(hours)
    assert not early._due_to_escalate()
    assert due._due_to_escalate()


@HOURS
def test_a_job_that_may_appear_yet_is_not_given_up(jump: Any, hours: int) -> None:
    new, old = (Cancellation([JOB], "why") for _ in range(2))
    for cancellation, age in ((new, 1), (old, 100)):
        cancellation.taken_at[JOB] = cancellation.clock.now() - age
        cancellation.results[JOB] = CancelResult(JOB, CancelOutcome.GONE)
        cancellation.observe([JobStatus(JOB, JobState.GONE)])
    jump(hours)
    assert new.may_appear(JOB)
    assert not old.may_appear(JOB)


@HOURS
def test_a_deferred_wait_takes_as_long_as_it_is_to(jump: Any, hours: int) -> None:
    arguments = {"watch": Watch([JOB]).as_json(), "access": Access().as_json(), "waiter_delay": 10.0}
    trigger = RemoteJobsTrigger(**arguments, waiter_max_attempts=60, started_at=time.time())
    over = RemoteJobsTrigger(**arguments, waiter_max_attempts=60, started_at=time.time() - 601)
    jump(hours)
    assert trigger._is_in_time()
    assert not over._is_in_time()


@HOURS
def test_a_search_by_label_goes_on_for_its_time(jump: Any, hours: int) -> None:
    ledger = TryLedger()
    stored = StoredIntent("batch", None, "us-east-1", "queue", None, ledger.clock.now())
    new = Intent("1", stored, None)
    search = LabelSearch(lambda: [new], list, lambda _: pytest.fail("not asked"), LOG, ledger.clock)
    jump(hours)
    assert not search.is_over
    ledger.clock.offset += 61
    assert search.is_over


@HOURS
def test_the_log_names_the_true_duration(jump: Any, hours: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    log = CancelLog(LOG, Actor.TASK, lambda: "Task failed")
    requested_at = time.time() - 3
    jump(hours)
    cancellation = Cancellation([JOB], "why")
    cancellation.requested_at = requested_at
    cancellation.results[JOB] = CancelResult(JOB, CancelOutcome.REQUESTED)
    cancellation.observe([JobStatus(JOB, JobState.CANCELLED)])
    log.ended(cancellation)
    assert "CANCELLED after 3." in caplog.text
