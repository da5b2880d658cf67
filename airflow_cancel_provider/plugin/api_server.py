"""Cancel the jobs of tasks that a person marks while they have no process, in the API server.

Of a deferred task, without a triggerer, only the API server notices the mark: the trigger is deleted at once.
A triggerer that has just started does nothing for 5 to 25 seconds, because it builds its own API at the first
request of a trigger. So the API server waits a moment for a triggerer to cancel, and then cancels the jobs of
the task itself. Meanwhile it builds what it needs for that.

Of a task whose jobs wait for its next try, nobody else notices it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.plugin.due_queue import DueQueue
from airflow_cancel_provider.task_log import named

if TYPE_CHECKING:
    from airflow_cancel_provider.cancellation import Cancellation
    from airflow_cancel_provider.engine.cancel import CancelEngine
    from airflow_cancel_provider.engine.recorded import CancelRequest
    from airflow_cancel_provider.jobs import RemoteJob
    from airflow_cancel_provider.reaper.backends.base import TryAnswer
    from airflow_cancel_provider.record import Actor, JobEnd, TryRecord
    from airflow_cancel_provider.release import Release

log = logging.getLogger(__name__)

HEAD_START = 2.0
"""Seconds for a triggerer to cancel first; it mostly needs less. What it is cancelling is not asked again."""
LONG_HEAD_START = 10.0
"""The same where many tasks are marked: a triggerer works them off at the pace of the quota, which both would
use. Also seconds after which a task that ran when it was marked is told to end: until then it may defer."""
BEFORE = timedelta(minutes=1)
"""Longest time from the skip of a marked run's tasks until listeners are told of the mark."""
FEW = 20
"""Marks that wait, above which there are many."""
CALL_SECONDS = 10.0
"""Patience of one round of calls."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 15.0
ESCALATE_AFTER = 60.0
PATIENCE = 180.0
"""Seconds for which a cancel is repeated, escalated and checked."""
MOST_ATTEMPTS = 5
"""How often records are read again after an error of the database."""
LINES_AT_ONCE = 4
"""Connections over which calls are made at the same time."""


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
    since: float = field(default_factory=time.time)


@dataclass(frozen=True, slots=True)
class CancelFor:
    """For whom a job is cancelled, for its record and for Airflow's event log.

    :param task: that has started the job.
    :param by: who cancels it.
    :param user: who has asked for it.
    :param why: for people.
    :param lines: what was logged of the cancel.
    """

    task: TaskKey
    by: Actor
    user: str
    why: str
    lines: Callable[[], Sequence[str]] = tuple


@dataclass(frozen=True, slots=True)
class _Asked:
    """A cancel that a person has asked for."""

    request: CancelRequest
    asked_by: CancelFor
    since: float = field(default_factory=time.time)

    def __str__(self) -> str:
        return ", ".join(self.request.jobs)


@dataclass(frozen=True, slots=True)
class _Preparation:
    """What the first cancel of this process needs: modules, and a client, take a second or more."""

    mark: Mark


@dataclass(slots=True)
class _Round:
    """A cancel that is under way, over one connection.

    :param since: when it was known that the jobs are to be cancelled, in epoch seconds.
    :param owned: for whom each job is cancelled.
    """

    cancellation: CancelEngine
    since: float
    owned: Mapping[RemoteJob, CancelFor]
    given_up_at: float = field(default_factory=lambda: time.monotonic() + PATIENCE)
    pause: float = FIRST_PAUSE


def cancel_when_marked(task_instance: Any) -> None:
    """Have the jobs of a marked task cancelled in the background: a person waits for the answer."""
    global _is_prepared  # noqa: PLW0603  modules are imported once in a process
    state = str(getattr(task_instance, "state", None) or "as ended")
    mark = Mark(TaskKey.of(task_instance), UUID(str(task_instance.id)), state)
    _queue.put(mark, HEAD_START if len(_queue) < FEW else LONG_HEAD_START)
    if not _is_prepared:
        _is_prepared = True
        _queue.put(_Preparation(mark), 0.0)


def cancel_when_run_is_marked(dag_run: Any, state: str) -> None:
    """Have the jobs of those tasks of a marked run cancelled that had no process, in the background."""
    _queue.put(MarkedRun(dag_run.dag_id, dag_run.run_id, state), HEAD_START)


def cancel_now(request: CancelRequest, asked_by: CancelFor) -> None:
    """Have jobs over one connection cancelled, in the background, because a person has asked for it."""
    _queue.put(_Asked(request, asked_by), 0.0)


def _do(due: Sequence[Mark | MarkedRun | _Asked | _Round | _Preparation]) -> None:
    from airflow_cancel_provider.services.threads import side_by_side

    for each in due:
        if isinstance(each, _Preparation):
            _prepare(each.mark)
    rounds = [each for each in due if isinstance(each, _Round)]
    marks = [each for each in due if isinstance(each, Mark)]
    for each in due:
        if isinstance(each, MarkedRun):
            marks += _skipped(each)
    try:
        rounds += _begun(marks)
    except Exception:
        log.exception("Remote jobs of marked tasks may run on: %s", named(marks))
    rounds += [
        _Round(_engine([each.request]), each.since, dict.fromkeys(each.request.jobs, each.asked_by))
        for each in due
        if isinstance(each, _Asked)
    ]
    for each in side_by_side(_stepped, rounds, LINES_AT_ONCE):
        if each.cancellation.is_done or time.monotonic() > each.given_up_at:
            _close(each)
        else:
            _queue.put(each, each.pause)
            each.pause = min(each.pause * 2, LONGEST_PAUSE)


def _prepare(mark: Mark) -> None:
    """Open the services of a mark's jobs, and send nothing; its cancel opens them again, in no time."""
    from airflow_cancel_provider.hooks.access import Access

    try:
        for _, record in _left_records([mark], _rows([mark])):
            for service in dict.fromkeys(job.service_key for job in record.jobs):
                Access().service(*service)
    except Exception as error:  # noqa: BLE001  the cancel meets the same, and reports it
        log.debug("The cancel for %s can't be prepared: %r", mark, error)


