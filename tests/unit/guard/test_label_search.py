"""A job that the service took a moment ago, and does not know yet."""

from __future__ import annotations

import logging
import time

import pytest

from airflow_cancel_provider.engine.label_search import Intent, LabelSearch, labelled
from airflow_cancel_provider.exceptions import AccessDenied
from airflow_cancel_provider.guard.canceller import Canceller
from airflow_cancel_provider.guard.client_pool import client_of
from airflow_cancel_provider.guard.events import RecordInherited
from airflow_cancel_provider.guard.inherited import reached
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.record import StoredIntent, TryRecord
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import OWNER, canceller, tracked
from tests.memory_service import Memory, MemoryService
from tests.service_fixtures import Bench, EmrBench
from tests.task_fixtures import bench, connections  # noqa: F401

pytestmark = pytest.mark.wide

UNSEEN = 4.0
"""Seconds."""


@pytest.fixture
def worker() -> tuple[TryLedger, Canceller]:
    settings = Settings(patience=90, sentinel=False, deployment=OWNER.deployment)
    return (ledger := TryLedger()), canceller(ledger, settings, logging.getLogger("task"))


def test_a_job_that_appears_late_is_cancelled(bench: Bench, worker: tuple[TryLedger, Canceller]) -> None:  # noqa: F811
    ledger, cancels = worker
    bench.local.configure({"overrides": {"late*": {"unseen": UNSEEN}}})
    seen_from = time.monotonic() + UNSEEN - 0.5  # the cloud has a clock of its own
    late, seen = bench.submit("late")[0], bench.running()[0]
    ledger.apply(tracked(client_of(Access(), late), [late], time.time()))
    ledger.apply(tracked(client_of(Access(), seen), [seen], time.time()))
    cancels.cancel("Task failed (ValueError)")
    assert not cancels.wait_for("accepted", 1) or time.monotonic() > seen_from
    assert cancels.wait_for("ended", 60)
    assert time.monotonic() > seen_from
    assert bench.are_cancelled([late, seen])


@pytest.mark.parametrize("kind", ["denied", "bad_key"])
def test_a_cluster_that_may_not_be_read_hides_no_other(cloud: LocalCloud, kind: str) -> None:
    emr, label = EmrBench(cloud), OWNER.label
    jobs = {job.scope: job for _ in range(4) for job in emr.submit(f"load {label}")}
    first, *others = emr.service().scopes()
    cloud.faults.add("emr", "ListSteps", kind, scope=first)
    intent = Intent("1", StoredIntent("emr", None, None, None, label), None)
    found: list[RemoteJob] = []
    with pytest.raises(AccessDenied, match=first):
        found.extend(labelled(intent, emr.service()))
    # Credentials that are not accepted are so everywhere.
    assert found == ([jobs[scope] for scope in others] if kind == "denied" else [])
    emr.close()


def test_a_job_of_long_ago_that_its_submitter_does_not_find_is_gone(
    bench: Bench,  # noqa: F811
    worker: tuple[TryLedger, Canceller],
) -> None:
    ledger, cancels = worker
    job = bench.unknown()
    ledger.apply(tracked(client_of(Access(), job), [job]))
    cancels.cancel("Task failed (ValueError)")
    assert cancels.wait_for("ended", 10)
    assert cancels.wait_for("accepted", 0)


def test_a_job_that_a_connection_does_not_find_is_a_warning_and_no_end(
    bench: Bench,  # noqa: F811
    worker: tuple[TryLedger, Canceller],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger, cancels = worker
    job, other = bench.unknown(), bench.running()[0]
    log = logging.getLogger("task")
    ledger.apply(RecordInherited(TryRecord(OWNER.ti_id, jobs=(job, other))))
    for event in reached(ledger, Access(), log):
        ledger.apply(event)
    cancels.cancel("Task failed (ValueError)")
    assert not cancels.wait_for("ended", 3)
    assert f"{job}: the service does not know this job over connection" in caplog.text
    assert bench.are_cancelled([other])


@pytest.mark.parametrize("is_under_way", [True, False])
def test_the_search_for_a_submission_that_may_be_repeated_goes_on_after_the_first_find(
    is_under_way: bool,
) -> None:
    """A task that is about to be killed may send its submission again, and so start a second job."""
    memory = Memory()
    job = memory.job("first")
    memory.claims.append(JobStatus(job, JobState.RUNNING, label=OWNER.label))
    stored = StoredIntent("memory", None, None, "place", OWNER.label, time.time())
    intent = Intent("1", stored, None, is_under_way=is_under_way)
    service = MemoryService(memory, None, None)
    search = LabelSearch(lambda: [intent], list, lambda _: service, logging.getLogger("task"))
    search.update()
    assert list(search.found) == [job]
    assert search.has_answers
    assert search.is_over is not is_under_way
