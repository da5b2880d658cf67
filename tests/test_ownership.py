"""Whether a deferred task is dead, and what its trigger does to its jobs then."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_cancel_provider.cancelling import Watch
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.guard.deferred import GuardTrigger
from airflow_cancel_provider.hooks.access import HOOKS, Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.plugin import marked
from airflow_cancel_provider.triggers import killing
from airflow_cancel_provider.triggers.killing import cancel_if_dead
from airflow_cancel_provider.triggers.ownership import USER_ACTION, is_dead, undisturbed
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from tests import memory_service
from tests.memory_service import Memory, MemoryHook
from tests.task_fixtures import TaskInstance

LOG = logging.getLogger(__name__)
OURS, ANOTHERS = "ours", "another's"


class Answers:
    """Stands in for the two calls to Airflow: states one after the other, the last for ever, and a marker.

    For a state "down" it does not answer.
    """

    def __init__(self, ti: TaskInstance, marker: str | None, *states: str | None) -> None:
        self.ti, self.states, self.asked = ti, list(states), 0
        self.marker = marker.replace(OURS, str(ti.id)) if marker else marker

    def get_task_states(
        self, dag_id: str, task_ids: list[str], run_ids: list[str], map_index: int
    ) -> dict[str, dict[str, Any]]:
        assert (dag_id, task_ids, run_ids, map_index) == (
            self.ti.dag_id,
            [self.ti.task_id],
            [self.ti.run_id],
            self.ti.map_index,
        )
        self.asked += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "down":
            raise RuntimeError("The database is away")
        name = self.ti.task_id if self.ti.map_index < 0 else f"{self.ti.task_id}_{self.ti.map_index}"
        return {} if state == "removed" else {self.ti.run_id: {name: state}}

    def get_one(self, *, key: str, dag_id: str, task_id: str, run_id: str, map_index: int) -> str | None:
        assert (key, dag_id, task_id) == ("remote_jobs_owner", self.ti.dag_id, self.ti.task_id)
        return self.marker


def answered(
    monkeypatch: pytest.MonkeyPatch, marker: str | None, *states: str | None, map_index: int = -1
) -> Answers:
    answers = Answers(TaskInstance(map_index=map_index), marker, *states)
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", answers.get_task_states)
    monkeypatch.setattr(XCom, "get_one", answers.get_one)
    return answers


@pytest.mark.parametrize("map_index", [-1, 0, 3])
@pytest.mark.parametrize(
    "marker, states, dead",
    [
        # Marked, failed, timed out, or deleted with its run.
        (OURS, ["failed"], True),
        (OURS, ["success"], True),
        (OURS, ["skipped"], True),
        (OURS, ["upstream_failed"], True),
        (OURS, ["up_for_retry"], True),
        (OURS, ["removed"], True),
        # Only moved to another triggerer.
        (OURS, ["deferred"], False),
        # A later try waits.
        (ANOTHERS, ["deferred"], True),
        (None, ["running"], True),
        (ANOTHERS, ["running"], True),
        # Nobody knows: its XCom may have been deleted by hand.
        (None, ["deferred"], False),
        # Its own trigger has fired elsewhere, and its work is done: what lives on is meant to.
        (f"{OURS} returned", ["success"], False),
        (f"{OURS} returned", ["running"], False),
        # Its own trigger has fired, or it was cleared: time tells.
        (OURS, ["scheduled"], False),
        (OURS, ["queued", "running"], False),
        (OURS, [None, "scheduled", "running", "success"], True),
        (OURS, ["running", "deferred"], False),
        (OURS, ["restarting", "failed"], True),
        # Airflow is asked again where it did not answer.
        (OURS, ["down", "down", "failed"], True),
        (OURS, ["down", "deferred"], False),
    ],
)
def test_who_is_dead(
    monkeypatch: pytest.MonkeyPatch, marker: str | None, states: list[str | None], dead: bool, map_index: int
) -> None:
    answers = answered(monkeypatch, marker, *states, map_index=map_index)
    assert asyncio.run(is_dead(answers.ti, patience=0.1, pause=0.01)) is dead


def test_what_stays_unclear_is_asked_for_as_long_as_patience_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = answered(monkeypatch, OURS, "queued")
    assert not asyncio.run(is_dead(answers.ti, patience=0.1, pause=0.01))
    assert answers.asked == 10


def test_where_airflow_does_not_answer_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = answered(monkeypatch, OURS, "down")
    with pytest.raises(AirflowUnavailable, match=r"nightly / manual__2026 / stop .*database is away"):
        asyncio.run(is_dead(answers.ti, patience=0.1, pause=0.01))
    assert answers.asked == 10


def test_work_goes_on_undisturbed() -> None:
    async def work() -> str:
        await asyncio.sleep(0.2)
        return "done"

    async def story() -> str:
        task = asyncio.ensure_future(undisturbed(work()))
        for _ in range(5):
            await asyncio.sleep(0.02)
            task.cancel()
        return await task

    assert asyncio.run(story()) == "done"


def test_an_error_of_undisturbed_work_is_raised() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(undisturbed(work()))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A service in memory that a trigger can reach; Airflow is asked in haste."""
    monkeypatch.setitem(HOOKS, "memory", memory_service.HOOK)
    monkeypatch.setattr(MemoryHook, "memory", Memory())
    monkeypatch.setattr(killing, "is_dead", partial(is_dead, patience=0.05, pause=0.01))
    return MemoryHook.memory


