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
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.plugin import marked_tries
from airflow_cancel_provider.plugin.due_queue import DueQueue
from airflow_cancel_provider.plugin.marked_tries import Mark, MarkedRun
from airflow_cancel_provider.task_log import named

if TYPE_CHECKING:
    from airflow_cancel_provider.cancellation import Cancellation
    from airflow_cancel_provider.engine.cancel import CancelEngine
    from airflow_cancel_provider.engine.recorded import CancelRequest
    from airflow_cancel_provider.jobs import RemoteJob
    from airflow_cancel_provider.record import Actor, JobEnd, TryRecord
    from airflow_cancel_provider.release import Release

log = logging.getLogger(__name__)

HEAD_START = 2.0
"""Seconds for a triggerer to cancel first; it mostly needs less. What it is cancelling is not asked again."""
LONG_HEAD_START = 10.0
"""The same where many tasks are marked: a triggerer works them off at the pace of the quota, which both would
use. Also seconds after which a task that ran when it was marked is told to end: until then it may defer."""
FEW = 20
"""Marks that wait, above which there are many."""
TOGETHER = 0.5
"""Seconds in which marks are gathered, as they come one after the other when many tasks are marked."""
CALL_SECONDS = 10.0
"""Patience of one round of calls."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 15.0
ESCALATE_AFTER = 60.0
PATIENCE = 180.0
"""Seconds for which a cancel is repeated, escalated and checked."""
MOST_ATTEMPTS = 5
"""How often records are read again after an error of the database."""
ROUNDS_AT_ONCE = 16
"""Cancels whose calls are made at the same time: one that is slow must not hold up the others."""
BUSY_PAUSE = 0.5
"""Seconds after which a cancel is looked at again that found so many under way."""


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


@dataclass(slots=True, eq=False)
class _Round:
    """A cancel that is under way, over one connection.

    :param since: when it was known that the jobs are to be cancelled, in epoch seconds.
    :param owned: for whom each job is cancelled.
    :ivar written: jobs whose end is on record.
    """

    cancellation: CancelEngine
    since: float
    owned: Mapping[RemoteJob, CancelFor]
    written: set[RemoteJob] = field(default_factory=set)
    given_up_at: float = field(default_factory=lambda: time.monotonic() + PATIENCE)
    pause: float = FIRST_PAUSE

    def step(self, queue: DueQueue) -> None:
        """Make the calls that are due, in a thread of its own; the queue's thread writes down the rest."""
        try:
            self.cancellation.step()
        except Exception:
            log.exception("A cancel is tried again: %s", ", ".join(map(str, self.owned)))
        finally:
            _under_way.discard(self)
            queue.put(partial(_go_on, self), 0.0)

    @property
    def ended(self) -> set[RemoteJob]:
        """The jobs that were seen to end."""
        cancellation = self.cancellation.cancellation
        ended = {job for job, status in cancellation.statuses.items() if status.state.is_terminal}
        return ended - set(cancellation.open)


def cancel_when_marked(task_instance: Any) -> None:
    """Have the jobs of a marked task cancelled in the background: a person waits for the answer."""
    global _is_prepared  # noqa: PLW0603  modules are imported once in a process
    state = str(getattr(task_instance, "state", None) or "as ended")
    mark = Mark(TaskKey.of(task_instance), UUID(str(task_instance.id)), state)
    _see_to(mark, HEAD_START if len(_queue) < FEW else LONG_HEAD_START)
    if not _is_prepared:
        _is_prepared = True
        _queue.put(partial(_begin_to_prepare, mark), 0.0)


def cancel_when_run_is_marked(dag_run: Any, state: str) -> None:
    """Have the jobs of those tasks of a marked run cancelled that had no process, in the background."""
    _see_to(MarkedRun(dag_run.dag_id, dag_run.run_id, state), HEAD_START)


def _see_to(mark: Mark | MarkedRun, delay: float) -> None:
    """Have a mark seen to after so many seconds, or a moment later: together with others of about now."""
    _queue.put(mark, delay + -(time.monotonic() + delay) % TOGETHER)


def cancel_now(request: CancelRequest, asked_by: CancelFor) -> None:
    """Have jobs over one connection cancelled, in the background, because a person has asked for it."""
    owned = dict.fromkeys(request.jobs, asked_by)
    _queue.put(partial(_make_calls, _Round(_engine([request]), time.time(), owned)), 0.0)


def _do(due: Sequence[Mark | MarkedRun | Callable[[], None]]) -> None:
    """See to the marks that are due, all together, then do what else is due."""
    marks = [each for each in due if isinstance(each, Mark)]
    marks += [mark for each in due if isinstance(each, MarkedRun) for mark in _skipped(each)]
    try:
        for begun in _begun(marks):
            _make_calls(begun)
    except Exception:
        log.exception("Remote jobs of marked tasks may run on: %s", named(marks))
    for work in filter(callable, due):
        try:
            work()
        except Exception:
            log.exception("Work that was due has failed, and is not repeated: %s", work)


