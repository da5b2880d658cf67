"""What the API server does when tasks are marked: real XCom rows in SQLite, real clients, one thread."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from airflow_cancel_provider.exceptions import ServiceUnavailable
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, TaskKey, deployment_of
from airflow_cancel_provider.plugin import api_server as marked
from airflow_cancel_provider.plugin import listener, marked_tries
from airflow_cancel_provider.record import Actor, JobEnd, StoredIntent, TryRecord, TryState
from tests.guard_fixtures import until
from tests.mark_fixtures import XComs, deferred, memory, xcoms
from tests.memory_service import Memory
from tests.task_fixtures import TaskInstance

__all__ = ["memory", "xcoms"]


def test_a_task_that_was_marked_while_it_ran_and_defers_before_it_is_told_to_end(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow refuses the deferral; no trigger has the jobs, and the process has left them to one."""
    ti = TaskInstance()
    read_rows, read = list[int](), marked_tries.record_rows

    def rows(marks: Any) -> Any:
        found = read(marks)
        if not read_rows:
            xcoms.put((ti, deferred(ti, memory.job("a"))))
        read_rows.append(len(found))
        return found

    monkeypatch.setattr(marked_tries, "record_rows", rows)
    marked.cancel_when_marked(ti)
    until(lambda: memory.sent)
    assert memory.sent == [("a", False)]
    assert read_rows == [0, 1]


def test_airflows_event_log_tells_of_each_task_what_became_of_its_jobs(xcoms: XComs, memory: Memory) -> None:
    # A run of its own: what an earlier test has begun may end only now.
    tis = [TaskInstance(run_id="told", map_index=index) for index in range(2)]
    jobs = memory.jobs("first", "second")
    xcoms.put(*((ti, deferred(ti, job)) for ti, job in zip(tis, jobs, strict=True)))
    for ti in tis:
        ti.state = "failed"
        marked.cancel_when_marked(ti)
    until(lambda: len(memory.sent) == 2)
    for job in jobs:
        memory.states[job.id] = JobState.CANCELLED

    def entries() -> list[Any]:
        with xcoms.engine.connect() as connection:
            columns = xcoms.events.c
            query = xcoms.events.select().where(columns.run_id == "told").order_by(columns.map_index)
            return list(connection.execute(query))

    until(lambda: len(entries()) == 2, 60)
    for ti, job, entry in zip(tis, jobs, entries(), strict=True):
        assert entry.event == "cancel_remote_job_finished"
        assert (entry.dag_id, entry.run_id) == (ti.dag_id, ti.run_id)
        assert (entry.task_id, entry.map_index) == (ti.task_id, ti.map_index)
        extra = json.loads(entry.extra)
        assert (extra["job"], extra["end"]) == (job, "CANCELLED")
        assert extra["why"] == "Task was marked failed while it was deferred"
        end = xcoms.ends(ti)[job]
        assert (end.state, end.by, end.reason) == (JobState.CANCELLED, "api-server", extra["why"])


def test_a_job_that_ends_soon_is_on_record_before_a_slow_one_that_is_cancelled_with_it(
    xcoms: XComs, memory: Memory
) -> None:
    ti = TaskInstance(run_id="two paces")
    jobs = memory.jobs("soon", "late")
    xcoms.put((ti, deferred(ti, *jobs)))
    marked.cancel_when_marked(ti)
    until(lambda: len(memory.sent) == 2)

    def told() -> list[str]:
        with xcoms.engine.connect() as connection:
            query = xcoms.events.select().where(xcoms.events.c.run_id == "two paces")
            return [json.loads(entry.extra)["job"] for entry in connection.execute(query)]

    for number, job in enumerate(jobs, start=1):
        memory.states[job.id] = JobState.CANCELLED
        until(lambda: len(xcoms.ends(ti)) == number, 10)  # noqa: B023
        assert told() == jobs[:number]


