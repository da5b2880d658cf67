"""Let a trigger that is cancelled have the answer to its request to Airflow first.

Before Airflow 3.2, whoever asks next in a triggerer takes the answer that a cancelled request has left for
its own, and the triggerer ends with all of its triggers. Remove this when Airflow 3.2 is the oldest.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

from airflow_cancel_provider.triggers.ownership import undisturbed

T = TypeVar("T")
TURNS = 5
"""Of the event loop, until a cancel has come to a request that waits: three through ``sync_to_async``."""
_END: Any = object()


async def with_answers(events: AsyncIterator[T]) -> AsyncIterator[T]:
    """The events of a trigger, which is cancelled only while no request to Airflow is under way."""
    lock = _lock()
    if lock is None:
        async for event in events:
            yield event
        return
    while (event := await _uncut(anext(events, _END), lock)) is not _END:
        yield event


async def _uncut(step: Awaitable[T], lock: asyncio.Lock) -> T:
    task = asyncio.ensure_future(step)
    # With it, a trigger may ask for its connection without "await".
    if (greenback := sys.modules.get("greenback")) and greenback.has_portal():
        greenback.bestow_portal(task)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await undisturbed(_cancel(task, lock))
        return await task


async def _cancel(task: asyncio.Future[Any], lock: asyncio.Lock) -> None:
    async with lock:
        task.cancel()
        for _ in range(TURNS):
            await asyncio.sleep(0)


def _lock() -> asyncio.Lock | None:
    """What the triggerer's requests hold one after the other; None from Airflow 3.2 on."""
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    lock = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "_lock", None)
    return lock if isinstance(lock, asyncio.Lock) else None
