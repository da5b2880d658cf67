"""When the API server sees to marked tasks: in one thread, after a head start, whatever fails."""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from typing import Any

import pytest

from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.plugin import api_server as marked
from airflow_cancel_provider.plugin import marked_tries
from airflow_cancel_provider.plugin.due_queue import DueQueue
from tests import memory_service
from tests.guard_fixtures import until
from tests.mark_fixtures import NAME, XComs, deferred, memory, sent, threads, xcoms
from tests.memory_service import Memory
from tests.task_fixtures import TaskInstance

__all__ = ["memory", "xcoms"]


def test_three_thousand_marks_are_one_thread_and_few_calls(xcoms: XComs, memory: Memory) -> None:
    tis = [TaskInstance(map_index=index) for index in range(3000)]
    jobs = memory.jobs(*(f"j{ti.map_index}" for ti in tis))
    xcoms.put(*((ti, deferred(ti, job)) for ti, job in zip(tis, jobs, strict=True)))
    before, began = threading.active_count(), threads()
    for ti in tis:
        marked.cancel_when_marked(ti)
    # What an earlier test has begun goes on in this queue, and may have started its thread before.
    assert threads() <= began + 1
    assert threading.active_count() <= before + 1 + marked.ROUNDS_AT_ONCE
    until(lambda: len(memory.sent) >= 3000, 120)
    assert sent(memory) == {job.id for job in jobs}
    assert threads() <= began + 1
    assert len(memory.polls) < 200
    for job in jobs:
        memory.states[job.id] = JobState.CANCELLED
    until(lambda: not marked._queue._heap, 60)
    assert len(memory.sent) == 3000


def test_marks_that_come_one_after_the_other_are_cancelled_together(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cancel that is under way polls by itself, and calls take the quota of a triggerer."""
    monkeypatch.setattr(marked, "TOGETHER", 0.5)
    engine, begun = marked._engine, list[int]()

    def note(requests: Any) -> Any:
        begun.append(len(requests))
        return engine(requests)

    monkeypatch.setattr(marked, "_engine", note)
    tis = [TaskInstance(map_index=index) for index in range(60)]
    xcoms.put(*((ti, deferred(ti, memory.job(f"j{ti.map_index}"))) for ti in tis))
    first = time.monotonic()
    for ti in tis:
        marked.cancel_when_marked(ti)
        time.sleep(0.02)
    seconds = time.monotonic() - first
    until(lambda: sum(begun) >= len(tis))
    assert sum(begun) == len(tis)
    assert len(begun) <= seconds / marked.TOGETHER + 2


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
    wanted = [marked.HEAD_START] * marked.FEW + [10.0] * (500 - marked.FEW)
    assert delays == pytest.approx(wanted, abs=marked.TOGETHER)


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
    assert (memory.polls, memory.sent) == ([], [])
    monkeypatch.setattr(marked, "HEAD_START", 0.1)
    marked.cancel_when_marked(other)
    until(lambda: memory.sent)
    assert memory.sent == [("b", False)]


def test_a_preparation_that_fails_changes_nothing(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marked, "_is_prepared", False)
    read, failures = marked_tries.record_rows, [ConnectionError("The database is away")]

    def rows(marks: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(marks)

    monkeypatch.setattr(marked_tries, "record_rows", rows)
    ti = TaskInstance()
    xcoms.put((ti, deferred(ti, memory.job("a"))))
    marked.cancel_when_marked(ti)
    until(lambda: memory.sent)
    assert (failures, memory.sent) == ([], [("a", False)])


def test_an_error_ends_neither_the_thread_nor_the_others(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    late, ti = TaskInstance(run_id="late"), TaskInstance()
    xcoms.put((ti, deferred(ti, memory.job("a"))), (late, deferred(late, memory.job("c"))))
    read, is_down = marked_tries.record_rows, [True]

    def rows(marks: Any) -> Any:
        if marks[0].task.run_id == "late" and is_down:
            raise ConnectionError("The database is away")
        return read(marks)

    monkeypatch.setattr(marked_tries, "record_rows", rows)
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


def _was_sent(memory: Memory, id: str) -> bool:
    return id in sent(memory)


def test_a_request_without_an_answer_holds_up_no_other_task(xcoms: XComs, memory: Memory) -> None:
    held = ["a", *(f"a{number}" for number in range(5))]
    memory.held |= {name: threading.Event() for name in held}
    for name in held:  # each in a round of its own
        ti = TaskInstance(task_id=name)
        xcoms.put((ti, deferred(ti, memory.job(name))))
        marked.cancel_when_marked(ti)
        until(partial(_was_sent, memory, name))
    other = TaskInstance(task_id="other")
    xcoms.put((other, deferred(other, memory.job("b"))))
    marked.cancel_when_marked(other)
    until(lambda: "b" in sent(memory))
    memory.states["b"] = JobState.CANCELLED
    until(lambda: xcoms.ends(other))
    for event in memory.held.values():
        event.set()
    memory.states |= dict.fromkeys(held, JobState.CANCELLED)
    until(lambda: not marked._queue._heap and not marked._under_way)


def test_a_connection_that_takes_long_to_open_holds_up_no_other_task(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a role, and who gives its credentials does not answer."""
    monkeypatch.setattr(marked, "_is_prepared", False)
    memory.held["slow"] = threading.Event()
    memory.states["a"] = JobState.RUNNING
    slow, other = TaskInstance(task_id="slow"), TaskInstance(task_id="other")
    job = RemoteJob.of("memory", "a", scope="place", conn_id="slow")
    xcoms.put((slow, deferred(slow, job)), (other, deferred(other, memory.job("b"))))
    for ti in (slow, other):
        marked.cancel_when_marked(ti)
    until(lambda: sent(memory) == {"b"})
    memory.held["slow"].set()
    until(lambda: sent(memory) == {"a", "b"})


def test_only_so_many_cancels_are_under_way(
    xcoms: XComs, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marked, "ROUNDS_AT_ONCE", 1)
    monkeypatch.setattr(marked, "BUSY_PAUSE", 0.05)
    memory.held["a"] = threading.Event()
    tis = [TaskInstance(task_id=name) for name in "ab"]
    xcoms.put(*((ti, deferred(ti, memory.job(ti.task_id))) for ti in tis))
    marked.cancel_when_marked(tis[0])
    until(lambda: sent(memory) == {"a"})
    marked.cancel_when_marked(tis[1])
    time.sleep(1)
    assert sent(memory) == {"a"}
    memory.held["a"].set()
    until(lambda: sent(memory) == {"a", "b"})


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


def test_work_that_fails_takes_nothing_from_what_is_due_with_it(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []
    marked._do([lambda: 1 / 0, lambda: done.append("other")])  # type: ignore[list-item]
    assert done == ["other"]
    assert "Work that was due has failed" in caplog.text


def test_due_work_is_done_in_its_time_and_together() -> None:
    done: list[list[str]] = []
    queue = DueQueue(lambda due: done.append([*due]), "due")
    queue.put("late", 0.6)
    queue.put("soon", 0.2)
    queue.put("also", 0.2)
    assert done == []
    until(lambda: len(done) >= 2)
    assert [each for due in done for each in due] == ["soon", "also", "late"]