def test_thousands_of_jobs_of_a_task_have_an_entry_each(xcoms: XComs, memory: Memory) -> None:
    """MySQL takes 65,535 bytes an entry, and would refuse all others with it."""
    ti = TaskInstance(run_id="wide")
    jobs = memory.jobs(*(f"{number:064}" for number in range(2000)))
    xcoms.put((ti, deferred(ti, *jobs)))
    marked.cancel_when_marked(ti)
    until(lambda: len(memory.sent) == len(jobs))
    memory.states |= dict.fromkeys(memory.states, JobState.CANCELLED)

    def extras() -> list[str]:
        with xcoms.engine.connect() as connection:
            query = xcoms.events.select().where(xcoms.events.c.run_id == "wide")
            return [entry.extra for entry in connection.execute(query)]

    entries = until(extras, 60)
    assert {json.loads(extra)["job"] for extra in entries} == set(jobs)
    assert max(len(extra.encode()) for extra in entries) < 65_535


def test_only_the_mapped_task_and_the_try_that_was_marked(xcoms: XComs, memory: Memory) -> None:
    ti = TaskInstance(map_index=1)
    neighbours = [
        replace(ti, map_index=0, id=uuid4()),
        replace(ti, run_id="another", id=uuid4()),
        replace(ti, dag_id="another", id=uuid4()),
        replace(ti, task_id="another", id=uuid4()),
    ]
    own, *others = memory.jobs("own", "b", "c", "d", "e")
    xcoms.put((ti, deferred(ti, own)))
    xcoms.put(*((other, deferred(other, job)) for other, job in zip(neighbours, others, strict=True)))
    later = TaskInstance(task_id="cleared")
    xcoms.put((later, deferred(replace(later, id=uuid4()), *memory.jobs("of_the_next_try"))))
    marked.cancel_when_marked(later)
    marked.cancel_when_marked(ti)
    until(lambda: memory.sent)
    time.sleep(0.5)
    assert memory.sent == [("own", False)]


@pytest.mark.parametrize("state", [TryState.RUNNING, TryState.RETURNED])
def test_what_its_own_process_sees_to_or_nobody_is_left(
    xcoms: XComs, memory: Memory, state: TryState
) -> None:
    ti, other = TaskInstance(), TaskInstance(task_id="deferred")
    xcoms.put((ti, deferred(ti, *memory.jobs("a"), state=state)), (other, deferred(other, memory.job("b"))))
    marked.cancel_when_marked(ti)
    marked.cancel_when_marked(other)
    until(lambda: memory.sent)
    assert memory.sent == [("b", False)]


def kept(memory: Memory, ti: TaskInstance, id: str, before: UUID) -> RemoteJob:
    """A job that a task's next try would take over."""
    memory.labels[id] = Label(deployment_of("production"), before, True, task=TaskKey.of(ti).digest)
    return memory.job(id)


@pytest.mark.parametrize("state", ["failed", "success", "skipped"])
def test_what_waits_for_the_next_try_is_cancelled(xcoms: XComs, memory: Memory, state: str) -> None:
    """As with ``durable=True``: no process of the task lives, and no trigger."""
    ti, before = TaskInstance(run_id=f"{state} between tries", map_index=2, state=state), uuid4()
    job, ended = kept(memory, ti, "a", before), memory.job("ended")
    end = JobEnd(JobState.SUCCEEDED, Actor.SERVICE, "", 1.0)
    xcoms.put((ti, TryRecord(before, jobs=(job, ended), ends={ended: end})))
    xcoms.tries(ti, before)
    marked.cancel_when_marked(ti)
    until(lambda: memory.sent)
    assert memory.sent == [("a", False)]
    memory.states["a"] = JobState.CANCELLED
    (found,) = until(lambda: xcoms.ends(ti)).values()
    assert "ended" not in [job for polls in memory.polls for job in polls]
    assert (found.state, found.by) == (JobState.CANCELLED, "api-server")
    assert found.reason == f"Task was marked {state} while it waited for its next try"


RUN_MARKED = "Dag Run's state was manually set to `failed`."


