"""Tries that a person has marked, and what Airflow's database has on record of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_cancel_provider.owner import TaskKey

if TYPE_CHECKING:
    from airflow_cancel_provider.reaper.backends.base import OwnerState
    from airflow_cancel_provider.record import TryRecord
    from airflow_cancel_provider.release import Release

log = logging.getLogger(__name__)

BEFORE = timedelta(minutes=1)
"""Longest time from the skip of a marked run's tasks until listeners are told of the mark."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A try that a person has marked."""

    task: TaskKey
    ti_id: UUID
    state: str
    """What it was marked as."""
    attempts: int = 0
    is_second_look: bool = False
    since: float = field(default_factory=time.time)
    is_of_run: bool = False
    """Whether its Dag run was marked."""

    def why(self, record: TryRecord) -> str:
        """Why the jobs on its record are cancelled, for people."""
        waits = "was deferred" if record.ti_id == self.ti_id else "waited for its next try"
        what, who = ("Dag run", "its task") if self.is_of_run else ("Task", "it")
        return f"{what} was marked {self.state} while {who} {waits}"

    def __str__(self) -> str:
        return str(self.task)


@dataclass(frozen=True, slots=True)
class MarkedRun:
    """A Dag run that a person has marked. Airflow skips its tasks without a process, and tells nobody."""

    dag_id: str
    run_id: str
    state: str
    attempts: int = 0
    since: float = field(default_factory=time.time)

    def __str__(self) -> str:
        return f"{self.dag_id} / {self.run_id}"


def left_records(marks: Iterable[Mark], rows: Mapping[TaskKey, Any]) -> Iterator[tuple[Mark, TryRecord]]:
    """Records of marked tasks for whose jobs no process is responsible."""
    from airflow_cancel_provider.record import TryState

    others: dict[Mark, TryRecord] = {}
    for mark, record in _records(marks, rows):
        # A running task cancels in its own process.
        if record.ti_id == mark.ti_id and record.state is TryState.DEFERRED:
            yield mark, record
        if record.ti_id != mark.ti_id and record.state is not TryState.RETURNED:
            jobs = tuple(job for job in record.jobs if job not in record.ends)
            others[mark] = replace(record, jobs=jobs)
    over = _over(others) if others else ()
    yield from ((mark, others[mark]) for mark in over)


def _records(marks: Iterable[Mark], rows: Mapping[TaskKey, Any]) -> Iterator[tuple[Mark, TryRecord]]:
    from airflow_cancel_provider.exceptions import InvalidInput
    from airflow_cancel_provider.record import TryRecord

    for mark in marks:
        if mark.task not in rows:
            continue
        try:
            yield mark, TryRecord.from_json(rows[mark.task])
        except InvalidInput as error:
            log.warning("XCom remote_jobs of %s is ignored: %s", mark, error)


def _over(others: Mapping[Mark, TryRecord]) -> list[Mark]:
    """Marked tries that have not begun, and that would have taken over what these records name.

    A try that has begun deletes the record of the one before.
    """
    from airflow_cancel_provider.reaper.backends.base import TryPhase

    found = answers({ti_id for mark, one in others.items() for ti_id in (mark.ti_id, one.ti_id)})
    marked = {
        ti_id
        for ti_id, each in found.items()
        if each.later is None and each.phase in (TryPhase.FAILED, TryPhase.SUCCEEDED)
    }
    before = {
        ti_id for ti_id, each in found.items() if each.later is not None and each.phase is TryPhase.FAILED
    }
    return [mark for mark, one in others.items() if mark.ti_id in marked and one.ti_id in before]


def record_rows(marks: Iterable[Mark]) -> dict[TaskKey, Any]:
    """The records of marked tasks in XCom."""
    from airflow.utils.session import create_session

    from airflow_cancel_provider.inventory import stored_records

    with create_session() as session:
        return dict(stored_records(session, {mark.task for mark in marks}))


def skipped(run: MarkedRun) -> list[Mark]:
    """The tasks of a marked run that have records, and that Airflow has skipped with the mark."""
    more: dict[str, Any] = {"is_second_look": True, "since": run.since, "is_of_run": True}
    return [Mark(TaskKey(*task), UUID(str(ti_id)), run.state, **more) for ti_id, *task in _skipped_rows(run)]


def _skipped_rows(run: MarkedRun) -> list[Any]:
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817  as everywhere in Airflow
    from airflow.models.xcom import XComModel as XCom
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_cancel_provider.ends_on_record import key_of, same_task
    from airflow_cancel_provider.record import RECORD_KEY

    query: Any = select(TI.id, *key_of(TI)).join(XCom, same_task(TI, XCom))
    query = query.where(XCom.key == RECORD_KEY, TI.state == "skipped")
    query = query.where(TI.dag_id == run.dag_id, TI.run_id == run.run_id)
    with create_session() as session:
        since = datetime.fromtimestamp(run.since, UTC) - BEFORE
        return list(session.execute(query.where(TI.updated_at > since)))


def answers(ti_ids: Collection[UUID]) -> dict[UUID, OwnerState]:
    """How tries stand in Airflow's database."""
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow, tries

    with session_of_airflow() as session:
        return tries(session, ti_ids)


def releases(records: Iterable[TryRecord]) -> dict[UUID, Release]:
    """The releases of the tries of these records."""
    from airflow_cancel_provider.reaper.backends.database import releases_of, session_of_airflow

    ti_ids = {one.ti_id for record in records for one in (record, *record.earlier)}
    if not ti_ids:
        return {}
    with session_of_airflow() as session:
        return releases_of(session, ti_ids)
