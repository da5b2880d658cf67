"""Before Airflow 3.2, a trigger that is cancelled during a request to Airflow would end its triggerer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent
from asgiref.sync import async_to_sync

from airflow_cancel_provider.guard import trigger as guard_trigger
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.record import TryRecord
from tests.task_fixtures import TaskInstance

TI = TaskInstance()
greenback: Any = import_module("greenback") if find_spec("greenback") else None


class Channel:
    """A triggerer's channel as in Airflow 3.0 and 3.1: who waits first gets the next answer."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._answers: asyncio.Queue[int] = asyncio.Queue()
        self._sent = 0

    async def asend(self) -> int:
        async with self._lock:
            self._sent += 1
            number = self._sent
            asyncio.get_running_loop().call_later(0.2, self._answers.put_nowait, number)
            answer = await self._answers.get()
            assert answer == number, f"the answer to request {answer} came to request {number}"
            return answer


class Asking(BaseTrigger):
    """Asks Airflow again and again, as for a connection."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Asking", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        channel: Any = sys.modules["airflow.sdk.execution_time.task_runner"].SUPERVISOR_COMMS
        yield TriggerEvent("asks")  # type: ignore[no-untyped-call]
        while True:
            await channel.asend()


class Stubborn(Asking):
    """Ends by itself when it is cancelled."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            async for event in super().run():
                yield event
        except asyncio.CancelledError:
            yield TriggerEvent("stopped")  # type: ignore[no-untyped-call]


class Succeeding(Asking):
    """Ends its task as succeeded: the guard then tells Airflow what is released."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TaskSuccessEvent()


async def _events(trigger: type[BaseTrigger], seen: list[Any]) -> None:
    guarded = GuardTrigger.__new__(GuardTrigger)
    record = TryRecord(TI.id).as_json()
    guarded.__dict__.update(
        inner=trigger(), _is_handled=True, record=record, classpath="", kwargs={}, access=None
    )
    guarded.task_instance = TI  # type: ignore[assignment]
    async for event in guarded.run():
        seen.append(event.payload)  # noqa: PERF401  each as it comes


@pytest.mark.parametrize("trigger, expected", [(Asking, ["asks"]), (Stubborn, ["asks", "stopped"])])
def test_a_kill_waits_for_the_answer(
    trigger: type[Asking], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.execution_time import task_runner

    async def main() -> tuple[list[Any], int]:
        channel = Channel()
        seen: list[Any] = []
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
        task = asyncio.create_task(_events(trigger, seen))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.wait([task])
        # The triggerer's own next request.
        return seen, await channel.asend()

    seen, answer = asyncio.run(main())
    assert seen == expected
    assert answer > 1


def test_a_kill_waits_for_the_answer_to_a_release(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.execution_time import task_runner

    async def main() -> int:
        channel = Channel()
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
        monkeypatch.setattr(guard_trigger, "release_record", lambda *_: async_to_sync(channel.asend)())
        task = asyncio.create_task(_events(Succeeding, []))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        return await channel.asend()

    assert asyncio.run(main()) == 2


class Blocking(BaseTrigger):
    """Asks in code that is not asynchronous."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Blocking", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        channel: Any = sys.modules["airflow.sdk.execution_time.task_runner"].SUPERVISOR_COMMS
        for _ in range(2):
            yield TriggerEvent(greenback.await_(channel.asend()))  # type: ignore[no-untyped-call]


@pytest.mark.skipif(greenback is None, reason="Airflow 3.0 has none")
def test_a_trigger_may_ask_without_await(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an Airflow from 3.1 on lets it in its own task."""
    from airflow.sdk.execution_time import task_runner

    async def main() -> list[Any]:
        await greenback.ensure_portal()
        seen: list[Any] = []
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Channel(), raising=False)
        await _events(Blocking, seen)
        return seen

    assert asyncio.run(main()) == [1, 2]
