"""How jobs have ended, as others than their task have seen it: XComs ``remote_jobs_ended…``.

A try's own process writes ends into its record. The triggerer, the API server, the reaper, the page and the
command line must not write there: the next try may have begun a record of its own. So they write XComs of
their own. These hold ends by the address of the job, which is never used again, so an old entry does no harm.
The list, the page and ``describe`` read all of them. Nothing is cancelled, or left alone, by what they say.

A triggerer writes one XCom for each service, ``remote_jobs_ended_<service>``, without reading it first:
Airflow logs an error where a triggerer reads an XCom that is not there. Whoever reaches the database adds to
``remote_jobs_ended``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, astuple, fields
from typing import Any

from airflow_cancel_provider.jobs import Identity, RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import EARLIER_KEY, RECORD_KEY, Actor, JobEnd
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.task_log import named

ENDS_KEY = "remote_jobs_ended"
"""Key of the XCom that is written in the database."""
OF_TRIGGER = "remote_jobs_ended_{}"
"""Keys of those that a triggerer writes; with the name of the service."""
Ends = Mapping[RemoteJob, JobEnd]
MOST_KEPT = 1000
"""Ends of one task instance."""
ATTEMPTS = 20
"""How often ends are written anew where others have written some of the same task instance meanwhile."""

log = logging.getLogger(__name__)


def ends_from_json(values: Any) -> dict[RemoteJob, JobEnd]:
    """What such an XCom holds; anybody may have written it, and what is no end is passed over."""
    return dict(_ends(values if isinstance(values, dict) else {}))


def _ends(values: Mapping[Any, Any]) -> Iterator[tuple[RemoteJob, JobEnd]]:
    for job, end in values.items():
        try:
            yield RemoteJob(job), JobEnd.from_json(end)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            log.debug("An entry of XCom %s is passed over: %r", ENDS_KEY, error)


def _merged(known: Ends, seen: Ends) -> dict[RemoteJob, JobEnd]:
    """What is known of ends, now that more were seen. Who has cancelled a job knows most of its end."""
    better = {job: end for job, end in known.items() if job not in seen or end.by != Actor.SERVICE}
    return {**seen, **better}


def _stored(ends: Ends) -> dict[str, Any]:
    return {str(job): end.as_json() for job, end in list(ends.items())[:MOST_KEPT]}


def write_over_supervisor(task: TaskKey, ends: Ends) -> None:
    """Write ends in a triggerer's process. An error is logged: the jobs have ended.

    Not in its event loop: this waits for the answer.
    """
    from airflow.sdk.execution_time.xcom import XCom

    from airflow_cancel_provider.version_compat import request_xcom

    by_service: dict[str, dict[RemoteJob, JobEnd]] = {}
    for job, end in ends.items():
        by_service.setdefault(job.service, {})[job] = end
    try:
        for service, some in by_service.items():
            key, value = OF_TRIGGER.format(service), _stored(some)
            request_xcom(XCom.set, asdict(task), key=key, value=value)
    except Exception as error:  # noqa: BLE001  a supervisor and backends of XCom have errors of their own
        log.warning("How remote jobs of %s have ended could not be written to XCom: %r", task, error)


def write_in_database(session: Any, ends: Mapping[TaskKey, Ends]) -> set[TaskKey]:
    """Write ends where the database can be reached; only of task instances that have a record.

    Several may write at once, as a person and the reaper who see the same job end: none loses what another
    has written.

    :return: the task instances whose ends are on record now. A try that starts has no record for a second.
    """
    left = {task: found for task, found in ends.items() if found}
    written: set[TaskKey] = set()
    for _ in range(ATTEMPTS):
        if not left:
            return written
        left = _write_again(session, left, written)
    if left:
        log.warning("How remote jobs have ended is not put on record of %s: others write there", named(left))
    return written


def _write_again(session: Any, ends: Mapping[TaskKey, Ends], written: set[TaskKey]) -> dict[TaskKey, Ends]:
    """Write ends; return those that are left where others have written since they were read."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    columns = (XComModel.key, XComModel.dag_run_id, XComModel.value, XComModel.timestamp)
    query: Any = select(*key_of(XComModel), *columns).where(
        XComModel.key.in_((RECORD_KEY, EARLIER_KEY, ENDS_KEY)), are_of(ends)
    )
    rows = list(session.execute(query))
    stored = {TaskKey(*row[:4]): row for row in rows if row.key == ENDS_KEY}
    runs = {TaskKey(*row[:4]): row.dag_run_id for row in rows if row.key != ENDS_KEY}
    # All write in this order, and go on from where they were late: no two wait for each other.
    tasks = sorted(runs)
    for number, task in enumerate(tasks):
        before = stored.get(task)
        known = readable(before) if before else None
        value = _stored(_merged(ends_from_json(known), ends[task]))
        xcom = XComModel(dag_run_id=runs[task], key=ENDS_KEY, value=value, **asdict(task))
        if value != known and not _replace(session, before, xcom):
            return {late: ends[late] for late in tasks[number:]}
        written.add(task)
    return {}


