"""Whether a deferred task is dead, and what its trigger does to its jobs then."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.sdk.execution_time.xcom import XCom

from airflow_cancel_provider.hooks.access import HOOKS
from airflow_cancel_provider.triggers.killing import cancel_if_dead
from airflow_cancel_provider.triggers.ownership import is_dead, undisturbed
from tests import memory_service
from tests.memory_service import Memory, MemoryHook
from tests.task_fixtures import TaskInstance

LOG = logging.getLogger(__name__)
OURS, ANOTHERS = "ours", "another's"


class Answers:
    """Stands in for the two calls to Airflow: states one after the other, the last for ever, and a marker."""

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
        (None, ["deferred"], True),
        (ANOTHERS, ["running"], True),
        # Its own trigger has fired elsewhere, and its work is done: what lives on is meant to.
        (f"{OURS} returned", ["success"], False),
        (f"{OURS} returned", ["running"], False),
        # Its own trigger has fired, or it was cleared: time tells.
        (OURS, ["scheduled"], False),
        (OURS, ["queued", "running"], False),
        (OURS, [None, "scheduled", "running", "success"], True),
        (OURS, ["running", "deferred"], False),
        (OURS, ["restarting", "failed"], True),
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


@pytest.mark.parametrize("state, asked", [("failed", [("a", False)]), ("deferred", [])])
def test_only_the_jobs_of_the_dead_are_cancelled(
    monkeypatch: pytest.MonkeyPatch, state: str, asked: list[tuple[str, bool]]
) -> None:
    monkeypatch.setitem(HOOKS, "memory", memory_service.HOOK)
    memory = Memory()
    monkeypatch.setattr(MemoryHook, "memory", memory)
    answers = answered(monkeypatch, OURS, state)
    jobs = memory.jobs("a")
    assert asyncio.run(cancel_if_dead(answers.ti, memory.reach(), jobs, "why", LOG)) is bool(asked)
    assert memory.sent == asked
