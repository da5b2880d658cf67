"""Deferred tries in an Airflow of ours, and triggers that are told to end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.settings import own_deployment
from airflow_cancel_provider.triggers import gathered_cancels
from airflow_cancel_provider.triggers import on_kill as killing
from airflow_cancel_provider.triggers import recheck as waiting
from airflow_cancel_provider.triggers.ownership import USER_ACTION, DeferredTry, Verdict, ask_first
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.watch import Watch
from tests import memory_service
from tests.airflow_fakes import FakeAirflow, airflow
from tests.memory_service import Memory, MemoryHook
from tests.task_fixtures import TaskInstance, event_of, through_serde

__all__ = ["airflow"]

DEPLOYMENT = own_deployment()

OURS, RESUMED, DONE, ANOTHERS, GARBAGE = "ours", "resumed", "done", "another's", "garbage"

STATES = {OURS: TryState.DEFERRED, RESUMED: TryState.RUNNING, DONE: TryState.RETURNED}

DEAD, LIVES, UNCLEAR = Verdict.DEAD, Verdict.LIVES, Verdict.UNCLEAR


def recorded(ti: TaskInstance, whose: str | None) -> Any:
    """What stands in XCom."""
    if whose == GARBAGE:
        return {"ti_id": str(ti.id), "state": "asleep", "jobs": "all"}
    if whose is None:
        return None
    return TryRecord(uuid4() if whose == ANOTHERS else ti.id, STATES.get(whose, TryState.RUNNING))


def failed_try(airflow: FakeAirflow, **of: Any) -> TaskInstance:
    """A try that was marked as failed while it was deferred."""
    ti = TaskInstance(**of)
    airflow.put(ti, "failed", recorded(ti, OURS))
    return ti


def asked(ti: TaskInstance) -> Verdict:
    deferred = DeferredTry.of(ti)
    return asyncio.run(ask_first(deferred)).verdict


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A service in memory that a trigger can reach; all is done in haste."""
    monkeypatch.setitem(SERVICES, "memory", memory_service.ROW)
    monkeypatch.setattr(MemoryHook, "memory", Memory())
    monkeypatch.setattr(gathered_cancels, "TOGETHER", 0.02)
    monkeypatch.setattr(gathered_cancels, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(killing, "CONFIRM_SECONDS", 0.1)
    for name, seconds in {"FIRST_PAUSE": 0.02, "LONGEST_PAUSE": 0.1, "TOGETHER": 0.02}.items():
        monkeypatch.setattr(waiting, name, seconds)
    Endless.killed.clear()
    return MemoryHook.memory


class Endless(BaseTrigger):
    """An operator's own trigger."""

    killed: list[str] = []  # noqa: RUF012  of all of them

    def __init__(
        self, name: str = "own", is_broken: bool = False, swallows: bool = False, is_refused: bool = False
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kwargs = {
            "name": name,
            "is_broken": is_broken,
            "swallows": swallows,
            "is_refused": is_refused,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Endless", self.kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if self.kwargs["is_refused"]:  # as it cancels the job itself
                raise PermissionError("the service says no") from None
            if not self.kwargs["swallows"]:
                raise
        yield TriggerEvent(None)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        self.killed.append(str(self.kwargs["name"]))
        if self.kwargs["is_broken"]:
            raise ValueError("broken")


def guarding(ti: TaskInstance, jobs: list[RemoteJob], **inner: Any) -> BaseTrigger:
    """The guard's trigger, as it arrives in a triggerer."""
    record = TryRecord(ti.id, TryState.DEFERRED, tuple(jobs))
    made = GuardTrigger.around(Endless(**inner), record, "why", DEPLOYMENT)
    return GuardTrigger(**through_serde(made.serialize()[1]))


def sensing(ti: TaskInstance, jobs: list[RemoteJob]) -> RemoteJobsTrigger:  # noqa: ARG001
    return RemoteJobsTrigger(Watch(jobs).as_json(), Access().as_json(), 60, None, 0, "why", own_deployment())


async def killed(trigger: BaseTrigger, ti: TaskInstance) -> bool:
    """Cancel a trigger as a triggerer does for a kill, or a move; whether that is what it ended with."""
    trigger.task_instance = ti  # type: ignore[assignment]

    async def events() -> None:
        async for _ in trigger.run():
            pass

    task = asyncio.ensure_future(events())
    await asyncio.sleep(0.05)
    task.cancel(USER_ACTION)
    await asyncio.wait([task], timeout=20)
    return task.cancelled()


def story(tell: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    """Tell it, in a loop of its own."""

    async def bounded() -> Any:
        return await asyncio.wait_for(tell(), seconds)

    return asyncio.run(bounded())


async def until(true: Callable[[], Any]) -> None:
    while not true():  # noqa: ASYNC110  what is waited for is in tables
        await asyncio.sleep(0.01)


async def polled(triggers: Sequence[RemoteJobsTrigger], is_enough: Callable[[], bool]) -> None:
    """Let triggers wait until it is enough, and stop them, as a triggerer does."""
    tasks = [asyncio.ensure_future(event_of(trigger)) for trigger in triggers]
    await until(is_enough)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def with_neighbours(airflow: FakeAirflow, ti: TaskInstance, state: str | None, whose: str | None) -> None:
    """Put a task instance among others of which the contrary is true."""
    contrary = "failed" if state in ("deferred", "queued") else "deferred"
    others = [
        replace(ti, map_index=ti.map_index + 1, id=uuid4()),
        replace(ti, run_id="another run", id=uuid4()),
        replace(ti, task_id="another", id=uuid4()),
        replace(ti, dag_id="another", id=uuid4()),
    ]
    for other in others:
        # Under our own id, so that whoever reads it takes it for ours.
        airflow.put(other, contrary, TryRecord(ti.id if whose == ANOTHERS else other.id, TryState.DEFERRED))
    if state == "removed":
        return
    airflow.put(ti, state, recorded(ti, whose))
