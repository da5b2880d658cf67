"""Jobs that are waited for, what was last seen of them, and how they are polled.

A watch does not ask a service, and does not wait: it is shown what was seen. It goes through JSON from one
process to the next.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeGuard

from airflow_cancel_provider.clock import Clock
from airflow_cancel_provider.exceptions import (
    AccessDenied,
    IdentityError,
    NotEnded,
    ServiceUnavailable,
    UnexpectedEnd,
    UnknownScope,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob

if TYPE_CHECKING:
    from airflow_cancel_provider.services.pool import ServicePool
    from airflow_cancel_provider.task_log import Log

ROTATION = 900.0
"""Seconds for which credentials that were accepted before may be refused: somebody is about to renew them."""
UNSEEN_SECONDS = 60.0
"""For how long a service may not show a job that it has taken: what it lists lags behind what it does."""
NOT_SHOWN = f"not shown yet, and is looked for again for {UNSEEN_SECONDS:g} s"
ENDS = tuple(state for state in JobState if state.is_terminal)
MANY = 100
"""Above so many jobs, those with nothing special are logged by their number."""
LOUD_OUTCOMES = (CancelOutcome.REFUSED, CancelOutcome.UNANSWERED)
LOUD_STATES = (JobState.FAILED, JobState.GONE)


class Watch:
    """Jobs that are waited for, and what was last seen of them.

    A job is settled when it is in one of ``target_states`` or has ended. One that the service has never shown
    may have been submitted a moment ago: it is looked for a minute before it counts as GONE.

    :param since: when the wait began, in epoch seconds, if other processes have polled before this one.
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
        """When jobs were looked for first that no poll has shown, in epoch seconds."""
        self.results: dict[RemoteJob, CancelResult] = {}
        """What became of cancel requests."""
        self.denied: dict[RemoteJob, AccessDenied] = {}
        """Jobs that may not be looked at, and why; only in this process."""
        self._refused_since: float | None = None

    @property
    def open(self) -> list[RemoteJob]:
        """Jobs that are not settled, and may be looked at."""
        return [job for job in self.jobs if job not in self.denied and not self._is_settled(job)]

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
        """Whether more polling can't change the verdict."""
        return bool(self.wrong or self.denied) or not self.open

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
        """Take in that the credentials were refused; whether to poll again, because they may be renewed.

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

    def lose(self, errors: Mapping[RemoteJob, Exception]) -> list[JobStatus]:
        """Take in that the service does not know the clusters or applications of some jobs, or denies them.

        One that it has known has been deleted since, and its jobs are gone: what is new is returned. Jobs
        that may not be looked at are not looked for any more.

        :raises UnknownScope: it has never known one, which may be a wrong id, connection or region.
        :raises Exception: any other of the errors.
        """
        known, unknown = self._known_scopes(), dict[RemoteJob, UnknownScope]()
        for job, error in errors.items():
            if isinstance(error, UnknownScope):
                unknown[job] = error
            elif is_of_scope(error):
                self.denied[job] = error
            else:
                raise error
        gone = {job: error for job, error in unknown.items() if scope_of(job) in known}
        for job, error in unknown.items():
            if job not in gone:
                self._mistake(job, error)
        return self.observe(JobStatus(job, JobState.GONE, reason=str(error)) for job, error in gone.items())

    def _known_scopes(self) -> set[tuple[str | None, ...]]:
        return {scope_of(job) for job, status in self.statuses.items() if status.state is not JobState.GONE}

    def _mistake(self, job: RemoteJob, error: UnknownScope) -> None:
        raise UnknownScope(f"{job} can't be described: {error}", error.operation, error.code) from error

    def act(self, pool: ServicePool) -> list[CancelResult]:
        """Do what is due after a poll. A watch does nothing."""
        return []

    def is_due(self) -> bool:
        """Whether :meth:`act` would send anything."""
        return False

    def verdict(self) -> dict[str, str]:
        """States of all jobs, by address, when the wait is over: a job that was not shown in it is GONE.

        :raises UnexpectedEnd: some ended in a state that is not a target; carries the service's reasons.
        :raises NotEnded: some are still on their way.
        :raises AccessDenied: some may not be looked at.
        """
        self._missing.clear()
        self._raise_if_denied()
        if self.wrong:
            targets = ", ".join(self.target_states)
            raise UnexpectedEnd(
                f"Expected {targets}; ended otherwise:", [str(status) for status in self.wrong]
            )
        self._raise_if_open()
        return self.states

    def _raise_if_denied(self) -> None:
        denied, self.denied = self.denied, {}  # a sensor with silent_fail looks again
        for error in denied.values():
            raise error

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
        self._missing = {RemoteJob(job): since for job, since in values["missing"].items()}


def scope_of(job: RemoteJob) -> tuple[str | None, ...]:
    """What the service has to know before it can know the job."""
    return job.service, job.conn_id, job.scope


def poll(watch: Watch, pool: ServicePool, log: Log) -> None:
    """Poll the open jobs once, and do what is due. A service that does not answer is only reported.

    :raises UnknownScope: as :meth:`Watch.lose`.
    """
    # Not above: a Dag file that is parsed needs none of it.
    from airflow_cancel_provider.services.progress import Progress, shown

    jobs = watch.open
    try:
        with shown(Progress("Looking at jobs", len(jobs), log.info).advance):
            seen, errors = _seen(pool, jobs)
        take_in(watch, seen, log)
        report_lost(watch, errors, log)
    except ServiceUnavailable as error:
        log.warning("%s Looking again later.", error)
    except IdentityError as error:
        if not watch.may_be_renewed():
            raise
        log.warning("%s Looking again with new credentials.", error)
    report(watch.act(pool), log)


def _seen(
    pool: ServicePool, jobs: Sequence[RemoteJob]
) -> tuple[list[JobStatus], Mapping[RemoteJob, Exception]]:
    try:
        return pool.described(jobs)
    except AccessDenied as error:
        if not is_of_scope(error):
            raise
        has_others = len({scope_of(job) for job in jobs}) > 1
        return pool.seen(jobs) if has_others else ([], dict.fromkeys(jobs, error))


def is_of_scope(error: Exception) -> TypeGuard[AccessDenied]:
    """Whether jobs elsewhere may be looked at all the same: policies name clusters and applications."""
    return isinstance(error, AccessDenied) and not isinstance(error, IdentityError)


def wait(
    watch: Watch,
    pool: ServicePool,
    log: Log,
    *,
    delay: float,
    max_attempts: int,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Poll every ``delay`` seconds, at most ``max_attempts`` times, until every job is settled."""
    for _ in range(max_attempts):
        if watch.is_decided:
            return
        sleep(delay)
        poll(watch, pool, log)