@pytest.mark.parametrize("own", [False, True], ids=["waits for its next try", "waits to be resumed"])
def test_what_a_marked_run_skips_is_cancelled(xcoms: XComs, memory: Memory, own: bool) -> None:
    """Airflow tells listeners of the run, and of tasks that were running or deferred alone."""
    ti, before = TaskInstance(run_id=f"run of {own}", map_index=3, state="skipped"), uuid4()
    job = memory.job("a") if own else kept(memory, ti, "a", before)
    xcoms.put((ti, deferred(ti, job) if own else TryRecord(before, jobs=(job,))))
    xcoms.tries(ti, before)
    run: Any = SimpleNamespace(dag_id=ti.dag_id, run_id=ti.run_id)
    listener.on_dag_run_failed(run, "task_failure")
    listener.on_dag_run_success(run, "")
    # What earlier tests have begun may be in the queue, too.
    assert not any(isinstance(due[2], marked_tries.MarkedRun) for due in marked._queue._heap)
    listener.on_dag_run_failed(run, RUN_MARKED)
    until(lambda: memory.sent)
    memory.states["a"] = JobState.CANCELLED
    (found,) = until(lambda: xcoms.ends(ti)).values()
    waits = "was deferred" if own else "waited for its next try"
    assert found.reason == f"Dag run was marked failed while its task {waits}"


@pytest.mark.parametrize("of", ["task", "run"])
def test_records_are_read_again_after_an_error_of_the_database(
    xcoms: XComs, memory: Memory, caplog: pytest.LogCaptureFixture, of: str
) -> None:
    ti = TaskInstance(run_id=f"database of {of}", state="skipped")
    xcoms.put((ti, deferred(ti, memory.job("a"))))
    xcoms.tries(ti, uuid4())
    with xcoms.away():
        if of == "run":
            run: Any = SimpleNamespace(dag_id=ti.dag_id, run_id=ti.run_id)
            listener.on_dag_run_failed(run, RUN_MARKED)
        else:
            marked.cancel_when_marked(ti)
        until(lambda: "Records could not be read: " in caplog.text)
    until(lambda: memory.sent)
    assert "Remote jobs may run on, and it is tried again: " in caplog.text


@pytest.mark.parametrize("why", ["another run", "long ago", "failed"])
def test_what_was_not_skipped_with_the_run_is_left(xcoms: XComs, memory: Memory, why: str) -> None:
    ti, other = TaskInstance(state="failed" if why == "failed" else "skipped"), TaskInstance(task_id="other")
    at = datetime(2026, 11, 20, 12, tzinfo=UTC) if why == "long ago" else None
    xcoms.put((ti, deferred(ti, memory.job("a"))), (other, deferred(other, memory.job("b"))))
    xcoms.tries(ti, uuid4(), at=at)
    name = "another" if why == "another run" else ti.run_id
    listener.on_dag_run_failed(SimpleNamespace(dag_id=ti.dag_id, run_id=name), RUN_MARKED)
    marked.cancel_when_marked(other)
    until(lambda: memory.sent)
    time.sleep(0.5)
    assert memory.sent == [("b", False)]


@pytest.mark.parametrize(
    "why", ["cleared", "succeeded", "returned", "released", "another task", "unlabelled"]
)
def test_what_may_not_wait_for_the_marked_try_is_left(xcoms: XComs, memory: Memory, why: str) -> None:
    ti, before, other = TaskInstance(state="failed"), uuid4(), TaskInstance(task_id="other", state="failed")
    job = kept(memory, other if why == "another task" else ti, "a", before)
    memory.labels = {} if why == "unlabelled" else memory.labels
    state = TryState.RETURNED if why == "returned" else TryState.RUNNING
    xcoms.put((ti, TryRecord(before, state, (job,))), (other, deferred(other, memory.job("b"))))
    now = replace(ti, id=uuid4(), state=None) if why == "cleared" else ti
    xcoms.tries(now, before, "success" if why == "succeeded" else "failed")
    if why == "released":
        xcoms.release(before, '{"all": false, "jobs": ["memory:///place/a"]}')
    marked.cancel_when_marked(ti)
    marked.cancel_when_marked(other)
    until(lambda: memory.sent)
    time.sleep(0.5)
    assert memory.sent == [("b", False)]