def _close(each: _Round) -> None:
    each.cancellation.close()
    try:
        _write_down(each.owned, each.cancellation.cancellation)
    except Exception:
        log.exception("The end of a cancel could not be recorded")
    _send_metrics(each)


def _write_down(owned: Mapping[RemoteJob, CancelFor], cancellation: Cancellation) -> None:
    """Write the end of each job to its record and to Airflow's event log."""
    from airflow.utils.session import create_session

    from airflow_cancel_provider.ends_on_record import write_in_database
    from airflow_cancel_provider.plugin.event_log import FINISHED, write

    ends: dict[TaskKey, dict[RemoteJob, JobEnd]] = {}
    with create_session() as session:
        for job, whom in owned.items():
            status = cancellation.statuses.get(job)
            end = cancellation.end(status, whom.by, whom.why) if status and status.state.is_terminal else None
            if end is not None:
                ends.setdefault(whom.task, {})[job] = end
            state = str(end.state) if end is not None else ""
            write(
                session, FINISHED, whom.user, whom.task, job=job, why=whom.why, end=state, lines=whom.lines()
            )
        write_in_database(session, ends)


def _send_metrics(each: _Round) -> None:
    from airflow_cancel_provider.metrics import Layer, send_cancel, stats_of_server
    from airflow_cancel_provider.record import Actor

    is_asked = any(whom.by is Actor.USER for whom in each.owned.values())
    send_cancel(
        each.cancellation.outcomes(),
        Layer.PAGE if is_asked else Layer.API_SERVER,
        stats_of_server,
        log,
        since=each.since,
        requested_at=each.cancellation.cancellation.requested_at,
    )


def _stepped(each: _Round) -> _Round:
    each.cancellation.step()
    return each


def _begun(marks: Sequence[Mark]) -> list[_Round]:
    """The cancels for some marks: few for many, as tasks are mostly marked together."""
    if not marks:
        return []
    from airflow_cancel_provider.engine.recorded import by_service

    requests = list(_requests(marks))
    owned = {job: whom for whom, request in requests for job in request.jobs}
    since = min(mark.since for mark in marks)
    return [
        _Round(_engine(some), since, {job: owned[job] for each in some for job in each.jobs})
        for some in by_service(request for _, request in requests).values()
    ]


def _engine(requests: Sequence[CancelRequest]) -> CancelEngine:
    """The cancel of jobs that are reached over one connection."""
    from airflow_cancel_provider.engine.recorded import cancel_over_connections
    from airflow_cancel_provider.hooks.access import Access
    from airflow_cancel_provider.settings import Settings

    return cancel_over_connections(
        Access().service,
        requests,
        Settings.read().deployment,
        call_seconds=CALL_SECONDS,
        escalate_after=ESCALATE_AFTER,
    )


def _requests(marks: Sequence[Mark]) -> Iterator[tuple[CancelFor, CancelRequest]]:
    """Requests for the jobs of marked tries that they have not released."""
    from airflow_cancel_provider.engine.recorded import cancel_requests
    from airflow_cancel_provider.record import Actor, TryRecord

    for mark, record, releases in _recorded(marks):
        whom = CancelFor(mark.task, Actor.API_SERVER, "airflow", mark.why(record))
        # What is not of the marked try itself has to show by its label that it is of this task.
        is_own = record.ti_id == mark.ti_id
        own = record if is_own else TryRecord(mark.ti_id, earlier=(record, *record.earlier))
        for request in cancel_requests(own, f"Cancelled by Airflow: {mark} was marked", log, mark.task):
            yield whom, request.heeding(releases.get(request.record.ti_id) if request.record else None)


