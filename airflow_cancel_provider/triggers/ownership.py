"""Whether the task that waits here is really dead, or its trigger is only being moved.

A triggerer cancels a trigger for many reasons: the task was marked or cleared, the triggerer stops, the
trigger goes to another triggerer (https://github.com/apache/airflow/issues/73454). Only the first may
cancel what the task waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from airflow.triggers.base import BaseTrigger

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.owner import RETURNED
from airflow_cancel_provider.owner import XCOM_KEY as MARKER
from airflow_cancel_provider.triggers.poller import in_thread

T = TypeVar("T")

HAS_ON_KILL = hasattr(BaseTrigger, "on_kill")
"""From Airflow 3.3 on; before, a trigger is told of a kill by its cancellation alone."""
USER_ACTION = "__airflow_user_action__"

_UNCLEAR = frozenset({"scheduled", "queued", "running", "restarting", "up_for_reschedule", None})
"""States of a task that was cleared, but also of one whose own trigger has fired."""


def may_be_killed(error: asyncio.CancelledError) -> bool:
    """Whether a cancellation may mean that a person ended the task.

    Airflow 3.3 calls ``on_kill`` after it, but cancels again every second, also while it is on its way
    there, and may never arrive. So what is to be done then is done at once.
    """
    return not HAS_ON_KILL or error.args[:1] == (USER_ACTION,)


async def is_dead(ti: Any, *, patience: float = 20.0, pause: float = 1.0) -> bool:
    """Whether the try of this trigger's task instance is over.

    While it can't be told apart from the same try going on, ask again for ``patience`` seconds; then it
    counts as alive: a false kill is worse than an orphan.

    :raises AirflowUnavailable: the last time, Airflow did not answer.
    """
    trouble = None
    for _ in range(max(1, int(patience / pause))):
        try:
            verdict, trouble = await _verdict(ti), None
        except Exception as error:  # noqa: BLE001  whatever it is, it tells nothing of the task
            verdict, trouble = None, error
        if verdict is not None:
            return verdict
        await asyncio.sleep(pause)
    if trouble is not None:
        task = f"{ti.dag_id} / {ti.run_id} / {ti.task_id}"
        raise AirflowUnavailable(f"Airflow does not say how {task} stands: {trouble!r}.") from trouble
    return False


async def _verdict(ti: Any) -> bool | None:
    """Whether the try is over, or None where it can't be told."""
    state, marker = await in_thread(_state, ti), await in_thread(_marker, ti)
    if marker == f"{ti.id}{RETURNED}":
        return False
    if marker is None and state == "deferred":
        return None  # a later try that has no jobs, or somebody has tidied XCom up
    if (state not in _UNCLEAR and state != "deferred") or marker != str(ti.id):
        return True
    return False if state == "deferred" else None


async def undisturbed(work: Awaitable[T]) -> T:
    """Finish ``work`` although the task that awaits it is cancelled again and again.

    Airflow 3.3 cancels a trigger anew at every turn of its loop, about once a second, while it is in
    ``on_kill``; remove this when it cancels once. ``work`` must bound its own time.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue
    return task.result()


def _state(ti: Any) -> str | None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    of_run = states.get(ti.run_id)
    if not of_run:
        return "removed"
    # A mapped task's state comes under "task_id_index".
    return next((str(state) if state else None for state in of_run.values()), "removed")


def _marker(ti: Any) -> Any:
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_one(
        key=MARKER, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index
    )
