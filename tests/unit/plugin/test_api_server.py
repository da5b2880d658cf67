"""What the API server does when tasks are marked: real XCom rows in SQLite, real clients, one thread."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from airflow_cancel_provider.ends_on_record import ENDS_KEY, ends_from_json
from airflow_cancel_provider.exceptions import ServiceUnavailable
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, TaskKey, deployment_of, release_key
from airflow_cancel_provider.plugin import api_server as marked
from airflow_cancel_provider.plugin import listener
from airflow_cancel_provider.plugin.due_queue import DueQueue
from airflow_cancel_provider.reaper.backends.database import as_ids
from airflow_cancel_provider.record import RECORD_KEY, Actor, JobEnd, StoredIntent, TryRecord, TryState
from airflow_cancel_provider.services.registry import SERVICES
from tests import memory_service
from tests.guard_fixtures import until
from tests.memory_service import Memory, MemoryHook
from tests.task_fixtures import TaskInstance

NAME = "remote-jobs-marked"


class XComs:
    """Airflow's table of XComs."""

    def __init__(self, folder: Any) -> None:
        from airflow.models import import_all_models
        from airflow.models.log import Log
        from airflow.models.taskinstance import TaskInstance as Current
        from airflow.models.taskinstancehistory import TaskInstanceHistory
        from airflow.models.variable import Variable
        from airflow.models.xcom import XComModel

        import_all_models()  # type: ignore[no-untyped-call]  # which refer to each other
        self.engine = create_engine(f"sqlite:///{folder / 'airflow.db'}")
        self._table: Any = XComModel.__table__
        self._table.create(self.engine)
        self._variables: Any = Variable.__table__
        self._variables.create(self.engine)
        self.events: Any = Log.__table__
        self.events.create(self.engine)
        self._current: Any = Current.__table__
        self._current.create(self.engine)
        self._history: Any = TaskInstanceHistory.__table__
        self._history.create(self.engine)
        self._runs: dict[tuple[str, str], int] = {}

    def put(self, *rows: tuple[TaskInstance, Any]) -> None:
        values = [
            {
                "dag_run_id": self._runs.setdefault((ti.dag_id, ti.run_id), len(self._runs) + 1),
                "key": RECORD_KEY,
                "value": value.as_json() if isinstance(value, TryRecord) else value,
                "timestamp": datetime(2026, 11, 20, 12, tzinfo=UTC),
                "dag_id": ti.dag_id,
                "run_id": ti.run_id,
                "task_id": ti.task_id,
                "map_index": ti.map_index,
            }
            for ti, value in rows
        ]
        with self.engine.begin() as connection:
            connection.execute(self._table.insert(), values)

    def ends(self, ti: TaskInstance) -> dict[RemoteJob, JobEnd]:
        """Ends of jobs that others than the task have written."""
        columns = self._table.c
        query = self._table.select().where(columns.key == ENDS_KEY, columns.map_index == ti.map_index)
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
            return ends_from_json(row.value) if row else {}

    def tries(self, ti: TaskInstance, before: UUID, state: str = "failed") -> None:
        """A task instance in the state that it has, and how the try before it has ended."""
        names = {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
        now, then = as_ids([ti.id, before])
        with self.engine.begin() as connection:
            rest = {**names, "pool": "default_pool", "try_number": 1}
            connection.execute(self._current.insert(), [{"id": now, "state": ti.state, **rest}])
            connection.execute(self._history.insert(), [{"task_instance_id": then, "state": state, **rest}])

    def release(self, ti_id: UUID, value: str) -> None:
        with self.engine.begin() as connection:
            row = {"key": release_key(ti_id), "val": value, "is_encrypted": False}
            connection.execute(self._variables.insert(), [row])


@pytest.fixture
def xcoms(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[XComs]:
    from airflow import settings

    xcoms = XComs(tmp_path)
    monkeypatch.setattr(settings, "Session", sessionmaker(xcoms.engine))
    yield xcoms
    xcoms.engine.dispose()


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A service in memory; the API server is in haste, and has a queue of its own."""
    monkeypatch.setitem(SERVICES, "memory", memory_service.ROW)
    monkeypatch.setattr(MemoryHook, "memory", Memory())
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "production")
    seconds = {"HEAD_START": 0.3, "LONG_HEAD_START": 0.3, "FIRST_PAUSE": 0.05, "LONGEST_PAUSE": 0.1}
    for name, value in seconds.items():
        monkeypatch.setattr(marked, name, value)
    monkeypatch.setattr(marked, "_is_prepared", True)
    monkeypatch.setattr(marked, "_queue", DueQueue(marked._do, NAME))
    return MemoryHook.memory


def deferred(ti: TaskInstance, *jobs: RemoteJob, state: TryState = TryState.DEFERRED) -> TryRecord:
    return TryRecord(ti.id, state, jobs)


def threads() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def sent(memory: Memory) -> set[str]:
    return {job for job, _ in memory.sent}


def test_three_thousand_marks_are_one_thread_and_few_calls(xcoms: XComs, memory: Memory) -> None:
    tis = [TaskInstance(map_index=index) for index in range(3000)]
    jobs = memory.jobs(*(f"j{ti.map_index}" for ti in tis))
    xcoms.put(*((ti, deferred(ti, job)) for ti, job in zip(tis, jobs, strict=True)))
    before, began = threading.active_count(), threads()
    for ti in tis:
        marked.cancel_when_marked(ti)
    assert threads() == began + 1
    assert threading.active_count() <= before + 1 + marked.LINES_AT_ONCE
    until(lambda: len(memory.sent) >= 3000, 120)
    assert sent(memory) == {job.id for job in jobs}
    assert threads() == began + 1
    assert len(memory.looks) < 200
    for job in jobs:
        memory.states[job.id] = JobState.CANCELLED
    until(lambda: not marked._queue._heap, 60)
    assert len(memory.sent) == 3000


@pytest.mark.usefixtures("memory")
def test_a_triggerer_gets_more_time_for_many_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    delays: list[float] = []

    class Queue(DueQueue):
        def put(self, what: Any, delay: float) -> None:
            delays.append(delay)
            self._heap.append((delay, len(delays), what))

    monkeypatch.setattr(marked, "_queue", Queue(marked._do, NAME))
    monkeypatch.setattr(marked, "LONG_HEAD_START", 10.0)
    for index in range(500):
        marked.cancel_when_marked(TaskInstance(map_index=index))
    assert delays == [marked.HEAD_START] * marked.FEW + [10.0] * (500 - marked.FEW)


def test_the_first_cancel_is_prepared_while_a_triggerer_has_its_head_start(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine the imports and the first client take longer than the head start."""
    monkeypatch.setattr(marked, "_is_prepared", False)
    monkeypatch.setattr(marked, "HEAD_START", 1000.0)
    ti, other = TaskInstance(), TaskInstance(task_id="other")
    xcoms.put((ti, deferred(ti, memory.job("a"))), (other, deferred(other, memory.job("b"))))
    marked.cancel_when_marked(ti)
    until(lambda: memory.opened)
    assert (memory.looks, memory.sent) == ([], [])
    monkeypatch.setattr(marked, "HEAD_START", 0.1)
    marked.cancel_when_marked(other)
    until(lambda: memory.sent)
    assert memory.sent == [("b", False)]


def test_a_task_that_was_marked_while_it_ran_and_defers_before_it_is_told_to_end(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow refuses the deferral; no trigger has the jobs, and the process has left them to one."""
    monkeypatch.setattr(marked, "LONG_HEAD_START", 1.0)
    ti = TaskInstance()
    looks, read = list[int](), marked._rows

    def rows(marks: Any) -> Any:
        found = read(marks)
        looks.append(len(found))
        return found

    monkeypatch.setattr(marked, "_rows", rows)
    marked.cancel_when_marked(ti)
    until(lambda: looks)
    xcoms.put((ti, deferred(ti, memory.job("a"))))
    until(lambda: memory.sent)
    assert memory.sent == [("a", False)]
    assert looks == [0, 1]


def test_a_preparation_that_fails_changes_nothing(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marked, "_is_prepared", False)
    read, failures = marked._rows, [ConnectionError("The database is away")]

    def rows(marks: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(marks)

    monkeypatch.setattr(marked, "_rows", rows)
    ti = TaskInstance()
    xcoms.put((ti, deferred(ti, memory.job("a"))))
    marked.cancel_when_marked(ti)
    until(lambda: memory.sent)
    assert (failures, memory.sent) == ([], [("a", False)])


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
    assert "ended" not in [job for looks in memory.looks for job in looks]
    assert (found.state, found.by) == (JobState.CANCELLED, "api-server")
    assert found.reason == f"Task was marked {state} while it waited for its next try"


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
    until(lambda: len(memory.looks) > 3)
    assert "It is away." in caplog.text
    assert f"{job}: the service does not know this job over the process's own credentials" in caplog.text
    assert memory.sent == []
    memory.states["a"] = JobState.RUNNING
    until(lambda: memory.sent)


def test_an_error_ends_neither_the_thread_nor_the_others(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    late, ti = TaskInstance(run_id="late"), TaskInstance()
    xcoms.put((ti, deferred(ti, memory.job("a"))), (late, deferred(late, memory.job("c"))))
    read, is_down = marked._rows, [True]

    def rows(marks: Any) -> Any:
        if marks[0].task.run_id == "late" and is_down:
            raise ConnectionError("The database is away")
        return read(marks)

    monkeypatch.setattr(marked, "_rows", rows)
    marked.cancel_when_marked(late)
    marked.cancel_when_marked(ti)
    until(lambda: memory.sent)
    words = "Remote jobs may run on, and it is tried again: nightly / late / stop"
    assert words in caplog.text
    assert memory.sent == [("a", False)]
    is_down.clear()
    until(lambda: sent(memory) == {"a", "c"})
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY", "nonsense")  # settings that can't be read
    marked.cancel_when_marked(ti)
    until(lambda: "Remote jobs of marked tasks may run on: nightly / manual__2026 / stop" in caplog.text)
    monkeypatch.delenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY")
    again = TaskInstance(task_id="again")
    xcoms.put((again, deferred(again, memory.job("b"))))
    marked.cancel_when_marked(again)
    until(lambda: sent(memory) == {"a", "b", "c"})


def test_an_unexpected_error_in_a_cancel_ends_neither_it_nor_the_others(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cancel, failures = memory_service.MemoryService.cancel, [RuntimeError("can't start new thread")]

    def fail_once(self: Any, jobs: Any, *args: Any, **kwargs: Any) -> Any:
        jobs = list(jobs)
        if failures and any(job.id == "a" for job in jobs):
            raise failures.pop()
        return cancel(self, jobs, *args, **kwargs)

    monkeypatch.setattr(memory_service.MemoryService, "cancel", fail_once)
    memory.job("b")
    other = RemoteJob.of("memory", "b", scope="place", conn_id="other")
    first, second = TaskInstance(), TaskInstance(task_id="second")
    xcoms.put((first, deferred(first, memory.job("a"))), (second, deferred(second, other)))
    marked.cancel_when_marked(first)
    marked.cancel_when_marked(second)
    until(lambda: sent(memory) == {"a", "b"})
    assert "can't start new thread" in caplog.text


def test_a_forked_process_has_a_thread_of_its_own(xcoms: XComs, memory: Memory) -> None:
    ti = TaskInstance()
    xcoms.put((ti, deferred(ti, memory.job("a"))))
    marked.cancel_when_marked(ti)
    until(lambda: memory.sent)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        is_empty = not marked._queue._heap and marked._queue._thread is None
        done = threading.Event()
        queue = DueQueue(lambda _: done.set(), "child")
        queue.put("anything", 0.0)
        os.write(write, b"1" if is_empty and done.wait(10) else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 1) == b"1"


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


def test_due_work_is_done_in_its_time_and_together() -> None:
    done: list[list[str]] = []
    queue = DueQueue(lambda due: done.append([*due]), "due")
    queue.put("late", 0.6)
    queue.put("soon", 0.2)
    queue.put("also", 0.2)
    assert done == []
    until(lambda: len(done) >= 2)
    assert [each for due in done for each in due] == ["soon", "also", "late"]
