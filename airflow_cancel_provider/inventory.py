"""The remote jobs of this Airflow, from the records of its tries: what the page and the command line list.

A record is what the guard wrote. The present state of a job is known to its service only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import select

from airflow_cancel_provider.ends_on_record import are_of, key_of, readable, same_task, stored_ends
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import Identity, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, TaskKey
from airflow_cancel_provider.reaper.backends.base import NOT_STARTED, OwnerState, TryPhase, phase_of
from airflow_cancel_provider.reaper.backends.database import IDS_PER_QUERY, as_ids, releases_of, tries
from airflow_cancel_provider.reaper.judge import Case, DecisionKind, decide
from airflow_cancel_provider.record import (
    EARLIER_KEY,
    RECORD_KEY,
    Actor,
    JobEnd,
    TryRecord,
    TryState,
    records_from_json,
)
from airflow_cancel_provider.services.base import chunks
from airflow_cancel_provider.settings import own_deployment


class EntryState(StrEnum):
    """What is known of a job without a call of its service."""

    LIVING = "living"
    """It was started, and no end is on record."""
    ENDED = "ended"
    RELEASED = "released"
    """It is left running: its task has succeeded, or has released it."""
    UNKNOWN = "unknown"
    """Its task has ended, and no end of the job is on record."""
    FOREIGN = "foreign"
    """Another Airflow has started it: this one runs on a copy of its database."""


@dataclass(frozen=True, slots=True)
class RemoteJobEntry:
    """One job that a try has started.

    :param task: the task instance.
    :param ti_state: Airflow's state of that try; None: it has not started, or Airflow has no row of it.
    :param state: one of :class:`EntryState`.
    :param is_orphan: whether the try is over, did not release the job, and no end is on record: by the
        rules of the reaper. Whether the job still runs, only its service knows.
    :param is_current_try: whether that try is the task instance's present one.
    :param record: of the try that has started it.
    :param digest: of the task, where a try after that one has put the job on record: then its label has to
        show that it is of this task.
    """

    job: RemoteJob
    task: TaskKey
    try_number: int
    ti_id: UUID
    ti_state: str | None
    state: str
    end: JobEnd | None
    submitted_at: datetime | None
    is_orphan: bool
    is_current_try: bool
    record: TryRecord = field(repr=False, compare=False)
    digest: str | None

    @property
    def only_of(self) -> str | None:
        """Digest that a label has to show, if there is one: anybody may write an XCom, with any try's id."""
        return None if self.is_current_try else self.task.digest


