"""Jobs that are waited for, and what was last seen of them.

A watch does not ask a service, and does not wait: it is shown what was seen. It goes through JSON from one
process to the next.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from airflow_cancel_provider.clock import Clock
from airflow_cancel_provider.exceptions import NotEnded, UnexpectedEnd, UnknownScope
from airflow_cancel_provider.jobs import CancelResult, JobState, JobStatus, RemoteJob

if TYPE_CHECKING:
    from airflow_cancel_provider.services.pool import ServicePool

ROTATION = 900.0
"""Seconds for which credentials that were accepted before may be refused: somebody is about to renew them."""
UNSEEN_SECONDS = 60.0
"""For how long a service may not show a job that it has taken: what it lists lags behind what it does."""
ENDS = tuple(state for state in JobState if state.is_terminal)


class Watch:
    """Jobs that are waited for, and what was last seen of them.

    A job is settled when it is in one of ``target_states`` or has ended. One that the service has never shown
    may have been submitted a moment ago: it is looked for a minute before it counts as GONE.

    :param since: when the wait began, in epoch seconds, if other processes have looked before this one.
    """

    def __init__(
        self,
        jobs: Iterable[RemoteJob],
        target_states: Collection[JobState] = ENDS,
        *,
        since: float | None = None,
    ) -> None:
        self.jobs = list(dict.fromkeys(jobs))
        self.target_states = tuple(target_states)
        self.statuses: dict[RemoteJob, JobStatus] = {}
        self.clock = Clock()
        self._since = since
        self._missing: dict[RemoteJob, float] = {}
        """When jobs were looked for first that no look has shown, in epoch seconds."""
        self._refused_since: float | None = None

    @property
    def open(self) -> list[RemoteJob]:
        """Jobs that are not settled."""
        return [job for job in self.jobs if not self._is_settled(job)]

    @property
    def wrong(self) -> list[JobStatus]:
        """Jobs that ended in a state that is not a target."""
        return [
            status
            for job, status in self.statuses.items()
            if status.state.is_terminal
            and status.state not in self.target_states
            and not self.may_appear(job)
        ]

    @property
    def is_decided(self) -> bool:
        """Whether more looking can't change the verdict."""
        return bool(self.wrong) or not self.open

    @property
    def states(self) -> dict[str, str]:
        """State last seen of each job, by address; a job that was never seen is left out."""
        return {str(job): str(status.state) for job, status in self.statuses.items()}

    def observe(self, statuses: Iterable[JobStatus]) -> list[JobStatus]:
        """Take in what was seen; return what is new."""
        self._refused_since = None
        news = []
        for status in statuses:
            before = self.statuses.get(status.job)
            if before is None or (before.state, before.service_state) != (status.state, status.service_state):
                news.append(status)
            self.statuses[status.job] = status
            self._note_missing(status, is_first=before is None)
        return news

    def _note_missing(self, status: JobStatus, *, is_first: bool) -> None:
        if status.state is not JobState.GONE:
            self._missing.pop(status.job, None)
        elif is_first:
            self._missing[status.job] = self.clock.now() if self._since is None else self._since

    def may_appear(self, job: RemoteJob) -> bool:
        """Whether the service may only not show a job yet."""
        since = self._missing.get(job)
        return since is not None and self.clock.now() - since < UNSEEN_SECONDS

    def may_be_renewed(self) -> bool:
        """Take in that the credentials were refused; whether to look again, because they may be renewed.

        People withdraw old keys before they enter new ones in a connection: no healthy job is to end over
        that. Credentials that never were accepted are wrong.
        """
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        return self._was_answered and now - self._refused_since < ROTATION

    @property
    def _was_answered(self) -> bool:
        """Whether the service has answered about these jobs, and so has accepted the credentials."""
        return bool(self.statuses)

    def lose(self, unknown: Mapping[RemoteJob, UnknownScope]) -> list[JobStatus]:
        """Take in that the service does not know the clusters or applications of some jobs.

        One that it has known has been deleted since, and its jobs are gone: what is new is returned.

        :raises UnknownScope: it has never known one, which may be a wrong id, connection or region.
        """
        known = self._known_scopes()
        gone = {job: error for job, error in unknown.items() if scope_of(job) in known}
        for job, error in unknown.items():
            if job not in gone:
                self._mistake(job, error)
        return self.observe(JobStatus(job, JobState.GONE, reason=str(error)) for job, error in gone.items())

    def _known_scopes(self) -> set[tuple[str | None, ...]]:
        return {scope_of(job) for job, status in self.statuses.items() if status.state is not JobState.GONE}

    def _mistake(self, job: RemoteJob, error: UnknownScope) -> None:
        raise UnknownScope(f"{job} can't be looked at: {error}", error.operation, error.code) from error

    def act(self, pool: ServicePool) -> list[CancelResult]:
        """Do what is due after a look. A watch only looks."""
        return []

    def is_due(self) -> bool:
        """Whether :meth:`act` would send anything."""
        return False

    def verdict(self) -> dict[str, str]:
        """States of all jobs, by address.

        :raises UnexpectedEnd: some ended in a state that is not a target; carries the service's reasons.
        :raises NotEnded: some are still on their way.
        """
        if self.wrong:
            targets = ", ".join(self.target_states)
            raise UnexpectedEnd(
                f"Expected {targets}; ended otherwise:", [str(status) for status in self.wrong]
            )
        self._raise_if_open()
        return self.states

    def _raise_if_open(self) -> None:
        if self.open:
            raise NotEnded(
                "Not seen to end within the attempts allowed (waiter_delay, waiter_max_attempts):",
                [str(self.statuses.get(job, f"{job}: not seen")) for job in self.open],
            )

    def _is_settled(self, job: RemoteJob) -> bool:
        status = self.statuses.get(job)
        if status is None or self.may_appear(job):
            return False
        return status.state.is_terminal or status.state in self.target_states

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a trigger or another process."""
        return {
            "jobs": [str(job) for job in self.jobs],
            "target_states": [str(state) for state in self.target_states],
            "statuses": [status.as_json() for status in self.statuses.values()],
            "missing": {str(job): since for job, since in self._missing.items()},
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of :meth:`as_json`."""
        watch = cls(map(RemoteJob, values["jobs"]), [JobState(state) for state in values["target_states"]])
        watch.observe(map(JobStatus.from_json, values["statuses"]))
        watch._read_missing(values)
        return watch

    def _read_missing(self, values: dict[str, Any]) -> None:
        # A trigger of an earlier version has none.
        self._missing = {RemoteJob(job): since for job, since in values.get("missing", {}).items()}


def scope_of(job: RemoteJob) -> tuple[str | None, ...]:
    """What the service has to know before it can know the job."""
    return job.service, job.conn_id, job.scope
