"""Log and count each remote job that a task starts: what it is, where it can be seen, and what ends it."""

from __future__ import annotations

from collections.abc import Callable

from airflow_cancel_provider.guard.events import Event, JobsPlaced, JobsReleased, JobsStarted
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.links.console import console_url
from airflow_cancel_provider.metrics import send_started, stats_of_task
from airflow_cancel_provider.services.registry import service_info
from airflow_cancel_provider.task_log import Log, named

LINES = 20
"""Jobs with a line of their own."""
SUMMARY_EACH = 100
"""After these, one line is logged for so many jobs."""
CANCELLED_UNLESS = "cancelled unless this task succeeds"
CANCELLED_AT_LAST = "cancelled unless this try or a later one succeeds"
MAY_BE_OLDER = ", or the job is older than this submission: other tasks may have sent your idempotency token"


class SubmissionLog:
    """Logs the events of a try that people need; many jobs share a line.

    :param goes_on: whether the next try takes over the jobs.
    :param is_heard: whether somebody can cancel what this process starts.
    """

    def __init__(
        self, log: Log, *, goes_on: bool = False, is_heard: Callable[[], bool] = lambda: True
    ) -> None:
        self._log, self._is_heard = log, is_heard
        self._end = CANCELLED_AT_LAST if goes_on else CANCELLED_UNLESS
        self._seen: set[RemoteJob] = set()
        self._tracked: set[RemoteJob] = set()
        self._unwritten = 0
        self._is_closed = False

    def hear(self, event: Event) -> None:
        """Log an event."""
        if isinstance(event, JobsStarted) and event.at:
            self._started(event)
        elif isinstance(event, JobsStarted) and not event.token and not self._is_closed:
            self._guarded(event)
        elif isinstance(event, JobsPlaced):
            self._log.info("Started a cluster with jobs, %s%s.", event.scope, self._promise("they"))
        elif isinstance(event, JobsReleased):
            self._log.info("Released %s: left running however this task ends.", named(event.jobs))

    def close(self) -> None:
        """The task is over: what it goes on with was said, and jobs of before are only reached now."""
        self._count()
        self._is_closed = True

    def _count(self) -> None:
        """Log how many jobs had no line of their own."""
        if self._unwritten:
            self._log.info(
                "Started %d more remote jobs, %d in all%s.",
                self._unwritten,
                len(self._seen),
                self._promise("they"),
            )
            self._unwritten = 0

    def _promise(self, who: str) -> str:
        return f"; {who} will be {self._end}" if self._is_heard() else ""

    def _guarded(self, event: JobsStarted) -> None:
        # What a kill has interrupted comes again.
        jobs = [job for job in dict.fromkeys(event.jobs) if job not in self._tracked]
        new = [job for job in jobs if job not in self._seen]
        if new and (promise := self._promise("it")):
            self._tracked.update(new)
            self._log.info("Guarding %s%s.", named(new), promise)

    def _started(self, event: JobsStarted) -> None:
        new = [job for job in dict.fromkeys(event.jobs) if job not in self._seen]
        send_started(new, stats_of_task, self._log)
        promise = self._promise("it") + (MAY_BE_OLDER if event.not_before else "")
        for job in new:
            self._seen.add(job)
            if len(self._seen) <= LINES:
                self._log.info("Started %s%s.%s", described(job), promise, console_of(job))
                continue
            self._unwritten += 1
            if self._unwritten == SUMMARY_EACH:
                self._count()


def described(job: RemoteJob) -> str:
    """A job in the words of its service."""
    row = service_info(job.service)
    noun = row.ids_param.removesuffix("_ids").replace("_", " ")
    preposition = "of" if row.scope_param == "job_name" else "on"
    place = f" {preposition} {job.scope}" if job.scope else ""
    return f"{row.title} {noun} {job.id}{place}"


def console_of(job: RemoteJob) -> str:
    """Its page in the console where there is one, for the end of a line.

    Airflow's page takes all up to the next space for the link.
    """
    page = console_url(job)
    return f" Console: {page}" if page else ""