@dataclass(frozen=True, slots=True)
class Inventory:
    """Some of the jobs that were asked for.

    :param total: how many there are without ``limit`` and ``offset``.
    """

    entries: Sequence[RemoteJobEntry]
    total: int


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A job on record, and the row that the record was read from.

    :param record: of the try that started the job.
    :param keeper: of the try that is responsible for it now.
    :param end: how it has ended, where somebody has put that down.
    """

    job: RemoteJob
    record: TryRecord
    keeper: TryRecord
    row: Any
    end: JobEnd | None

    @property
    def is_of_earlier_try(self) -> bool:
        """Whether a later try has begun, and has not taken the job over."""
        return bool(self.row.key == EARLIER_KEY)

    @property
    def at(self) -> datetime:
        """When it was submitted; for want of that, when the record was written last."""
        return self.submitted_at or _in_utc(self.row.timestamp)

    @property
    def submitted_at(self) -> datetime | None:
        """When it was submitted."""
        seconds = self.record.submitted.get(self.job)
        return datetime.fromtimestamp(seconds, UTC) if seconds else None

    @property
    def is_current(self) -> bool:
        """Whether no other try has taken the place of the one that is responsible."""
        return self.keeper.ti_id == _uuid(self.row.ti_id)


def inventory(
    session: Any,
    *,
    dag_ids: Collection[str] | None = None,
    tasks: Collection[TaskKey] | None = None,
    jobs: Collection[RemoteJob] | None = None,
    dag_id: str | None = None,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
    service: str | None = None,
    states: Collection[str] | None = None,
    since: datetime | None = None,
    orphans_only: bool = False,
    limit: int | None = None,
    offset: int = 0,
) -> Inventory:
    """Jobs on record, the newest first. A filter that is None lets all pass.

    Two queries; four more for each 500 of the tries that are over and whose state matters.

    :param dag_ids: the Dags that the user may read; None: all.
    :param tasks: only those of these task instances.
    :param jobs: only these. A record may hold thousands of others.
    :param states: some of :class:`EntryState`.
    :param since: jobs that were submitted then or later; with a zone.
    :param orphans_only: only those with ``is_orphan``.
    """
    wanted = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    conditions = _conditions(dag_ids, tasks, wanted)
    ends = stored_ends(session, conditions)
    found = [
        each
        for each in _recorded(_rows(session, conditions), ends)
        if service in (None, each.job.service)
        and (jobs is None or each.job in jobs)
        and (since is None or each.at >= since)
    ]
    found.sort(key=lambda each: (each.at, each.job), reverse=True)
    end = None if limit is None else offset + limit
    if not states and not orphans_only:
        return Inventory(_entries(session, found[offset:end]), len(found))
    entries = [
        entry
        for entry in _entries(session, found)
        if (not states or entry.state in states) and (entry.is_orphan or not orphans_only)
    ]
    return Inventory(entries[offset:end], len(entries))


def stored_records(
    session: Any, tasks: Collection[TaskKey], xcom: str = RECORD_KEY
) -> Iterator[tuple[TaskKey, Any]]:
    """The records of these task instances in XCom, in one query, unchecked: anybody may have written them.

    :param xcom: its key.
    """
    from airflow.models.xcom import XComModel as XCom

    query: Any = select(*key_of(XCom), XCom.value).where(XCom.key == xcom, are_of(tasks))
    for row in session.execute(query):
        yield TaskKey(*row[:4]), readable(row)


def _rows(session: Any, conditions: Iterable[Any]) -> Iterable[Any]:
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817  as everywhere in Airflow
    from airflow.models.xcom import XComModel as XCom

    columns = (XCom.key, XCom.value, XCom.timestamp, TI.id.label("ti_id"), TI.state, TI.try_number)
    query: Any = select(*key_of(XCom), *columns).select_from(XCom)
    query = query.join(TI, same_task(TI, XCom))
    query = query.where(XCom.key.in_((RECORD_KEY, EARLIER_KEY)), *conditions)
    # First what the present try has started or taken over.
    return session.execute(query.order_by(XCom.key))  # type: ignore[no-any-return]


def _conditions(
    dag_ids: Collection[str] | None, tasks: Collection[TaskKey] | None, wanted: Mapping[str, Any]
) -> list[Any]:
    """What rows in Airflow's table of XComs have to fulfil."""
    from airflow.models.xcom import XComModel

    conditions = [getattr(XComModel, name) == value for name, value in wanted.items() if value is not None]
    if dag_ids is not None:
        conditions.append(XComModel.dag_id.in_(list(dag_ids)))
    if tasks is not None:
        conditions.append(are_of(tasks))
    return conditions


def _recorded(rows: Iterable[Any], ends: Mapping[TaskKey, Mapping[Identity, JobEnd]]) -> Iterator[_Recorded]:
    seen: set[tuple[TaskKey, RemoteJob]] = set()
    for row in rows:
        task = TaskKey.of(row)
        its_ends = ends.get(task, {})
        for keeper, record in _records(row):
            new = [job for job in record.jobs if (task, job) not in seen]
            seen.update((task, job) for job in new)
            for job in new:
                end = _known_end(job, record, its_ends, is_earlier=row.key == EARLIER_KEY)
                yield _Recorded(job, record, keeper, row, end)


def _known_end(
    job: RemoteJob, record: TryRecord, others: Mapping[Identity, JobEnd], *, is_earlier: bool
) -> JobEnd | None:
    """How a job has ended: as its own task saw it, or else others.

    Of an earlier try others know more: what its record says may be what a later try has only found. So does
    who has cancelled a job that its task has seen to end.

    :param others: what others have seen, by job.
    """
    own, other = record.ends.get(job), others.get(job.identity)
    knows_less = is_earlier or (own is not None and own.by == Actor.SERVICE)
    return (other or own) if knows_less else (own or other)


def _records(row: Any) -> list[tuple[TryRecord, TryRecord]]:
    """The records of a row: who is responsible for the jobs, and who has started them."""
    value = readable(row)
    try:
        if row.key == EARLIER_KEY:
            return [(record, record) for record in reversed(records_from_json(value))]
        keeper = TryRecord.from_json(value)
    except InvalidInput:  # anybody may write an XCom
        return []
    return [(keeper, record) for record in (keeper, *keeper.earlier)]


