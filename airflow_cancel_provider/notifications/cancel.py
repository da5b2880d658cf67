"""A callback that cancels what a task has started."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from asgiref.sync import sync_to_async

from airflow_cancel_provider.engine.recorded import (
    CancelRequest,
    cancel_over_connections,
    cancel_requests,
)
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.guard.retries import Tries
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.metrics import (
    Layer,
    Stats,
    send_cancel,
    stats_of_callback,
    stats_of_server,
)
from airflow_cancel_provider.mixins.targets import flag
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import RECORD_KEY, TryRecord
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.triggers.ownership import recorded, without_released
from airflow_cancel_provider.version_compat import BaseNotifier, is_answered

PATIENCE = 30.0
"""Seconds for which requests are repeated: the Dag processor ends a callback after 50."""
CALL_SECONDS = 8.0
"""Patience of one round of calls."""
_NO_ANSWERS = (
    "CancelRemoteJobs cancels nothing here: Airflow does not tell callbacks in this process (the Dag "
    "processor of Airflow 3.0, or the SyncCallback of a deadline) which jobs its tasks have started. The "
    "reaper finds those that are left. Airflow 3.1 and later tell it, as an AsyncCallback for deadlines."
)
_NONE_OVER = (
    "No task of %s / %s that is over without success has remote jobs on record. What tasks at work have "
    "started is left alone."
)
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 5.0
_OVER = frozenset({"failed", "skipped", "upstream_failed", "removed"})
"""States in which a task is over and has not succeeded. What an earlier try has left, the next one ends, or
goes on with."""


class CancelRemoteJobs(BaseNotifier):
    """Cancel the remote jobs of a task, or of all tasks of a run that did not succeed.

    For ``on_failure_callback`` and ``on_retry_callback`` of a task, of a Dag, and for a deadline. It reads
    the record that the guard, or an operator of this package, leaves in XCom ``remote_jobs``, and acts for
    the try that the callback is about: Airflow may call it twice, and so late that the next try is at work.
    A job that its label shows to be another's is left alone, with a warning. So is one that the next try goes
    on with (``durable=True``, ``on_retry = keep``), while there may be one.

    :param whole_run: all tasks of the run that are over and did not succeed, not only the one that the
        callback is about. A deadline, which is about none, always means the run.
    :param reason: text for the services' ``reason`` field.
    """

    template_fields = ("reason",)

    def __init__(self, *, whole_run: bool = False, reason: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.whole_run = flag("whole_run", whole_run)
        self.reason = reason

    def notify(self, context: Any) -> None:
        """Request the cancel of every job, and log the outcome of each request."""
        self._notify(context, stats_of_callback())

    async def async_notify(self, context: Any) -> None:
        """As :meth:`notify`, in a triggerer."""
        await sync_to_async(self._notify, thread_sensitive=False)(context, stats_of_server())

    def _notify(self, context: Any, stats: Stats) -> None:
        if not all(map(is_answered, ("GetXCom", "GetTaskStates", "GetVariable"))):
            self.log.error(_NO_ANSWERS)
            return
        ti = context.get("ti")
        is_about_run = self.whole_run or ti is None
        records = self._of_run(context) if is_about_run else self._of_task(ti)
        # A template of a Dag with native types makes a number of a date.
        reason = str(self.reason) if self.reason else _reason(context)
        is_followed = not is_about_run and _is_followed(ti)
        requests = [
            replace(
                without_released(request),
                spares_reconnecting=is_followed,
                # Which try is a task's last is not told here, so a record may name any.
                only_of=task.digest if is_about_run else None,
            )
            for task, record in records
            for request in cancel_requests(record, reason, self.log, task)
        ]
        if requests and is_followed and Tries(ti, Settings.read()).go_on:
            self.log.info(
                "The remote jobs of %s are left alone: its next try goes on with them.", TaskKey.of(ti)
            )
        elif requests:
            self._cancel(requests, stats)
        elif is_about_run:
            self.log.info(_NONE_OVER, *_run(context))
        else:
            self.log.info("No remote jobs are on record.")

    def _cancel(self, requests: Iterable[CancelRequest], stats: Stats) -> None:
        since, given_up_at = time.time(), time.monotonic() + PATIENCE
        engine = cancel_over_connections(
            Access().service, requests, Settings.read().deployment, call_seconds=CALL_SECONDS
        )
        pause = FIRST_PAUSE
        engine.step()
        while not engine.is_requested and time.monotonic() < given_up_at:
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            engine.step()
        if not engine.is_requested:
            engine.close()
        send_cancel(
            engine.outcomes(is_watched=False),
            Layer.CALLBACK,
            lambda: stats,
            self.log,
            since=since,
            requested_at=engine.cancellation.requested_at,
        )

    def _of_task(self, ti: Any) -> Iterator[tuple[TaskKey, TryRecord]]:
        task = TaskKey.of(ti)
        record = self._read(task)
        if record is None:
            return
        if str(record.ti_id) == str(ti.id):
            yield task, record
        else:
            self.log.warning("The record of %s is of another try: its jobs are left alone.", task)

    def _of_run(self, context: Any) -> Iterator[tuple[TaskKey, TryRecord]]:
        """Records of tasks that are over. That is asked once more after their records were read.

        So none is of a try that is at work now.
        """
        over = _over(*_run(context))
        records = {task: record for task in over if (record := self._read(task)) is not None}
        still = _still_over(records)
        for task, record in records.items():
            if task in still:
                yield task, record

    def _read(self, task: TaskKey) -> TryRecord | None:
        """What is on record of a task; what can't be read keeps no other job from being cancelled."""
        try:
            found = recorded(task)
            return TryRecord.from_json(found) if found is not None else None
        except InvalidInput as error:
            self.log.warning("XCom %s of %s is ignored: %s", RECORD_KEY, task, error)
        except Exception as error:  # noqa: BLE001  reported; the jobs of other tasks are still cancelled
            self.log.warning("XCom %s of %s could not be read: %r", RECORD_KEY, task, error)
        return None


