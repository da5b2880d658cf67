"""Keep what earlier tries of a task have started, for people: the list and the page show it.

Airflow deletes the XComs of a task instance when its next try starts. So the record of the try before is read
first, with how its jobs have ended, and written to XCom ``remote_jobs_of_earlier_tries`` when the task runs.
Nothing is cancelled by what it says: any task can write there.

From Airflow 3.2 on. Before that, a plugin does not know in time which task is starting.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from uuid import UUID

from airflow_cancel_provider.ends_on_record import ENDS_KEY, OF_TRIGGER, ends_from_json
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import EARLIER_KEY, RECORD_KEY, JobEnd, TryRecord, records_from_json
from airflow_cancel_provider.task_log import Log

MOST_TRIES = 20
"""Tries that are kept, the latest of them."""
MOST_JOBS = 500
"""Jobs that are kept of each."""

_log = logging.getLogger(__name__)
_read: Sequence[TryRecord] = ()
"""What was read for the task that this process is about to run."""


def read_earlier() -> None:
    """Read the records of earlier tries, before Airflow deletes them. Asks nothing for a first try."""
    global _read  # noqa: PLW0603  one process runs one task
    _read = ()
    if (task := _task_to_start()) is not None:
        _read = _earlier(task)


def write_earlier(ti: Any, log: Log, *, is_rest: bool) -> Sequence[TryRecord]:
    """Write what :func:`read_earlier` has read. An error is logged: it must not fail the task.

    :param is_rest: whether this is the rest of a try, so that a record with its id is its own.
    :return: what was written.
    """
    global _read
    found, _read = _read, ()
    others = [record for record in found if not (is_rest and record.ti_id == UUID(str(ti.id)))][-MOST_TRIES:]
    _write(ti, log, others)
    return others


def write_ends(ti: Any, log: Log, records: Iterable[TryRecord], ends: Mapping[RemoteJob, JobEnd]) -> None:
    """Write the same again, with ends that were seen since; does nothing where there are none."""
    if ends:
        _write(ti, log, [record.with_ends(ends) for record in records])


def _write(ti: Any, log: Log, records: Sequence[TryRecord]) -> None:
    if not records:
        return
    try:
        ti.xcom_push(key=EARLIER_KEY, value=[record.as_json() for record in records])
    except Exception as error:  # noqa: BLE001  a supervisor and backends of XCom have errors of their own
        log.warning("Remote jobs of earlier tries can't be listed any more: XCom %s: %r", EARLIER_KEY, error)


def _task_to_start() -> TaskKey | None:
    """The task instance whose later try is about to start; None where it is the first, or not known."""
    from structlog.contextvars import get_contextvars

    names = get_contextvars()
    if int(names.get("try_number") or 1) < 2:
        return None
    return TaskKey(names["dag_id"], names["run_id"], names["task_id"], int(names["map_index"]))


def _earlier(task: TaskKey) -> list[TryRecord]:
    """What the tries before have started, the oldest first, with how it has ended."""
    found = [*_readable(task, EARLIER_KEY, records_from_json), *_readable(task, RECORD_KEY, _alone)]
    ends = _ends(task, {job.service for record in found for job in record.jobs})
    return [record.with_ends(ends) for record in found]


def _alone(values: Any) -> tuple[TryRecord, ...]:
    """The record of the last try, without what is not listed."""
    record = TryRecord.from_json(values)
    return (replace(record, jobs=record.jobs[-MOST_JOBS:], intents=(), earlier=()),)


def _readable(task: TaskKey, key: str, read: Callable[[Any], tuple[TryRecord, ...]]) -> tuple[TryRecord, ...]:
    """The records in an XCom; none where it is not there, or is of another form: anybody may write one."""
    stored = _stored(task, key)
    try:
        return read(stored) if stored else ()
    except InvalidInput as error:
        _log.debug("XCom %s is ignored: %s", key, error)
        return ()


def _ends(task: TaskKey, services: Iterable[str]) -> dict[RemoteJob, JobEnd]:
    """How jobs have ended, as others than their own process have seen it."""
    found: dict[RemoteJob, JobEnd] = {}
    for key in (*map(OF_TRIGGER.format, services), ENDS_KEY):
        found |= ends_from_json(_stored(task, key))
    return found


def _stored(task: TaskKey, key: str) -> Any:
    """The value of an XCom; None where there is none."""
    from airflow.sdk.execution_time.comms import GetXComCount
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS
    from airflow.sdk.execution_time.xcom import XCom

    # Airflow logs an error where an XCom is read that is not there.
    question = GetXComCount(key=key, dag_id=task.dag_id, run_id=task.run_id, task_id=task.task_id)
    count: Any = SUPERVISOR_COMMS.send(question)
    return XCom.get_one(key=key, **asdict(task)) if getattr(count, "len", 0) else None