def _entries(session: Any, found: Sequence[_Recorded]) -> list[RemoteJobEntry]:
    tries_of = _Tries(session, found)
    return [_entry(each, tries_of) for each in found]


class _Tries:
    """The states of the tries of some jobs; for present tries they are in the rows already."""

    def __init__(self, session: Any, found: Iterable[_Recorded]) -> None:
        found = list(found)
        replaced = {each.keeper.ti_id for each in found if not each.is_current}
        started = {each.record.ti_id for each in found if each.record is not each.keeper}
        self._others = tries(session, replaced | started) if replaced | started else {}
        self._numbers = _numbers(session, replaced | started) if replaced | started else {}
        over = {each.keeper.ti_id for each in found if each.is_current and _is_over(each.row.state)}
        self._releases = releases_of(session, over) if over else {}
        self.own_deployment = own_deployment()

    def keeper(self, each: _Recorded) -> OwnerState:
        """The try that is responsible for a job."""
        ti_id = each.keeper.ti_id
        if each.is_current:
            state, release = each.row.state, self._releases.get(ti_id)
            return OwnerState(phase_of(state), state=state or NOT_STARTED, release=release)
        return self._others[ti_id]

    def started(self, each: _Recorded) -> tuple[int, str | None]:
        """Number and state of the try that has started a job; 0 where Airflow does not know it any more."""
        ti_id = each.record.ti_id
        if ti_id == _uuid(each.row.ti_id):
            return each.row.try_number, each.row.state
        owner = self._others[ti_id]
        return self._numbers.get(ti_id, 0), None if owner.phase is TryPhase.DELETED else owner.state


def _numbers(session: Any, ti_ids: Collection[UUID]) -> dict[UUID, int]:
    from airflow.models.taskinstancehistory import TaskInstanceHistory as TIH  # noqa: N817

    found: dict[UUID, int] = {}
    for some in chunks(list(ti_ids), IDS_PER_QUERY):
        query = select(TIH.task_instance_id, TIH.try_number).where(TIH.task_instance_id.in_(as_ids(some)))
        found |= {_uuid(ti_id): number for ti_id, number in session.execute(query)}
    return found


def _entry(each: _Recorded, tries_of: _Tries) -> RemoteJobEntry:
    end = each.end
    state, is_orphan = _judged(each, tries_of) if end is None else (EntryState.ENDED, False)
    number, ti_state = tries_of.started(each)
    task = TaskKey.of(each.row)
    is_own = each.record is each.keeper and not each.is_of_earlier_try
    return RemoteJobEntry(
        job=each.job,
        task=task,
        try_number=number,
        ti_id=each.record.ti_id,
        ti_state=ti_state,
        state=state,
        end=end,
        submitted_at=each.submitted_at,
        is_orphan=is_orphan,
        is_current_try=each.record.ti_id == _uuid(each.row.ti_id),
        record=each.record,
        digest=None if is_own else task.digest,
    )


def _judged(each: _Recorded, tries_of: _Tries) -> tuple[EntryState, bool]:
    """What a job without an end on record is, and whether it is an orphan, by the reaper's rules."""
    if each.keeper.state is TryState.RETURNED:
        return EntryState.RELEASED, False
    # Whether the next try takes the job over is not on record: until it has begun, that is possible.
    owner, own = tries_of.keeper(each), tries_of.own_deployment
    reconnects = not each.is_of_earlier_try and TryPhase.RETRYING in (owner.phase, owner.later)
    label = Label(each.record.deployment or own, each.keeper.ti_id, reconnects)
    claim = JobStatus(each.job, JobState.RUNNING, label=label)
    kind = decide(Case(claim, owner), own, datetime.now(UTC), timedelta()).kind
    return _STATES.get(kind, EntryState.UNKNOWN), kind in (DecisionKind.SUSPECT, DecisionKind.ORPHAN)


_STATES = {
    DecisionKind.ALIVE: EntryState.LIVING,
    DecisionKind.RECONNECTING: EntryState.LIVING,
    DecisionKind.SUCCEEDED: EntryState.RELEASED,
    DecisionKind.RELEASED: EntryState.RELEASED,
    DecisionKind.FOREIGN: EntryState.FOREIGN,
}


def _is_over(state: str | None) -> bool:
    return phase_of(state) not in (TryPhase.ALIVE, TryPhase.SUCCEEDED)


def _uuid(value: Any) -> UUID:
    # Up to Airflow 3.2 the ids of task instances are text.
    return value if isinstance(value, UUID) else UUID(str(value))


def _in_utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
