"""What earlier tries of a task have left: whose it is, what is said of it, and who may cancel it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import botocore
import pytest

from airflow_cancel_provider.engine.recorded import cancel_over_connections, cancel_requests
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.guard import earlier_tries, inherited
from airflow_cancel_provider.guard.client_pool import client_of
from airflow_cancel_provider.guard.events import RecordInherited
from airflow_cancel_provider.guard.inherited import reached
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel.notes import event_of, notes_of
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.record import EARLIER_KEY, RECORD_KEY, TryRecord, TryState
from tests.cloud.server import LocalCloud
from tests.earlier_fixtures import THIS, earlier, recorded
from tests.service_fixtures import BatchBench, Bench, asked
from tests.task_fixtures import bench, connections
from tests.try_fixtures import CANCEL, KEEP, RESCHEDULED, Store, Try, _guarded, fail, resumed, variables

__all__ = ["_guarded", "bench", "connections", "variables"]
pytestmark = pytest.mark.wide

LOG = logging.getLogger("task")


OTHERS = [
    pytest.param({"dag_id": "other"}, id="another Dag"),
    pytest.param({"run_id": "other"}, id="another run"),
    pytest.param({"task_id": "other"}, id="another task of the same run"),
    pytest.param({"map_index": 3}, id="another map index"),
]
KINDS = pytest.mark.parametrize("what", ["job", "intent"])


class TestNextTry:
    """The next try cancels what it finds in the task state store, where a person can write, too."""

    @KINDS
    @pytest.mark.parametrize("map_index", [-1, 3])
    def test_the_job_of_an_earlier_try_is_cancelled_before_the_next_one_starts(
        self, bench: Bench, what: str, map_index: int
    ) -> None:
        record, job = recorded(bench, earlier(map_index=map_index), what)
        seen: list[set[str]] = []
        store = Store({RECORD_KEY: record.as_json()})
        Try(work=lambda: seen.append(asked(bench)), store=store, try_number=2, map_index=map_index).run(
            CANCEL
        )
        assert seen == [{job.id}]

    @KINDS
    def test_the_job_of_an_earlier_try_of_the_same_id_is_cancelled(self, bench: Bench, what: str) -> None:
        """Where no worker could resume a deferred task, Airflow tries it again, and gives it no new id."""
        seen: list[set[str]] = []
        ti = Try(work=lambda: seen.append(asked(bench)), try_number=2)
        record, job = recorded(bench, Owner.from_context({"ti": ti}, CANCEL.deployment), what)
        ti.store[RECORD_KEY] = replace(record, state=TryState.DEFERRED).as_json()
        ti.run(CANCEL)
        assert seen == [{job.id}]

    def test_the_job_of_an_earlier_try_is_cancelled_also_where_this_one_was_rescheduled_before_it_began(
        self, bench: Bench
    ) -> None:
        """Airflow reschedules a try, with its id, while its worker can't read the Dag yet."""
        record, job = recorded(bench, earlier(), "job")
        seen: list[set[str]] = []
        store = Store({RECORD_KEY: record.as_json()})
        ti: Any = Try(work=lambda: seen.append(asked(bench)), store=store, try_number=2)
        ti._ti_context_from_server = RESCHEDULED
        ti.run(CANCEL)
        assert seen == [{job.id}]

    @KINDS
    def test_what_has_ended_is_not_polled_again_at_each_poke(self, bench: Bench, what: str) -> None:
        """Each poke of a sensor in mode ``reschedule`` is a process, and a rest of the same try."""
        record, job = recorded(bench, earlier(), what)
        store = Store({RECORD_KEY: record.as_json()})
        Try(store=store, try_number=2).run(CANCEL)
        assert asked(bench) == {job.id}
        # A submission of unknown outcome may have started more than was found.
        assert (RECORD_KEY in store) is (what == "intent")

    @pytest.mark.parametrize("finds", [True, False])
    def test_a_run_that_glue_job_operator_reconnects_to_is_left_alone(
        self, bench: Bench, finds: bool
    ) -> None:
        """With ``resume_glue_job_on_retry``, before ``durable``; its first releases never find the run."""
        record, job = recorded(bench, earlier(), "job")
        seen: list[set[str]] = []
        ti = Try(
            work=lambda: seen.append(asked(bench)), store=Store({RECORD_KEY: record.as_json()}), try_number=2
        )
        ti.task.resume_glue_job_on_retry = True  # type: ignore[attr-defined]
        if finds:
            ti.task.TASK_UUID_ARG = "--airflow_task_uuid"  # type: ignore[attr-defined]
        ti.run(CANCEL)
        assert seen == [set() if finds else {job.id}]

    @pytest.mark.parametrize("is_rest", [False, True])
    def test_it_is_listed_beside_those_of_the_present_one(
        self, monkeypatch: pytest.MonkeyPatch, is_rest: bool
    ) -> None:
        """But not what this try itself has started before it was deferred or rescheduled."""
        ti = Try(try_number=2)
        record = TryRecord(ti.id, TryState.DEFERRED, jobs=(RemoteJob("batch://@us-east-1/job"),))
        monkeypatch.setattr(earlier_tries, "_read", [record])
        expected = [] if is_rest else [record]
        assert earlier_tries.write_earlier(ti, LOG, is_rest=is_rest) == expected
        assert ti.pushed.get(EARLIER_KEY, []) == [each.as_json() for each in expected]

    def test_a_job_without_a_label_that_somebody_has_put_on_its_record_is_left_alone(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        ti = Try(try_number=2)
        (job,) = bench.submit("job", scope=bench.new_scope())
        ti.store[RECORD_KEY] = TryRecord(ti.id, TryState.DEFERRED, jobs=(job,)).as_json()
        ti.run(replace(CANCEL, confirm_seconds=3))
        assert asked(bench) == set()
        assert f"{job} is left alone" in caplog.text

    @KINDS
    @pytest.mark.parametrize("other", OTHERS)
    def test_the_job_of_another_task_is_left_alone_though_a_record_names_its_try(
        self, bench: Bench, what: str, other: dict[str, Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        record, job = recorded(bench, earlier(**other), what)
        Try(store=Store({RECORD_KEY: record.as_json()}), try_number=2).run(replace(CANCEL, confirm_seconds=3))
        assert asked(bench) == set()
        assert f"{job} is left alone" in caplog.text

    def test_a_label_on_record_that_was_made_up_finds_nothing_of_anothers(self, bench: Bench) -> None:
        theirs = earlier(task_id="other")
        label = replace(theirs.label, task=THIS.key.digest)
        record, _ = recorded(bench, theirs, "intent", label)
        Try(store=Store({RECORD_KEY: record.as_json()}), try_number=2).run(replace(CANCEL, confirm_seconds=3))
        assert asked(bench) == set()

    def test_a_task_that_was_cleared_has_the_job_of_its_last_try_cancelled(self, bench: Bench) -> None:
        record, job = recorded(bench, earlier(try_number=4), "job")
        store = Store({RECORD_KEY: record.as_json()})
        Try(store=store, try_number=5, max_tries=5).run(CANCEL)
        assert asked(bench) == {job.id}

    def test_a_job_without_a_label_is_left_alone_and_named(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        (job,) = bench.submit("job")
        store = Store({RECORD_KEY: TryRecord(uuid4(), jobs=(job,)).as_json()})
        Try(store=store, try_number=2).run(replace(CANCEL, confirm_seconds=3))
        assert asked(bench) == set()
        assert f"{job} is left alone" in caplog.text
        assert "its label does not show it to be of an earlier try of this task" in caplog.text

    def test_a_record_that_names_the_try_that_starts_now_leads_to_nothing(self, bench: Bench) -> None:
        ti = Try(try_number=2)
        (job,) = bench.submit("job")
        ti.store[RECORD_KEY] = TryRecord(
            ti.id, jobs=(job,), earlier=(TryRecord(ti.id, jobs=(job,)),)
        ).as_json()
        ti.run(replace(CANCEL, confirm_seconds=3))
        assert asked(bench) == set()

    def test_the_last_try_that_goes_on_with_jobs_cancels_those_of_its_own_task_alone(
        self, bench: Bench
    ) -> None:
        ours, own = recorded(bench, earlier(), "job")
        theirs, _ = recorded(bench, earlier(task_id="other"), "job")
        record = replace(ours, earlier=(theirs,)).as_json()
        Try(work=fail, store=Store({RECORD_KEY: record}), try_number=2).run(replace(KEEP, confirm_seconds=5))
        assert asked(bench) == {own.id}


class TestRecordedRequests:
    """The same rule for who reads a record elsewhere: triggers, callbacks, the API server."""

    def step(self, record: TryRecord) -> None:
        requests = cancel_requests(record, "why", LOG, THIS.key)
        cancel_over_connections(Access().service, requests, CANCEL.deployment, call_seconds=2).step()

    @KINDS
    def test_what_was_taken_over_from_an_earlier_try_of_the_task(self, bench: Bench, what: str) -> None:
        record, job = recorded(bench, earlier(), what)
        self.step(TryRecord(uuid4(), TryState.DEFERRED, earlier=(record,)))
        assert asked(bench) == {job.id}

    @KINDS
    @pytest.mark.parametrize("other", OTHERS)
    def test_not_what_another_task_has_started(self, bench: Bench, what: str, other: dict[str, Any]) -> None:
        record, _ = recorded(bench, earlier(**other), what)
        self.step(TryRecord(uuid4(), TryState.DEFERRED, earlier=(record,)))
        assert asked(bench) == set()


class TestWhose:
    """A submission of an earlier try stays that try's."""

    def test_through_reaching_it_the_sentinel_and_the_record(self, bench: Bench) -> None:
        owner, own = earlier(), uuid4()
        record, _ = recorded(bench, owner, "intent")
        ledger, sentinel = TryLedger(), TryLedger()
        ledger.apply(RecordInherited(TryRecord(own, earlier=(record,))))
        for event in reached(ledger, Access(), LOG):
            ledger.apply(event)
        clients: dict[str, Any] = {}
        for event in ledger.history():
            notes = list(notes_of(event, lambda client: clients.setdefault("one", client) and "one"))
            for note in notes:
                sentinel.apply(event_of(note, clients))
        for each in (ledger, sentinel):
            (taken,) = each.record(own, TryState.RUNNING).earlier
            assert taken.ti_id == owner.ti_id
            assert taken.intents == record.intents
            assert each.record(own, TryState.RUNNING).intents == ()

    def test_the_last_try_finds_its_job_by_its_label(self, bench: Bench) -> None:
        record, job = recorded(bench, earlier(), "intent")
        Try(work=fail, store=Store({RECORD_KEY: record.as_json()}), try_number=2).run(KEEP)
        assert asked(bench) == {job.id}


def test_a_job_that_the_service_has_forgotten_delays_a_try_that_was_cleared_by_seconds_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(inherited, "UNKNOWN_SECONDS", 3.0)
    record, living = recorded(bench, earlier(), "job")
    forgotten = bench.unknown(living.scope)
    store = Store({RECORD_KEY: replace(record, jobs=(forgotten, living)).as_json()})
    began = time.monotonic()
    Try(store=store, try_number=2).run(replace(CANCEL, confirm_seconds=60))
    assert time.monotonic() - began < 40
    assert asked(bench) == {living.id}
    assert f"{forgotten}: the service does not know this job over connection" in caplog.text
    assert f"{forgotten} was not cancelled and may still be running: " in caplog.text


@pytest.mark.parametrize("work", [lambda: None, fail], ids=["succeeds", "fails"])
def test_the_connection_of_many_jobs_from_before_a_deferral_is_opened_once(
    cloud: LocalCloud,  # noqa: ARG001
    work: Callable[[], None],
) -> None:
    """For each of hundreds of jobs it would take seconds, in which nothing is cancelled."""

    opened: list[threading.Thread] = []

    def see(_: Any) -> None:
        opened.append(threading.current_thread())

    jobs = [RemoteJob(f"batch://aws_default@us-east-1/{uuid4()}") for _ in range(4)]
    botocore.register_initializer(see)
    try:
        resumed(*jobs, work=work, try_number=2).run(replace(CANCEL, confirm_seconds=0.1))
    finally:
        botocore.unregister_initializer(see)
    assert opened.count(threading.main_thread()) == 1


@pytest.mark.usefixtures("connections")
def test_a_job_that_cannot_be_reached_is_not_said_to_be_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody has renamed its connection while the task was deferred. To read it again would not help."""
    lost = RemoteJob(f"batch://renamed@us-east-1/{uuid4()}")
    with caplog.at_level("INFO"):
        resumed(lost, work=fail).run(CANCEL)
    assert caplog.text.count(f"{lost} can't be reached and may run on: ") == 1
    assert "cancelling" not in caplog.text


def test_a_connection_that_can_not_be_read_for_a_moment_is_read_again(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secrets backend that is away when a resumed task fails; Airflow asks it once."""
    bench, read, failed = BatchBench(cloud), client_of, list[RemoteJob]()

    def first_fails(pool: Any, job: RemoteJob) -> Any:
        if not failed:
            failed.append(job)
            raise AirflowUnavailable("Connection 'aws_default' could not be looked up.")
        return read(pool, job)

    monkeypatch.setattr(inherited, "client_of", first_fails)
    bench.local.configure({"cancel": 0.1})
    (job,) = bench.running()
    resumed(job, work=fail).run(CANCEL)
    assert failed == [job]
    assert asked(bench) == {job.id}