def _recorded(marks: Sequence[Mark]) -> Iterator[tuple[Mark, TryRecord, Mapping[UUID, Release]]]:
    """Records of marked tasks, and the releases of their tries; run by run."""
    runs: dict[tuple[str, str], list[Mark]] = {}
    for mark in marks:
        runs.setdefault((mark.task.dag_id, mark.task.run_id), []).append(mark)
    for some in runs.values():
        try:
            found = dict(_left_records(some, _rows(some)))
            releases = _releases(found.values())
        except Exception as error:  # noqa: BLE001  databases have errors of their own
            _read_later(some, error)
            continue
        _look_again(mark for mark in some if mark not in found)
        for mark, record in found.items():
            yield mark, record, releases


def _left_records(marks: Iterable[Mark], rows: Mapping[TaskKey, Any]) -> Iterator[tuple[Mark, TryRecord]]:
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
    from airflow_cancel_provider.reaper.backends.base import Presence, TryPhase

    found = _tries({ti_id for mark, one in others.items() for ti_id in (mark.ti_id, one.ti_id)})
    marked = {
        ti_id
        for ti_id, each in found.items()
        if each.presence is Presence.CURRENT and each.phase in (TryPhase.FAILED, TryPhase.SUCCEEDED)
    }
    before = {
        ti_id
        for ti_id, each in found.items()
        if each.presence is Presence.ARCHIVED and each.phase is TryPhase.FAILED
    }
    return [mark for mark, one in others.items() if mark.ti_id in marked and one.ti_id in before]


def _look_again(marks: Iterable[Mark]) -> None:
    """Look once more at tasks that have not deferred: one that runs may do so until it is told to end."""
    for mark in marks:
        if not mark.is_second_look:
            delay = mark.since + LONG_HEAD_START - time.time()
            # The clock may have been set meanwhile.
            _queue.put(replace(mark, is_second_look=True), min(max(0.0, delay), LONG_HEAD_START))


def _read_later(marks: Sequence[Mark], error: Exception) -> None:
    again = [replace(mark, attempts=mark.attempts + 1) for mark in marks if mark.attempts < MOST_ATTEMPTS]
    for mark in again:
        _queue.put(mark, LONGEST_PAUSE)
    log.log(
        logging.WARNING if again else logging.ERROR,
        "Records could not be read: %r. Remote jobs may run on%s: %s",
        error,
        ", and it is tried again" if again else "",
        named(marks),
    )


def _rows(marks: Iterable[Mark]) -> dict[TaskKey, Any]:
    """The records of marked tasks in XCom."""
    from airflow.utils.session import create_session

    from airflow_cancel_provider.inventory import stored_records

    with create_session() as session:
        return dict(stored_records(session, {mark.task for mark in marks}))


def _skipped(run: MarkedRun) -> list[Mark]:
    """The tasks of a marked run that have records, and that Airflow has skipped with the mark."""
    try:
        rows = _skipped_rows(run)
    except Exception:
        log.exception("Remote jobs of marked tasks may run on: %s / %s", run.dag_id, run.run_id)
        return []
    more: dict[str, Any] = {"is_second_look": True, "since": run.since, "is_of_run": True}
    return [Mark(TaskKey(*task), UUID(str(ti_id)), run.state, **more) for ti_id, *task in rows]


def _skipped_rows(run: MarkedRun) -> list[Any]:
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817  as everywhere in Airflow
    from airflow.models.xcom import XComModel as XCom
    from airflow.utils.session import create_session
    from sqlalchemy import and_, select

    from airflow_cancel_provider.record import RECORD_KEY

    names = ("dag_id", "run_id", "task_id", "map_index")
    same = and_(*(getattr(TI, name) == getattr(XCom, name) for name in names))
    columns: Any = (TI.id, *(getattr(TI, name) for name in names))
    query: Any = select(*columns).join(XCom, same).where(XCom.key == RECORD_KEY, TI.state == "skipped")
    query = query.where(TI.dag_id == run.dag_id, TI.run_id == run.run_id)
    with create_session() as session:
        since = datetime.fromtimestamp(run.since, UTC) - BEFORE
        return list(session.execute(query.where(TI.updated_at > since)))


def _tries(ti_ids: Collection[UUID]) -> dict[UUID, TryAnswer]:
    """How tries stand in Airflow's database."""
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow, tries

    with session_of_airflow() as session:
        return tries(session, ti_ids)


def _releases(records: Iterable[TryRecord]) -> dict[UUID, Release]:
    """The releases of the tries of these records."""
    from airflow_cancel_provider.reaper.backends.database import releases_of, session_of_airflow

    ti_ids = {one.ti_id for record in records for one in (record, *record.earlier)}
    if not ti_ids:
        return {}
    with session_of_airflow() as session:
        return releases_of(session, ti_ids)


_queue = DueQueue(_do, "remote-jobs-marked")
_is_prepared = False


def _begin_anew() -> None:
    """Start with an empty queue in a forked child: it has no thread, and the parent keeps its marks."""
    global _queue  # noqa: PLW0603  one for each process
    _queue = DueQueue(_do, "remote-jobs-marked")


os.register_at_fork(after_in_child=_begin_anew)