def _is_followed(ti: Any) -> bool:
    """Whether there may be a next try: Airflow may call this for a lost worker before it has decided."""
    if ti.try_number > getattr(ti, "max_tries", ti.try_number):
        return False
    task = TaskKey.of(ti)
    states = _states(task.dag_id, task.run_id, task_ids=[task.task_id], map_index=task.map_index)
    return not {str(state) for state in states.values()} & _OVER


def _over(dag_id: str, run_id: str) -> Iterator[TaskKey]:
    """What may be a task that is over: a mapped one's state comes under "task_id_index"."""
    for name, state in _states(dag_id, run_id).items():
        if str(state) in _OVER:
            yield TaskKey(dag_id, run_id, name, -1)
            task_id, _, index = name.rpartition("_")
            if task_id and index.isdecimal():
                yield TaskKey(dag_id, run_id, task_id, int(index))


def _still_over(tasks: Iterable[TaskKey]) -> set[TaskKey]:
    """Those that are over now; asked so that no mapped task can be taken for another of such a name."""
    groups: dict[tuple[str, str, str | None], list[TaskKey]] = {}
    for task in tasks:
        mapped = task.task_id if task.map_index >= 0 else None
        groups.setdefault((task.dag_id, task.run_id, mapped), []).append(task)
    still = set()
    for (dag_id, run_id, mapped), some in groups.items():
        only = {"task_ids": [mapped]} if mapped else {"task_ids": [t.task_id for t in some], "map_index": -1}
        states = _states(dag_id, run_id, **only)
        for task in some:
            name = f"{task.task_id}_{task.map_index}" if mapped else task.task_id
            if str(states.get(name)) in _OVER:
                still.add(task)
    return still


def _states(dag_id: str, run_id: str, **only: Any) -> dict[str, Any]:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=[run_id], **only)
    found: dict[str, Any] = states.get(run_id, {})
    return found


def _run(context: Any) -> tuple[str, str]:
    run = context.get("dag_run")
    if run is None:  # a Dag's callback where no task is the run's last
        return context["dag"].dag_id, context["run_id"]
    if isinstance(run, dict):  # a deadline has the run as the REST API shows it
        return run["dag_id"], run.get("dag_run_id") or run["run_id"]
    return run.dag_id, run.run_id


def _reason(context: Any) -> str:
    ti = context.get("ti")
    dag_id, run_id = (ti.dag_id, ti.run_id) if ti is not None else _run(context)
    return f"Cancelled by Airflow: a callback of {dag_id} / {run_id}"