def _make_calls(each: _Round) -> None:
    """Have a thread make the calls of a round that are due."""
    from airflow_cancel_provider.services.threads import in_background

    if len(_under_way) >= ROUNDS_AT_ONCE:
        _queue.put(partial(_make_calls, each), BUSY_PAUSE)
        return
    _under_way.add(each)
    in_background(Future[None](), each.step, _queue)


def _go_on(each: _Round) -> None:
    """Put down what the calls of a round have told, and have more of them made later."""
    if each.cancellation.is_done or time.monotonic() > each.given_up_at:
        _close(each)
    else:
        _write_down(each, each.ended)
        _queue.put(partial(_make_calls, each), each.pause)
        each.pause = min(each.pause * 2, LONGEST_PAUSE)


def _begin_to_prepare(mark: Mark) -> None:
    from airflow_cancel_provider.services.threads import in_background

    in_background(Future[None](), _prepare, mark)


def _prepare(mark: Mark) -> None:
    """Open the services of a mark's jobs, and send nothing; its cancel opens them again, in no time.

    The first cancel of this process needs it: modules, and a client, take a second or more.
    """
    from airflow_cancel_provider.hooks.access import Access

    try:
        for _, record in marked_tries.left_records([mark], marked_tries.record_rows([mark])):
            for service in dict.fromkeys(job.service_key for job in record.jobs):
                Access().service(*service)
    except Exception as error:  # noqa: BLE001  the cancel meets the same, and reports it
        log.debug("The cancel for %s can't be prepared: %r", mark, error)


def _close(each: _Round) -> None:
    from airflow_cancel_provider.record import Actor

    asked_for = {*each.cancellation.close(), *each.cancellation.cancellation.results}
    # A person is told of each job; of a marked task those are nobody's business that were left alone.
    told = [job for job, whom in each.owned.items() if whom.by is Actor.USER or job in asked_for]
    _write_down(each, told)
    _send_metrics(each)


def _write_down(each: _Round, jobs: Collection[RemoteJob]) -> None:
    """Put down what became of jobs for which that was not done yet; an error is logged."""
    if news := {job: whom for job, whom in each.owned.items() if job in jobs and job not in each.written}:
        try:
            _write(news, each.cancellation.cancellation)
            each.written |= news.keys()
        except Exception:
            log.exception("The end of a cancel could not be recorded")


def _write(owned: Mapping[RemoteJob, CancelFor], cancellation: Cancellation) -> None:
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


def _skipped(run: MarkedRun) -> list[Mark]:
    try:
        return marked_tries.skipped(run)
    except Exception as error:  # noqa: BLE001  databases have errors of their own
        _read_later([run], error)
        return []


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
            found = dict(marked_tries.left_records(some, marked_tries.record_rows(some)))
            releases = marked_tries.releases(found.values())
        except Exception as error:  # noqa: BLE001  databases have errors of their own
            _read_later(some, error)
            continue
        _look_again(mark for mark in some if mark not in found)
        for mark, record in found.items():
            yield mark, record, releases


def _look_again(marks: Iterable[Mark]) -> None:
    """Look once more at tasks that have not deferred: one that runs may do so until it is told to end."""
    for mark in marks:
        if not mark.is_second_look:
            delay = mark.since + LONG_HEAD_START - time.time()
            # The clock may have been set meanwhile.
            _see_to(replace(mark, is_second_look=True), min(max(0.0, delay), LONG_HEAD_START))


def _read_later(marks: Sequence[Mark | MarkedRun], error: Exception) -> None:
    again = [replace(mark, attempts=mark.attempts + 1) for mark in marks if mark.attempts < MOST_ATTEMPTS]
    for mark in again:
        _see_to(mark, LONGEST_PAUSE)
    log.log(
        logging.WARNING if again else logging.ERROR,
        "Records could not be read: %r. Remote jobs may run on%s: %s",
        error,
        ", and it is tried again" if again else "",
        named(marks),
    )


_queue = DueQueue(_do, "remote-jobs-marked")
_under_way = set[_Round]()
"""Rounds whose calls are being made."""
_is_prepared = False


def _begin_anew() -> None:
    """Start with an empty queue in a forked child: it has no thread, and the parent keeps its marks."""
    global _queue  # noqa: PLW0603  one for each process
    _queue = DueQueue(_do, "remote-jobs-marked")
    _under_way.clear()


os.register_at_fork(after_in_child=_begin_anew)