@pytest.mark.parametrize("state, asked", [("failed", [("a", False)]), ("deferred", []), ("down", [])])
def test_only_the_jobs_of_the_dead_are_cancelled(
    monkeypatch: pytest.MonkeyPatch, memory: Memory, state: str, asked: list[tuple[str, bool]]
) -> None:
    answers = answered(monkeypatch, OURS, state)
    jobs = memory.jobs("a")
    assert asyncio.run(cancel_if_dead(answers.ti, memory.reach(), jobs, "why", LOG)) is bool(asked)
    assert memory.sent == asked


def test_a_job_out_of_reach_does_not_keep_the_others_from_being_cancelled(
    monkeypatch: pytest.MonkeyPatch, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    answers = answered(monkeypatch, OURS, "failed")
    lost, kept = RemoteJob.of("batch", "1", conn_id="no_such"), memory.job("a")
    assert asyncio.run(cancel_if_dead(answers.ti, Access().reach(), [lost, kept], "why", LOG))
    assert memory.sent == [("a", False)]
    assert f"{lost} can't be reached, and may run on" in caplog.text


class Endless(BaseTrigger):
    """An operator's own trigger; its hook is broken."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    async def run(self) -> AsyncIterator[TriggerEvent]:
        await asyncio.sleep(60)
        yield TriggerEvent(None)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        raise ValueError("broken")


def guarding(jobs: list[RemoteJob]) -> BaseTrigger:
    return GuardTrigger(f"{__name__}.Endless", {}, [*map(str, jobs)], "why")


def sensing(jobs: list[RemoteJob]) -> BaseTrigger:
    return RemoteJobsTrigger(Watch(jobs).as_json(), Access().as_json(), 60, None, 0, "why")


async def killed(trigger: BaseTrigger, ti: TaskInstance) -> asyncio.Task[Any]:
    """What is left of a trigger that a triggerer cancels as it does for a kill, or a move."""
    trigger.task_instance = ti  # type: ignore[assignment]

    async def events() -> None:
        async for _ in trigger.run():
            pass

    task = asyncio.ensure_future(events())
    await asyncio.sleep(0.05)
    task.cancel(USER_ACTION)
    await asyncio.wait([task], timeout=10)
    return task


@pytest.mark.parametrize("make", [guarding, sensing])
@pytest.mark.parametrize("state, asked", [("failed", [("a", False)]), ("down", [])])
def test_a_trigger_that_is_cancelled_does_not_fail_whatever_goes_wrong(
    monkeypatch: pytest.MonkeyPatch, memory: Memory, make: Any, state: str, asked: list[tuple[str, bool]]
) -> None:
    """If it did, Airflow would fail the task by it, also where that lives on in another triggerer."""
    answers = answered(monkeypatch, OURS, state)
    assert asyncio.run(killed(make(memory.jobs("a")), answers.ti)).cancelled()
    assert memory.sent == asked


def test_a_trigger_that_the_triggerer_has_not_fails_alone() -> None:
    """Airflow's triggerer ends on an error of a trigger's ``__init__``, with all its triggers."""
    trigger = GuardTrigger("no.such.module.Trigger", {}, [], "why")

    async def story() -> None:
        async for _ in trigger.run():
            pass

    with pytest.raises(ModuleNotFoundError, match="no"):
        asyncio.run(story())
    with pytest.raises(TypeError, match="Another version"):
        RemoteJobsTrigger({"jobs": ["memory:///place/a"]}, {}, 1, None, 0)


def test_many_marked_tasks_are_seen_to_a_few_at_a_time_and_a_failure_names_its_jobs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    present, at_once = [], []

    def jobs_left_by(ti_id: str, *_: Any) -> list[str]:
        present.append(ti_id)
        at_once.append(len(present))
        time.sleep(0.02)
        present.remove(ti_id)
        return [f"batch://no_such@us-east-1/{ti_id}"]

    monkeypatch.setattr(marked, "HEAD_START", 0.0)
    monkeypatch.setattr(marked, "_jobs_left_by", jobs_left_by)
    tasks = [TaskInstance() for _ in range(20)]
    for ti in tasks:
        marked.cancel_when_marked(ti)
    for thread in threading.enumerate():
        if thread.name == "remote-jobs-marked":
            thread.join(30)
    assert len(at_once) == 20
    assert max(at_once) <= 4
    for ti in tasks:
        assert f"batch://no_such@us-east-1/{ti.id}" in caplog.text