def test_anothers_jobs_on_record_and_what_is_no_record_are_left(
    xcoms: XComs, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    ti, broken, unreadable = TaskInstance(), TaskInstance(task_id="broken"), TaskInstance(task_id="class")
    not_allowed = json.dumps({"__classname__": "not.Allowed", "__version__": 1, "__data__": 1})
    own, other_try, other_airflow = memory.jobs("a", "b", "c")
    name = deployment_of("production")
    memory.labels = {"a": Label(name, ti.id), "b": Label(name, uuid4()), "c": Label("another0", ti.id)}
    xcoms.put((ti, deferred(ti, other_try, own, other_airflow)), (broken, ["memory:///place/a"]))
    xcoms.put((unreadable, not_allowed))
    marked.cancel_when_marked(broken)
    marked.cancel_when_marked(unreadable)
    marked.cancel_when_marked(ti)
    until(lambda: memory.sent)
    assert memory.sent == [("a", False)]
    memory.states["a"] = JobState.CANCELLED
    entries: list[Any] = []

    def are_told() -> bool:
        with xcoms.engine.connect() as connection:
            entries[:] = connection.execute(xcoms.events.select())
        return bool(entries)

    until(are_told, 60)
    assert [json.loads(entry.extra)["job"] for entry in entries] == [own]
    assert f"{other_try} is left alone: its label names another try" in caplog.text
    assert "XCom remote_jobs of nightly / manual__2026 / broken is ignored" in caplog.text


@pytest.mark.parametrize("is_earlier", [False, True])
def test_what_the_try_has_released_lives_though_it_is_searched_by_its_label(
    xcoms: XComs, memory: Memory, is_earlier: bool
) -> None:
    ti, first = TaskInstance(), uuid4()
    ti_id = first if is_earlier else ti.id
    label = Label(deployment_of("production"), ti_id, task=TaskKey.of(ti).digest)
    memory.claims = [JobStatus(job, JobState.RUNNING, label=label) for job in memory.jobs("released", "own")]
    memory.labels = {"released": label, "own": label}
    lost = (StoredIntent("memory", None, None, "place", label, 1.0),)
    record = deferred(ti)
    record = (
        replace(record, earlier=(TryRecord(first, intents=lost),))
        if is_earlier
        else replace(record, intents=lost)
    )
    xcoms.put((ti, record))
    xcoms.release(ti_id, '{"all": false, "jobs": ["memory:///place/released"]}')
    marked.cancel_when_marked(ti)
    until(lambda: memory.sent)
    time.sleep(0.5)
    assert memory.sent == [("own", False)]


@pytest.mark.parametrize("value", ['{"all": true, "jobs": []}', "what no guard writes"])
def test_all_of_a_try_live_where_its_release_may_mean_all(
    xcoms: XComs, memory: Memory, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    ti, other = TaskInstance(), TaskInstance(task_id="other")
    xcoms.put((ti, deferred(ti, memory.job("a"))), (other, deferred(other, memory.job("b"))))
    xcoms.release(ti.id, value)
    marked.cancel_when_marked(ti)
    marked.cancel_when_marked(other)
    until(lambda: memory.sent)
    time.sleep(0.5)
    assert memory.sent == [("b", False)]
    assert f"Jobs of try {ti.id} are left alone: " in caplog.text


def test_what_was_not_answered_or_not_known_is_asked_again(
    xcoms: XComs, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    ti = TaskInstance()
    job = memory.job("a", JobState.GONE)
    xcoms.put((ti, deferred(ti, job)))
    memory.errors += [ServiceUnavailable("It is away.")]
    marked.cancel_when_marked(ti)
    until(lambda: len(memory.polls) > 3)
    assert "It is away." in caplog.text
    assert f"{job}: the service does not know this job over the process's own credentials" in caplog.text
    assert memory.sent == []
    memory.states["a"] = JobState.RUNNING
    until(lambda: memory.sent)


@pytest.mark.parametrize(
    "tell",
    [listener.on_task_instance_success, listener.on_task_instance_failed, listener.on_task_instance_skipped],
)
def test_whatever_a_person_marks_it_as(xcoms: XComs, memory: Memory, tell: Any) -> None:
    ti, own_word = TaskInstance(), TaskInstance(task_id="own_word")
    xcoms.put((ti, deferred(ti, memory.job("a"))), (own_word, deferred(own_word, memory.job("b"))))
    tell("running", own_word)  # the task's own process reports
    tell(None, ti)
    until(lambda: memory.sent)
    time.sleep(0.5)
    assert memory.sent == [("a", False)]
