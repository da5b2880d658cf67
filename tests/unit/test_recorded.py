"""What a record names is looked at before it is cancelled: whose it is, and whether it is there at all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from airflow_cancel_provider.engine.cancel import CancelEngine
from airflow_cancel_provider.engine.recorded import by_service, cancel_over_connections, cancel_requests
from airflow_cancel_provider.exceptions import AccessDenied, ServiceUnavailable
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import CancelOutcome, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, Owner, TaskKey
from airflow_cancel_provider.record import StoredIntent, TryRecord, TryState
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.triggers import on_kill as killing
from tests import memory_service
from tests.airflow_fakes import FakeAirflow, airflow
from tests.cloud.server import LocalCloud
from tests.memory_service import Memory, MemoryHook
from tests.mrs_fixtures import define
from tests.service_fixtures import Bench
from tests.task_fixtures import MRS_KEYS, TaskInstance, bench, connect_aws, connections
from tests.trigger_fixtures import DEPLOYMENT, Endless, killed

__all__ = ["airflow", "bench", "connections"]

LOG = logging.getLogger("task")
TASK = TaskKey("nightly", "manual__2026", "stop", 2)
TI = uuid4()
OURS = Label(DEPLOYMENT, TI)
ANOTHER_TRY = Label(DEPLOYMENT, uuid4())
ANOTHER_AIRFLOW = Label("another0", TI)


def submitted(bench: Bench, label: Label | None, scope: str | None = None) -> RemoteJob:
    """A running job with a label, where its service carries it."""
    bench_: Any = bench
    if bench.name == "batch":
        parameters = {"airflow_owner": str(label)} if label else {}
        (job,) = bench_.submit("job", parameters=parameters)
    else:
        (job,) = bench_.submit(f"job-{label}" if label else "job", scope=scope)
    return RemoteJob(job)


def cancellation(
    jobs: Sequence[RemoteJob], intents: Sequence[StoredIntent] = (), released: Sequence[RemoteJob] = ()
) -> CancelEngine:
    record = TryRecord(TI, TryState.DEFERRED, tuple(jobs), tuple(intents))
    requests = [
        request.without(frozenset(released), is_followed=False)
        for request in cancel_requests(record, "why", LOG, TASK)
    ]
    return cancel_over_connections(Access().service, requests, DEPLOYMENT, call_seconds=2)


def asked(bench: Bench) -> set[str]:
    return {job_id for job_id, job in bench.truth().items() if job["cancel_requested_at"]}


class TestLabels:
    def test_only_jobs_whose_label_is_ours_or_that_have_none(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        scope = bench.new_scope()
        ours, plain, other_try, other_airflow = (
            submitted(bench, label, scope) for label in (OURS, None, ANOTHER_TRY, ANOTHER_AIRFLOW)
        )
        bench.cloud.clock.advance(1)
        work = cancellation([other_try, ours, other_airflow, plain])
        work.step()
        assert asked(bench) == {ours.id, plain.id}
        assert f"{other_try} is left alone: its label names another try" in caplog.text
        assert f"{other_airflow} is left alone: its label names another" in caplog.text
        assert work.is_requested
        bench.let_end()
        work.step()
        assert work.is_done
        assert asked(bench) == {ours.id, plain.id}

    def test_of_two_records_that_name_a_job_one_is_right(self, bench: Bench) -> None:
        job = submitted(bench, OURS)
        (forged,) = cancel_requests(TryRecord(uuid4(), jobs=(job,)), "forged", LOG, TASK)
        (right,) = cancel_requests(TryRecord(TI, jobs=(job,)), "right", LOG, TASK)
        cancel_over_connections(Access().service, [forged], DEPLOYMENT, call_seconds=2).step()
        assert asked(bench) == set()
        cancel_over_connections(Access().service, [forged, right], DEPLOYMENT, call_seconds=2).step()
        assert asked(bench) == {job.id}

    def test_a_job_older_than_the_request_that_got_it_as_an_answer_is_anothers(self, bench: Bench) -> None:
        older, own = (submitted(bench, None, None) for _ in range(2))
        record = TryRecord(TI, jobs=(older, own), not_before={older: time.time() + 3600, own: 1.0})
        for line, requests in by_service(cancel_requests(record, "why", LOG, TASK)).items():
            assert line == (bench.name, older.conn_id, older.region)
            cancel_over_connections(Access().service, requests, DEPLOYMENT, call_seconds=2).step()
        assert asked(bench) == {own.id}

    def test_what_a_returned_try_has_left_is_nobodys(self) -> None:
        job = RemoteJob("batch://@us-east-1/1")
        assert cancel_requests(TryRecord(TI, TryState.RETURNED, (job,)), "why", LOG, TASK) == []
        assert len(cancel_requests(TryRecord(TI, TryState.DEFERRED, (job,)), "why", LOG, TASK)) == 1

    def test_jobs_that_end_are_not_asked_again(self, bench: Bench) -> None:
        if bench.name == "mrs":
            pytest.skip("MRS does not show that a job is about to end")
        scope = bench.new_scope()
        (endless,) = bench.submit("endless", scope=scope)
        ended = bench.ended(1, scope)
        cancellation([endless, *ended]).step()
        sent = bench.cancels_sent
        assert asked(bench) == {endless.id}
        work = cancellation([endless, *ended])
        work.step()
        work.step()
        assert bench.cancels_sent == sent
        assert work.is_requested
        assert not work.is_done


class TestEarlierTries:
    """A try that goes on with the jobs of earlier ones has them on record under their ids."""

    def record(self, bench: Bench) -> tuple[TryRecord, RemoteJob, RemoteJob, RemoteJob]:
        """With a job of its own, one of an earlier try, and one of another task's try."""
        earlier = Owner(DEPLOYMENT, "nightly", "manual__2026", "stop", 2, 1, uuid4())
        anothers = replace(earlier, map_index=3, ti_id=uuid4())
        scope = bench.new_scope()
        jobs = []
        for label in (OURS, earlier.label, anothers.label):
            text = label.in_full if bench.name == "batch" else str(label)
            if bench.name == "batch":
                jobs += bench.submit("job", parameters={"airflow_owner": text})  # type: ignore[call-arg]
            else:
                jobs += bench.submit(f"job-{text}", scope=scope)
        taken = tuple(
            TryRecord(each.ti_id, TryState.DEFERRED, (job,))
            for each, job in zip((earlier, anothers), jobs[1:], strict=True)
        )
        return TryRecord(TI, TryState.DEFERRED, (jobs[0],), earlier=taken), jobs[0], jobs[1], jobs[2]

    def test_only_what_the_label_shows_to_be_the_tasks(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        record, own, earlier, anothers = self.record(bench)
        requests = cancel_requests(record, "why", LOG, TASK)
        cancel_over_connections(Access().service, requests, DEPLOYMENT, call_seconds=2).step()
        assert asked(bench) == {own.id, earlier.id}
        words = "its label does not show it to be of an earlier try of this task"
        assert f"{anothers} is left alone: {words}" in caplog.text


class TestIntents:
    def intent(
        self, bench: Bench, scope: str | None, label: Label | None = OURS, at: float = 0
    ) -> StoredIntent:
        job = submitted(bench, ANOTHER_TRY, scope)
        where = scope if scope is not None else "queue"
        return StoredIntent(bench.name, job.conn_id, job.region, where, label, at)

    def test_a_job_that_only_its_label_tells_of_is_cancelled(self, bench: Bench) -> None:
        scope = bench.new_scope()
        lost, released = submitted(bench, OURS, scope), submitted(bench, OURS, scope)
        work = cancellation([], [self.intent(bench, scope)], released=[released])
        work.step()
        assert asked(bench) == {lost.id}
        assert work.is_requested

    def test_it_is_looked_for_until_the_service_must_list_it(self, bench: Bench) -> None:
        scope = bench.new_scope()
        work = cancellation([], [self.intent(bench, scope, at=time.time())])
        work.step()
        assert not work.is_requested
        late = submitted(bench, OURS, scope)
        work.step()
        assert asked(bench) == {late.id}

    @pytest.mark.parametrize("label", [ANOTHER_TRY, ANOTHER_AIRFLOW, None])
    def test_another_tries_label_is_not_looked_for(
        self, bench: Bench, label: Label | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        scope = bench.new_scope()
        own = submitted(bench, OURS, scope)
        for foreign in (ANOTHER_TRY, ANOTHER_AIRFLOW, None):
            submitted(bench, foreign, scope)
        work = cancellation([own], [self.intent(bench, scope, label)])
        work.step()
        assert asked(bench) == {own.id}
        assert "are not looked for" in caplog.text


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    monkeypatch.setitem(SERVICES, "memory", memory_service.ROW)
    monkeypatch.setattr(MemoryHook, "memory", Memory())
    return MemoryHook.memory


class TestUnseen:
    """What can't be looked at is not cancelled blindly, and looked at again."""

    @pytest.mark.parametrize("error", [ServiceUnavailable("It is away."), AccessDenied("Not you.")], ids=repr)
    def test_after_a_look_that_failed(
        self, memory: Memory, error: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        work = cancellation(memory.jobs("a"))
        memory.errors += [error]
        work.step()
        assert memory.sent == []
        assert str(error) in caplog.text
        work.step()
        assert memory.sent == [("a", False)]
        # A connection may have been mended since the client was made.
        assert len(memory.opened) == 2

    def test_one_that_is_not_known_is_a_warning_and_not_settled(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        gone = RemoteJob.of("memory", "a", scope="place", conn_id="elsewhere", region="eu")
        memory.states["a"] = JobState.GONE
        work = cancellation([gone])
        work.step()
        work.step()
        assert not work.is_requested
        assert not work.is_done
        words = f"{gone}: the service does not know this job over connection 'elsewhere' in region eu."
        assert caplog.text.count(words) == 1
        memory.states["a"] = JobState.RUNNING
        work.step()
        assert memory.sent == [("a", False)]
        memory.states["a"] = JobState.GONE  # seen before: now that is an end
        work.step()
        assert work.is_done

    def test_what_stays_unknown_is_an_error_at_the_end(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        jobs = [memory.job("a", JobState.GONE), memory.job("b")]
        work = cancellation(jobs)
        work.step()
        memory.states["b"] = JobState.CANCELLED
        work.step()
        work.close()
        (said,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert said.startswith(
            f"{jobs[0]} was not cancelled and may still be running: the service does not know"
        )
        assert memory.sent == [("b", False)]

    def test_an_unknown_cluster_hides_no_other(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        here, nowhere = memory.job("a", scope="here"), memory.job("b", scope="nowhere")
        memory.unknown_scopes = {"nowhere"}
        work = cancellation([nowhere, here])
        work.step()
        assert memory.sent == [("a", False)]
        assert f"{nowhere}: the service does not know this job over" in caplog.text

    @pytest.mark.parametrize("id_", ["a b", "A/B", "x" * 3000], ids=["blank", "slash", "long"])
    def test_what_the_service_can_not_have_issued_hides_no_other(self, bench: Bench, id_: str) -> None:
        """Some services say that it is not known, others refuse the whole look."""
        scope = bench.new_scope()
        ours = [submitted(bench, OURS, scope) for _ in range(3)]
        wrong = RemoteJob.of(bench.name, id_, scope=scope, conn_id=ours[0].conn_id, region=ours[0].region)
        cancellation([ours[0], wrong, *ours[1:]]).step()
        assert all(bench.truth()[job.id]["cancel_requested_at"] for job in ours)

    def test_a_connection_that_is_not_defined_is_said_and_asked_for_again(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        connect_aws(monkeypatch, cloud)
        here = RemoteJob.of("batch", "1", conn_id="later", region="us-east-1")
        work = cancellation([here])
        work.step()
        assert f"{here}: " in caplog.text
        assert not work.is_requested
        connect_aws(monkeypatch, cloud, "later")
        work.step()
        assert cloud.journal.count("batch", "DescribeJobs") >= 1


@pytest.mark.parametrize(
    "is_followed, label, objection",
    [
        (True, replace(OURS, reconnects=True), "the next try reconnects to it"),
        (False, replace(OURS, reconnects=True), None),
        (True, OURS, None),
        (True, None, None),
    ],
)
def test_what_the_next_try_reconnects_to_is_left_alone_where_there_is_one(
    is_followed: bool, label: Label | None, objection: str | None
) -> None:
    job = RemoteJob("batch://aws_default@us-east-1/queue/1")
    (request,) = cancel_requests(TryRecord(TI, TryState.DEFERRED, (job,)), "why", LOG, TASK)
    request = request.heeding(None).without(frozenset(), is_followed=is_followed)
    assert request.objection(JobStatus(job, JobState.RUNNING, label=label), DEPLOYMENT) == objection


@pytest.mark.parametrize("order", [1, -1])
def test_each_service_gets_its_own_part_of_a_request(order: int) -> None:
    places = [("batch", "a", "eu"), ("batch", "b", "eu"), ("emr-serverless", "a", "us")][::order]
    jobs = tuple(
        RemoteJob.of(name, "1", scope="s", conn_id=conn, region=where) for name, conn, where in places
    )
    intents = tuple(StoredIntent(name, conn, where, "s", OURS) for name, conn, where in places)
    (request,) = cancel_requests(TryRecord(TI, TryState.DEFERRED, jobs, intents), "why", LOG, TASK)
    parts = request.by_service()
    assert [(part.jobs, part.intents) for part in parts.values()] == [
        ((job,), (intent,)) for job, intent in zip(jobs, intents, strict=True)
    ]


@pytest.mark.parametrize(
    "outcome, is_accepted",
    [
        (CancelOutcome.REQUESTED, True),
        (CancelOutcome.ALREADY_CANCELLING, True),
        (CancelOutcome.ALREADY_ENDED, True),
        (CancelOutcome.REFUSED, False),
        (CancelOutcome.UNANSWERED, False),
    ],
)
def test_accepted_is_what_every_service_has_taken(
    memory: Memory, outcome: CancelOutcome, is_accepted: bool
) -> None:
    work = cancellation(memory.jobs("a", "b"))
    memory.outcomes["b"] = outcome
    work.step()
    assert work.is_accepted is is_accepted


def test_nothing_is_accepted_before_it_was_seen(memory: Memory) -> None:
    work = cancellation([memory.job("a"), memory.job("b", JobState.GONE)])
    work.step()
    assert memory.sent == [("a", False)]
    assert not work.is_accepted


@pytest.mark.parametrize(
    "count, words",
    [(1, "task 0"), (2, "task 0, and 1 other task"), (100, "task 0, and 99 other tasks")],
)
def test_many_tasks_are_few_calls_with_words_for_all(memory: Memory, count: int, words: str) -> None:
    records = [TryRecord(uuid4(), jobs=tuple(memory.jobs(f"j{n}"))) for n in range(count)]
    requests = [
        request
        for n, record in enumerate(records)
        for request in cancel_requests(record, f"task {n}", LOG, TASK)
    ]
    work = cancel_over_connections(Access().service, requests, DEPLOYMENT, call_seconds=2)
    work.step()
    assert len(memory.looks) == 1
    assert len(memory.sent) == count
    reasons = {result.detail for result in work.cancellation.results.values()}
    assert reasons == {words}


def test_a_guarded_deferral_ends_what_it_carries_whatever_stands_in_xcom(
    airflow: FakeAirflow,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others can write in XCom; it only tells which try counts."""
    monkeypatch.setattr(killing, "TOGETHER", 0.02)
    ti = TaskInstance(id=TI)
    scope = bench.new_scope()
    own, taken, lost, other, foreign = (
        submitted(bench, label, scope) for label in (OURS, ANOTHER_TRY, OURS, ANOTHER_TRY, ANOTHER_AIRFLOW)
    )
    intent = StoredIntent(bench.name, own.conn_id, own.region, scope or "queue", OURS)
    record = TryRecord(TI, TryState.DEFERRED, (own, taken), (intent,))
    airflow.put(ti, "failed", replace(record, jobs=(other, foreign), intents=()))
    made = GuardTrigger.around(Endless(), record, "why", DEPLOYMENT)
    asyncio.run(killed(GuardTrigger(**made.serialize()[1]), ti))
    assert asked(bench) == {own.id, lost.id}


def test_how_the_task_reached_its_jobs_goes_with_a_deferral_of_ours(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
    from airflow_cancel_provider.watch import Watch

    define(monkeypatch, cloud, **MRS_KEYS)
    job = RemoteJob("mrs://mrs_default/cluster/job")
    access = Access(verify="/ca.pem")
    inner = RemoteJobsTrigger(Watch([job]).as_json(), access.as_json(), 1, None, 0, "")
    made = GuardTrigger.around(inner, TryRecord(TI, TryState.DEFERRED, (job,)), "why", DEPLOYMENT)
    assert made._access() == access
    assert made.kwargs["cancel_reason"] is None  # one of the two is enough
    assert inner.cancel_reason == ""
    elsewhere = TryRecord(TI, TryState.DEFERRED, ())
    assert GuardTrigger.around(inner, elsewhere, "why", DEPLOYMENT).kwargs["cancel_reason"] == ""
    assert GuardTrigger.around(made, elsewhere, "why", DEPLOYMENT).record == elsewhere.as_json()


def test_statuses_that_a_record_calls_foreign() -> None:
    job = RemoteJob("batch://@us-east-1/1")
    record = TryRecord(TI, jobs=(job,), not_before={job: 100.0})

    def objection(label: Label | None, at: float | None) -> str | None:
        when = datetime.fromtimestamp(at, UTC) if at is not None else None
        return record.foreign(JobStatus(job, JobState.RUNNING, label=label, submitted_at=when), DEPLOYMENT)

    assert objection(OURS, 99) is None
    assert objection(None, 100) is None
    assert "idempotency token" in str(objection(None, 99))
    assert "idempotency token" in str(objection(None, None))
    assert "another try" in str(objection(ANOTHER_TRY, 100))
    assert "another Airflow" in str(objection(ANOTHER_AIRFLOW, 100))
    assert UUID(str(record.as_json()["ti_id"])) == TI
