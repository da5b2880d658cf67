"""The states of jobs as the services show them, read when a user asks for them.

Loading the page asks no service: a page that many people have open must not use up the calls per second
that tasks need. A click reads the states of the jobs on the screen, at most every half minute, one request at
a time at each service in each API server, in a thread, with a few seconds of patience.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_cancel_provider.ends_on_record import write_in_database
from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.inventory import RemoteJobEntry
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob, by_service_key
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.plugin.event_log import AskedCancel, asked_cancels
from airflow_cancel_provider.plugin.page.on_record import Named, recorded
from airflow_cancel_provider.plugin.page.rows import end_in_words
from airflow_cancel_provider.plugin.permissions import readable
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.pool import ServiceKey, ServicePool
from airflow_cancel_provider.services.registry import service_info
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.services.threads import side_by_side

log = logging.getLogger(__name__)
MOST_JOBS = 60
"""Jobs whose states are read with one request: those on one screen."""
FRESH_SECONDS = 30.0
FRESH_SECONDS_OF_A_CANCEL = 3.0
"""A user who has cancelled a job waits for its end."""
MOST_KEPT = 5000
SERVICES_AT_ONCE = 4
BUSY = "States are being read for somebody else. Try again in a few seconds."
PATIENCE = Patience(seconds=5.0, longest_pause=1.0)
CALL_SECONDS = (3.0, 5.0)
"""To connect, and between bytes of a reply, where the connection says nothing else."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A job's state, or why it could not be read; ``at`` is the time on this process's clock."""

    at: float
    state: JobState | None = None
    service_state: str | None = None
    trouble: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """Plain values."""
        return {"state": self.state, "service_state": self.service_state, "trouble": self.trouble}


@dataclass
class LiveStates:
    """States that were read lately by this process."""

    _seen: dict[RemoteJob, Seen] = field(default_factory=dict)
    _reading: defaultdict[ServiceKey, threading.Lock] = field(
        default_factory=lambda: defaultdict(threading.Lock)
    )

    def of(self, jobs: Collection[RemoteJob], hurried: Collection[RemoteJob]) -> dict[RemoteJob, Seen]:
        """States of these jobs, read anew where they are too old: service by service, side by side.

        One that does not answer takes nothing from the others, and is not asked for two requests at once.

        :param hurried: jobs that a user has cancelled.
        """
        limits = (FRESH_SECONDS, FRESH_SECONDS_OF_A_CANCEL)
        stale = [job for job in jobs if not self._is_fresh(job, limits[job in hurried])]
        read: dict[RemoteJob, Seen] = {}
        for found in side_by_side(self._read, by_service_key(stale), SERVICES_AT_ONCE):
            read |= found
        return {job: seen for job in jobs if (seen := read.get(job) or self._seen.get(job))}

    def _is_fresh(self, job: RemoteJob, limit: float) -> bool:
        seen = self._seen.get(job)
        if seen is None:
            return False
        is_over = seen.state is not None and seen.state.is_terminal and seen.state is not JobState.GONE
        return is_over or time.monotonic() - seen.at < limit

    def _read(self, jobs: Sequence[RemoteJob]) -> dict[RemoteJob, Seen]:
        reading = self._reading[jobs[0].service_key]
        if not reading.acquire(blocking=False):
            return dict.fromkeys(jobs, Seen(time.monotonic(), trouble=BUSY))
        try:
            found = _of_one_service(jobs)
        finally:
            reading.release()
        self._seen |= found
        for job in list(self._seen)[:-MOST_KEPT]:
            self._seen.pop(job, None)
        return found


LIVE = LiveStates()


def states(user: Any, named: Sequence[Named]) -> dict[str, dict[str, Any]]:
    """What the services and the event log say of these jobs, as far as this user may read them."""
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow

    with session_of_airflow() as session:
        shown = readable(user, {each.task.dag_id for each in named})
        found = recorded(session, [each for each in named if each.task.dag_id in shown])
        jobs = list(dict.fromkeys(each.job for each in found))
        asked = asked_cancels(session, jobs)
    seen = LIVE.of(jobs, asked)
    ends = {entry.job: entry.end for entry in found.values() if entry.end is not None}
    stories = {job: end_in_words(end) for job, end in (ends | _keep_ends(found.values(), seen)).items()}
    return {
        job: seen[job].as_json() | _as_json(asked.get(job)) | {"story": stories.get(job, "")}
        for job in jobs
        if job in seen
    }


def _keep_ends(found: Iterable[RemoteJobEntry], seen: Mapping[RemoteJob, Seen]) -> dict[RemoteJob, JobEnd]:
    """Put on record which jobs have ended: what has cancelled them may not have been able to. Those ends."""
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow

    ends: dict[TaskKey, dict[RemoteJob, JobEnd]] = {}
    for entry in found:
        state = seen[entry.job].state if entry.job in seen else None
        if state is None or not state.is_terminal or state is JobState.GONE:
            continue
        if entry.end is None:
            end = JobEnd.seen(JobStatus(entry.job, state), Actor.SERVICE, "")
            ends.setdefault(entry.task, {})[entry.job] = end
    if ends:
        with session_of_airflow() as session:
            write_in_database(session, ends)
    return {job: end for of_task in ends.values() for job, end in of_task.items()}


def _as_json(asked: AskedCancel | None) -> dict[str, Any]:
    if asked is None:
        return {"asked_by": None, "is_over": True, "line": ""}
    return {"asked_by": asked.user, "is_over": asked.is_over, "line": "".join(asked.lines[-1:])}


def _of_one_service(jobs: Sequence[RemoteJob]) -> dict[RemoteJob, Seen]:
    found, errors = ServicePool(_open).seen(jobs)
    now = time.monotonic()
    seen = {each.job: Seen(now, each.state, each.service_state) for each in found}
    seen |= {job: Seen(now, trouble=_words(error)) for job, error in errors.items()}
    for error in {error for error in errors.values() if not isinstance(error, CancelProviderError)}:
        log.error("States of %d jobs could not be read", len(jobs), exc_info=error)
    return seen


def _words(error: Exception) -> str:
    known = isinstance(error, CancelProviderError)
    return str(error) if known else f"{type(error).__name__}; see the log of the API server."


def _open(service: str, conn_id: str | None, region: str | None) -> JobService:
    from airflow_cancel_provider.hooks.access import Access

    hook = service_info(service).hook_class.for_address(conn_id, region, Access())
    hook.call_seconds = CALL_SECONDS
    opened: JobService = hook.service.with_patience(PATIENCE)
    return opened
