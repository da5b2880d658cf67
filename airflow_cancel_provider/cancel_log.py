"""Log how cancelled jobs have ended: a line for each in the log of the try, and the ends for its record."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.clock import Clock
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.task_log import Log, named

LINES = 20
"""Jobs with a line of their own."""


class CancelLog:
    """Logs who cancelled each job, why, and its final state.

    :param why: gives the reason for the cancel, as the beginning of a sentence; it may change meanwhile.
    :param clock: by which the time of the request is measured.
    """

    def __init__(self, log: Log, by: Actor, why: Callable[[], str], clock: Clock | None = None) -> None:
        self._log, self._by, self._why = log, by, why
        self._clock = clock or Clock()
        self.ends: dict[RemoteJob, JobEnd] = {}
        self._unwritten: dict[JobState, int] = {}

    def begin(self, jobs: Iterable[RemoteJob]) -> None:
        """Log the jobs that are about to be cancelled."""
        self._log.info("%s: cancelling %s.", self._why(), named(jobs) or "jobs to be found by their label")

    def ended(self, cancellation: Cancellation, jobs: Iterable[RemoteJob] | None = None) -> None:
        """Log the jobs that were seen to end.

        :param jobs: of these alone; None: of all.
        """
        seen = cancellation.statuses
        for job in list(seen) if jobs is None else jobs:
            if job in seen and seen[job].state.is_terminal and job not in self.ends:
                self._ended(seen[job], cancellation)

    def close(self) -> None:
        """Log how many jobs had no line of their own."""
        if self._unwritten:
            counts = ", ".join(f"{count} {state}" for state, count in self._unwritten.items())
            self._log.info("%s: other remote jobs that have ended: %s.", self._why(), counts)
            self._unwritten = {}

    def _ended(self, status: JobStatus, cancellation: Cancellation) -> None:
        end = self.ends[status.job] = cancellation.end(status, self._by, self._why())
        if len(self.ends) > LINES:
            self._unwritten[status.state] = self._unwritten.get(status.state, 0) + 1
        elif status.state is JobState.CANCELLED and end.by == self._by:
            now = self._clock.now()
            seconds = max(now - (cancellation.requested_at or now), 0.0)
            words = "%s: cancelled %s (%s after %.1f s)."
            self._log.info(words, self._why(), status.job, status.state, seconds)
        elif status.state is JobState.GONE:
            self._log.warning("%s: the service does not know %s any more.", self._why(), status.job)
        else:
            self._log.info("%s: %s has ended as %s.", self._why(), status.job, status.state)