def take_in(watch: Watch, statuses: Sequence[JobStatus], log: Log) -> None:
    """Observe, and log what is new: loudly, if it is that the service does not know a job."""
    results = ((status.job, watch.results.get(status.job)) for status in statuses)
    warned = {job for job, result in results if result and result.outcome is CancelOutcome.GONE}
    known = warned | {status.job for status in statuses if status.job in watch.statuses}
    news = watch.observe(statuses)
    if len(news) > MANY:
        _count((status.state for status in news if status.state not in LOUD_STATES), log)
        news = [status for status in news if status.state in LOUD_STATES]
    for status in news:
        if status.state is JobState.GONE and status.job not in known:
            state = NOT_SHOWN if watch.may_appear(status.job) else "GONE"
            log.warning("%s", f"{status.job} is {state}: {unknown_to_the_service(status.job)}")
        else:
            log.info("%s", status)


def _count(words: Iterable[str], log: Log) -> None:
    for word, number in Counter(words).items():
        log.info("%d jobs: %s", number, word)


def report_lost(watch: Watch, errors: Mapping[RemoteJob, Exception], log: Log) -> None:
    """As :meth:`Watch.lose`, and log what is new."""
    if errors:
        for status in watch.lose(errors):
            log.warning("%s", status)


def report(results: Iterable[CancelResult], log: Log) -> None:
    """Log what became of each request; of many that went well, only how many."""
    results = list(results)
    if len(results) > MANY:
        special = (*LOUD_OUTCOMES, CancelOutcome.GONE)
        _count((result.outcome for result in results if result.outcome not in special), log)
        results = [result for result in results if result.outcome in special]
    for result in results:
        if result.outcome is CancelOutcome.GONE:
            words = unknown_to_the_service(result.job)
            log.warning("%s", f"{result.job}: GONE: {words} Nothing was cancelled.")
        else:
            (log.error if result.outcome in LOUD_OUTCOMES else log.info)("Cancel of %s", result)


def unknown_to_the_service(job: RemoteJob) -> str:
    """What it means, and may mean, that a job is GONE."""
    over = f"connection {job.conn_id!r}" if job.conn_id else "the process's own credentials"
    region = f" in region {job.region}" if job.region else ""
    return (
        f"the service does not know this job over {over}{region}. It may be of another account or region: "
        "check the address."
    )
