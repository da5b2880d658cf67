"""What a record names is described before it is cancelled: whose it is, and whether it is there at all."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from airflow_cancel_provider.engine.recorded import by_service, cancel_over_connections, cancel_requests
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.record import StoredIntent, TryRecord, TryState
from airflow_cancel_provider.triggers import gathered_cancels
from tests.airflow_fakes import FakeAirflow, airflow
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import define
from tests.recorded_fixtures import ANOTHER_AIRFLOW, ANOTHER_TRY, LOG, OURS, TASK, TI, cancellation
from tests.service_fixtures import Bench, asked, submitted
from tests.task_fixtures import MRS_KEYS, TaskInstance, bench, connections
from tests.trigger_fixtures import DEPLOYMENT, Endless, killed

__all__ = ["airflow", "bench", "connections"]


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
    parts = [part for some in by_service([request]).values() for part in some]
    assert [(part.jobs, part.intents) for part in parts] == [
        ((job,), (intent,)) for job, intent in zip(jobs, intents, strict=True)
    ]


def test_a_guarded_deferral_ends_what_it_carries_whatever_stands_in_xcom(
    airflow: FakeAirflow,
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others can write in XCom; it only tells which try counts."""
    monkeypatch.setattr(gathered_cancels, "TOGETHER", 0.02)
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
    record = TryRecord.from_json(replace(record, deployment="another0").as_json())
    assert "another Airflow" in str(objection(None, 100))
    assert UUID(str(record.as_json()["ti_id"])) == TI
