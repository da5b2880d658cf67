"""Request, escalate, confirm: the one way in which anything here waits for jobs or cancels them.

Nothing in this module sleeps on its own account or knows Airflow: an operator, a trigger or another
process drives it, and it goes through JSON from one to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Self

from airflow_cancel_provider.clock import Clock
from airflow_cancel_provider.exceptions import (
    CancelRefused,
    JobsError,
    NotEnded,
    NotRunning,
    UnknownScope,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.watch import UNSEEN_SECONDS, Watch, report, scope_of

if TYPE_CHECKING:
    from airflow_cancel_provider.services.pool import ServicePool
    from airflow_cancel_provider.task_log import Log

FIRST_POLL_SECONDS = 2.0
"""After the cancel of many jobs: for as long they are given to end before they are polled."""
MAY_END = (CancelOutcome.REQUESTED, CancelOutcome.ALREADY_CANCELLING, CancelOutcome.UNANSWERED)
"""After these a job may have ended because of the request."""
TAKEN = (CancelOutcome.REQUESTED, CancelOutcome.ALREADY_CANCELLING, CancelOutcome.ALREADY_ENDED)
"""After these the service knows the job, over this connection."""


class Cancellation(Watch):
    """A cancel of many jobs, from the request to the seen end.

    A request is sent again only when the service did not answer it, or when ``escalate_after`` seconds
    have gone by: then once, by force, for the jobs that still live and where force adds something.

    :param escalate_after: seconds from the request; None never escalates.
    :param leave_running: only pending jobs are to be cancelled; one that is seen running is let go.
    :param awaits_unseen: look for jobs for a while that the service does not show, as a :class:`Watch` does;
        without it, only for those of which it is known that they were taken a moment ago.
    :param clock: that of the try whose jobs they are, if :attr:`taken_at` is filled.
    """

    def __init__(
        self,
        jobs: Iterable[RemoteJob],
        reason: str,
        *,
        escalate_after: float | None = None,
        leave_running: bool = False,
        awaits_unseen: bool = False,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(jobs)
        self.clock = clock or self.clock
        self.reason = reason
        self.escalate_after = escalate_after
        self.leave_running = leave_running
        self.awaits_unseen = awaits_unseen
        self.requested_at: float | None = None
        self.forced: set[RemoteJob] = set()
        """Jobs for which the escalation is done with."""
        self.unsure: set[RemoteJob] = set()
        """Jobs with a request that was not answered, and may have been carried out."""
        self.taken_at: dict[RemoteJob, float] = {}
        """When the service took a job, in epoch seconds, where that is known; only in this process."""
        self._first_asked: dict[RemoteJob, float] = {}
        """When the end of a job was requested first, as ``requested_at``; only in this process."""

    def request(self, pool: ServicePool, *, force: bool = False) -> list[CancelResult]:
        """Ask for every job to end that was not asked for yet; what became of it, job by job.

        :param force: at once as hard as the service can.
        """
        jobs = [job for job in self.jobs if job not in self.results]
        if jobs:
            self.requested_at = self.requested_at or self.clock.now()
            self._first_asked |= dict.fromkeys(jobs, self.clock.now())
        results = pool.cancel(jobs, self.reason, force=force)
        self._note(results)
        return results

    def leave_to_others(self, job: RemoteJob, outcome: CancelOutcome) -> None:
        """Note that nothing is to be sent for a job, because it is ending or has ended.

        If it goes on all the same, a harder cancel comes as if its end had been requested now.
        """
        self.results[job] = CancelResult(job, outcome)
        if outcome is CancelOutcome.ALREADY_CANCELLING:
            now = self.clock.now()
            self.requested_at = self.requested_at or now
            self._first_asked.setdefault(job, now)

    def _note(self, results: Iterable[CancelResult]) -> None:
        for result in results:
            self.results[result.job] = result
            if result.outcome is CancelOutcome.UNANSWERED:
                self.unsure.add(result.job)

    def observe(self, statuses: Iterable[JobStatus]) -> list[JobStatus]:
        """Take in what was seen; return what is new."""
        statuses = list(statuses)
        news = super().observe(statuses)
        for status in statuses:
            if self.leave_running and status.state is JobState.RUNNING:
                self.results[status.job] = CancelResult(status.job, CancelOutcome.LEFT_RUNNING, status.reason)
            if self._has_appeared(status):
                words = "The service did not know the job at the first request."
                self.results[status.job] = CancelResult(status.job, CancelOutcome.UNANSWERED, words)
        return news

    @property
    def _was_answered(self) -> bool:
        answers = (result.outcome for result in self.results.values())
        return super()._was_answered or any(each is not CancelOutcome.UNANSWERED for each in answers)

    @property
    def is_decided(self) -> bool:
        """Whether more polling can't change anything: what may be looked at has ended."""
        return not self.open

    def _known_scopes(self) -> set[tuple[str | None, ...]]:
        asked = {scope_of(job) for job, result in self.results.items() if result.outcome in TAKEN}
        return asked | super()._known_scopes()

    def _mistake(self, job: RemoteJob, error: UnknownScope) -> None:
        """Nothing can be cancelled there; the other jobs are seen to."""
        self.results[job] = CancelResult(job, CancelOutcome.REFUSED, str(error), error.code)

    def may_appear(self, job: RemoteJob) -> bool:
        """Whether the service took a job so short a time ago that it may only not know it yet."""
        if self.awaits_unseen and super().may_appear(job):
            return True
        status, result = self.statuses.get(job), self.results.get(job)
        is_gone = status.state is JobState.GONE if status else result and result.outcome is CancelOutcome.GONE
        return bool(is_gone) and self.clock.now() - self.taken_at.get(job, 0.0) < UNSEEN_SECONDS

    def _has_appeared(self, status: JobStatus) -> bool:
        """Whether a job lives that the service did not know when its end was requested."""
        result = self.results.get(status.job)
        is_living = status.state in (JobState.PENDING, JobState.RUNNING)
        return is_living and result is not None and result.outcome is CancelOutcome.GONE

    def act(self, pool: ServicePool) -> list[CancelResult]:
        """Ask again where the service did not answer; escalate when it is time."""
        again = pool.cancel(unanswered, self.reason) if (unanswered := self._unanswered()) else []
        self._note(again)
        return again + self._escalate(pool)

    def is_due(self) -> bool:
        """Whether anything is unanswered, or it is time to escalate."""
        return bool(self._unanswered() or self._due_to_escalate())

    def end(self, status: JobStatus, by: Actor, reason: str) -> JobEnd:
        """How a job was seen to end. What had ended before the request was ended by others.

        :param by: who has requested the cancel.
        """
        result = self.results.get(status.job)
        is_asked = result is not None and result.outcome in MAY_END
        return JobEnd.seen(status, by if is_asked else Actor.SERVICE, reason)

    def ends(self, by: Actor, reason: str) -> dict[RemoteJob, JobEnd]:
        """How the jobs that were seen to end have ended; as :meth:`end`."""
        seen = self.statuses.items()
        return {job: self.end(status, by, reason) for job, status in seen if status.state.is_terminal}

    def verdict(self, *, fail_if_not_running: bool = False, ended: bool = True) -> dict[str, str]:
        """Last seen state of every job, by address, when the wait is over; as :meth:`Watch.verdict`.

        Nothing here rests on a request having been accepted.

        :param fail_if_not_running: it is an error if a job had ended before the request.
        :param ended: every job must have been seen to end; otherwise its request must have been answered, or
            the job seen to be ending.
        :raises CancelRefused: the service will not cancel some of them.
        :raises NotEnded: some were not seen to end, or their request was not answered.
        :raises NotRunning: some had ended before, if that was to be an error.
        """
        self._missing.clear()
        self._raise_if_any("The service refused to cancel:", CancelRefused, CancelOutcome.REFUSED)
        self._raise_if_denied()
        if ended:
            self._raise_if_open()
        else:
            message = "The service did not answer; asked for:"
            self._raise_if_any(message, NotEnded, CancelOutcome.UNANSWERED, but=self._needs_no_answer)
        if fail_if_not_running:
            gone = (CancelOutcome.ALREADY_ENDED, CancelOutcome.GONE)
            message = "Not running any more when the cancel was requested:"
            self._raise_if_any(message, NotRunning, *gone, but=self._may_be_ours)
        return self.states

    def outcomes(
        self, failed: Iterable[RemoteJob] = (), *, is_watched: bool = True
    ) -> Iterator[tuple[RemoteJob, str]]:
        """``requested``, ``confirmed`` (seen to end after a request) or ``failed``, for each job.

        :param failed: other jobs that could not be cancelled.
        :param is_watched: whether a job that was not seen to end counts as failed although its request was
            accepted.
        """
        accepted = (CancelOutcome.REQUESTED, CancelOutcome.ALREADY_CANCELLING)
        taken = {job for job, result in self.results.items() if result.outcome in accepted}
        refused = {job for job, result in self.results.items() if result.outcome is CancelOutcome.REFUSED}
        living = {*failed, *self.open, *self.denied}
        yield from ((job, "requested") for job in taken)
        yield from ((job, "confirmed") for job in taken - living)
        yield from ((job, "failed") for job in refused | (living if is_watched else living - taken))

    def _needs_no_answer(self, job: RemoteJob) -> bool:
        """Whether a job was seen to be ending, or to have ended, whatever became of its request."""
        return self._is_ending(job) or self._is_settled(job)

    def _is_ending(self, job: RemoteJob) -> bool:
        status = self.statuses.get(job)
        return status is not None and status.state is JobState.CANCELLING

    def _may_be_ours(self, job: RemoteJob) -> bool:
        """Whether a job may have been cancelled by a request of ours whose answer was lost."""
        status = self.statuses.get(job)
        return job in self.unsure and status is not None and status.state is JobState.CANCELLED

    def _raise_if_any(
        self,
        message: str,
        error: type[JobsError],
        *outcomes: CancelOutcome,
        but: Callable[[RemoteJob], bool] = lambda _: False,
    ) -> None:
        found = (result for result in self.results.values() if result.outcome in outcomes)
        lines = [str(result) for result in found if not but(result.job)]
        if lines:
            raise error(message, lines)

    def _unanswered(self) -> list[RemoteJob]:
        return [
            job
            for job in self.open
            if (result := self.results.get(job))
            and result.outcome is CancelOutcome.UNANSWERED
            and not self._is_ending(job)
        ]

    def _due_to_escalate(self) -> list[RemoteJob]:
        """Jobs that were asked long enough ago; some may have been found later than the others."""
        if self.escalate_after is None or self.requested_at is None:
            return []
        asked_by = self.clock.now() - self.escalate_after
        asked = self._first_asked
        unforced = (job for job in self.open if job not in self.forced)
        return [job for job in unforced if asked.get(job, self.requested_at) <= asked_by]

    def _escalate(self, pool: ServicePool) -> list[CancelResult]:
        due = self._due_to_escalate()
        jobs = [job for job in due if pool.can_escalate(job)]
        results = pool.cancel(jobs, self.reason, force=True) if jobs else []
        # What was not answered is asked again at the next poll.
        unanswered = {result.job for result in results if result.outcome is CancelOutcome.UNANSWERED}
        self.forced.update(set(due) - unanswered)
        return results

    def _is_settled(self, job: RemoteJob) -> bool:
        outcome = result.outcome if (result := self.results.get(job)) else None
        if outcome is CancelOutcome.LEFT_RUNNING:
            return job in self.statuses  # seen once, for its state
        is_settled = outcome is CancelOutcome.REFUSED or super()._is_settled(job)
        return is_settled and not self.may_appear(job)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a trigger or another process."""
        return {
            **super().as_json(),
            "reason": self.reason,
            "escalate_after": self.escalate_after,
            "leave_running": self.leave_running,
            "awaits_unseen": self.awaits_unseen,
            "requested_at": self.requested_at,
            "forced": sorted(map(str, self.forced)),
            "unsure": sorted(map(str, self.unsure)),
            "results": [result.as_json() for result in self.results.values()],
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of :meth:`as_json`."""
        cancellation = cls(
            map(RemoteJob, values["jobs"]),
            values["reason"],
            escalate_after=values["escalate_after"],
            leave_running=values["leave_running"],
            awaits_unseen=values["awaits_unseen"],
        )
        cancellation.observe(map(JobStatus.from_json, values["statuses"]))
        cancellation._read_missing(values)
        cancellation.requested_at = values["requested_at"]
        cancellation.forced = set(map(RemoteJob, values["forced"]))
        cancellation.unsure = set(map(RemoteJob, values["unsure"]))
        results = map(CancelResult.from_json, values["results"])
        cancellation.results = {result.job: result for result in results}
        return cancellation


def request(cancellation: Cancellation, pool: ServicePool, log: Log) -> None:
    """Request the end of every job, and log how far that has got and what became of each."""
    from airflow_cancel_provider.services.progress import Progress, shown

    progress = Progress("Cancel requests", len(cancellation.jobs), log.info)
    with shown(progress.advance):
        results = cancellation.request(pool)
    report(results, log)