def _replace(session: Any, before: Any, xcom: Any) -> bool:
    """Write an XCom in the place of one that was read; return False where another has taken its place."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import delete
    from sqlalchemy.exc import IntegrityError

    try:
        with session.begin_nested():
            if before is not None:
                same = (XComModel.key == ENDS_KEY, XComModel.timestamp == before.timestamp)
                deleted = session.execute(delete(XComModel).where(*same, are_of([TaskKey.of(xcom)])))
                if not deleted.rowcount:
                    return False
            session.add(xcom)
    except IntegrityError:
        return False
    return True


def readable(row: Any) -> Any:
    """The value of an XCom; as it is stored, which means nothing, where Airflow can't read it."""
    from airflow.models.xcom import XComModel

    try:
        return XComModel.deserialize_value(row)
    except Exception as error:  # noqa: BLE001  anybody may write an XCom, of any class
        log.warning("An XCom of remote jobs can't be read: %r", error)
        return row.value


def are_of(tasks: Collection[TaskKey]) -> Any:
    """Whether rows in Airflow's table of XComs are of these task instances."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import tuple_

    return tuple_(*key_of(XComModel)).in_([astuple(task) for task in tasks])


def key_of(table: Any) -> tuple[Any, ...]:
    """The columns of a table of Airflow's that name a task instance, as the fields of a :class:`TaskKey`."""
    return tuple(getattr(table, each.name) for each in fields(TaskKey))


def same_task(table: Any, other: Any) -> Any:
    """Whether rows of two such tables are of the same task instance."""
    from sqlalchemy import and_

    return and_(*(own == others for own, others in zip(key_of(table), key_of(other), strict=True)))


def stored_ends(session: Any, wanted: Iterable[Any]) -> dict[TaskKey, dict[Identity, JobEnd]]:
    """By task instance: every end that others than its own process have written, in one query.

    An end counts for the jobs of its own task instance alone: any task may write any XCom of its own. Who has
    seen it may reach the job over another connection than its task.

    :param wanted: conditions on columns of Airflow's table of XComs.
    """
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    is_ours = XComModel.key.in_((ENDS_KEY, *map(OF_TRIGGER.format, SERVICES)))
    query: Any = select(*key_of(XComModel), XComModel.value).where(is_ours, *wanted)
    found: dict[TaskKey, dict[RemoteJob, JobEnd]] = {}
    for row in session.execute(query):
        task = TaskKey(*row[:4])
        found[task] = _merged(found.get(task, {}), ends_from_json(readable(row)))
    return {task: _by_identity(ends) for task, ends in found.items()}


def _by_identity(ends: Ends) -> dict[Identity, JobEnd]:
    # Last those of whoever has cancelled, who know most.
    ordered = sorted(ends.items(), key=lambda each: each[1].by != Actor.SERVICE)
    return {job.identity: end for job, end in ordered}
