"""The cancel of what tries have started, from the first poll to the seen end, step by step.

A record can be written by others, and may be read over a connection that leads to another account than the
one the job was submitted to. So a job that is only on record is described before it is cancelled. A job that
this process saw start is cancelled at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Protocol, TypeVar

from airflow_cancel_provider.cancellation import TAKEN, Cancellation
from airflow_cancel_provider.clock import Clock
from airflow_cancel_provider.engine.label_search import LabelSearch
from airflow_cancel_provider.exceptions import UnknownScope
from airflow_cancel_provider.jobs import (
    CancelOutcome,
    CancelResult,
    JobState,
    JobStatus,
    RemoteJob,
)
from airflow_cancel_provider.services.base import LONGEST_REASON
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.results import outcome_of
from airflow_cancel_provider.task_log import Log
from airflow_cancel_provider.watch import UNSEEN_SECONDS, report, take_in, unknown_to_the_service

T = TypeVar("T", JobStatus, CancelResult)
NONE_SHOWN: Mapping[RemoteJob, JobStatus] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is to be cancelled.

    :param objection: why the job is to be left alone, now that it was described; None where nothing speaks
        against its cancel. Without such a function the job is cancelled at once.
    :param taken_at: when the service took the job, in epoch seconds; 0 for long ago.
    :param is_by_submitter: the job is reached with the identity that submitted it. Only then is a job gone
        that the service does not know.
    """

    objection: Callable[[JobStatus], str | None] | None = None
    taken_at: float = 0.0
    is_by_submitter: bool = False


class Claimant(Protocol):
    """A try, or a person, whose jobs are to be cancelled. It may name more jobs from step to step."""

    log: Log
    """Where to log what becomes of the jobs."""
    reason: str
    """Words for the service."""
    search: LabelSearch
    """The search for jobs of submissions whose answer is not known."""

    def claims(self) -> Mapping[RemoteJob, Claim]:
        """The jobs, without those that were released meanwhile."""
        ...


class CancelEngine:
    """Cancels the jobs of some claimants, in as few calls as possible.

    Call :meth:`step` again and again until :attr:`is_done`; then, or when patience runs out, :meth:`close`.

    :param pool: opens the services.
    :param escalate_after: as for :class:`Cancellation`.
    :param unknown_seconds: for how long jobs are looked for again that are only on record, and that the
        service does not know.
    :param clock: by which the claims' ``taken_at`` is measured.
    """

    def __init__(
        self,
        claimants: Iterable[Claimant],
        pool: ServicePool,
        *,
        escalate_after: float | None = None,
        unknown_seconds: float = inf,
        clock: Clock | None = None,
    ) -> None:
        self.cancellation = Cancellation([], "", escalate_after=escalate_after, clock=clock)
        self._claimants, self._pool = list(claimants), pool
        self._unknown_until = time.monotonic() + unknown_seconds
        self._has_polled = False
        self._claims: dict[RemoteJob, dict[Claimant, Claim]] = {}
        self._owner_of: dict[RemoteJob, Claimant] = {}
        """For whom a job is cancelled."""
        self._left_alone: set[tuple[RemoteJob, Claimant]] = set()
        self._unknown: set[RemoteJob] = set()
        """Jobs that are only on record, and that the service did not know at the last poll."""
        self._troubles: dict[RemoteJob, str] = {}
        self._logged: set[tuple[RemoteJob, str]] = set()
        self._reasons: dict[str, None] = {}

    @property
    def is_done(self) -> bool:
        """Whether every job was seen to end, was refused, or is to be left alone."""
        return self.is_requested and not self.cancellation.open

    @property
    def is_requested(self) -> bool:
        """Whether nothing is left to be requested or searched for: each request was answered."""
        left = set(self._unclear)
        if not self.unknown_seconds_left:
            left -= self._unknown
        is_searched = all(claimant.search.is_over for claimant in self._claimants)
        is_answered = not any(map(self._is_unanswered, self.cancellation.open))
        return self._has_polled and is_searched and not left and is_answered

    @property
    def unknown_seconds_left(self) -> float:
        """For how long jobs that the service does not know are looked for again; 0 once that is over."""
        return max(0.0, self._unknown_until - time.monotonic())

    @property
    def watched(self) -> list[RemoteJob]:
        """Jobs that may be cancelled, and that have not been seen to end."""
        return [job for job in self.cancellation.open if job in self._owner_of]

    @property
    def is_accepted(self) -> bool:
        """Whether the services accepted every request for what is known so far."""
        refused = any(r.outcome is CancelOutcome.REFUSED for r in self.cancellation.results.values())
        jobs = self.cancellation.jobs
        late = (job for job in jobs if self._is_unanswered(job) or self.cancellation.may_appear(job))
        is_searched = all(claimant.search.has_answers for claimant in self._claimants)
        return is_searched and not self._unclear and not refused and not any(late)

    def step(self, shown: Mapping[RemoteJob, JobStatus] = NONE_SHOWN) -> None:
        """Request the end of what may be cancelled, poll, repeat and escalate; then search for more.

        The search comes last: through many clusters it takes minutes. No error of a service or a connection
        is raised; it is logged, and the next step tries again.

        :param shown: jobs, with their labels, as others have seen them over the same connections; these are
            not polled.
        """
        requested = [*self.cancellation.open]
        self._request(shown)
        watched = [job for job in requested if job in self._claims]
        seen = [shown[job] for job in watched if job in shown]
        seen += self._poll([job for job in watched if job not in shown])
        self._take_in(self._beyond_doubt(seen))
        if requested:
            self._send(self.cancellation.act)
        if self._search():
            self._request()
        self._has_polled = True

    def outcomes(self, *, is_watched: bool = True) -> Iterator[tuple[RemoteJob, str]]:
        """As :meth:`Cancellation.outcomes`, with the jobs that could not be described."""
        return self.cancellation.outcomes(self._unclear, is_watched=is_watched)

    def close(self) -> list[RemoteJob]:
        """Log which jobs may still be running, and return those that are known."""
        for job in (unclear := self._unclear):
            trouble = self._troubles.get(job, "it was not seen")
            self._log(job).error("%s was not cancelled and may still be running: %s", job, trouble)
        for job in (unseen := self.cancellation.open):
            last = self.cancellation.statuses.get(job) or self.cancellation.results.get(job)
            self._log(job).error("Not seen to end, and may still be running: %s", last or job)
        for claimant in self._claimants:
            claimant.search.report_unfinished()
        return [*unclear, *unseen]

    @property
    def _unclear(self) -> list[RemoteJob]:
        """Jobs that are to be described before they are cancelled."""
        return [job for job in self._claims if job not in self._owner_of and self._open_claims(job)]

    def _open_claims(self, job: RemoteJob) -> dict[Claimant, Claim]:
        claims = self._claims[job]
        return {who: claim for who, claim in claims.items() if (job, who) not in self._left_alone}

    def _is_unanswered(self, job: RemoteJob) -> bool:
        result = self.cancellation.results.get(job)
        return result is None or result.outcome is CancelOutcome.UNANSWERED

    def _request(self, shown: Mapping[RemoteJob, JobStatus] = NONE_SHOWN) -> None:
        """Request the end of each job that is named now and may be cancelled."""
        self._gather()
        known = {job: shown[job] for job in self._unclear if job in shown}
        unclear = [job for job in self._unclear if job not in known]
        self._take_in(filter(self._may_end, [*known.values(), *self._poll(unclear, urgent=True)]))
        self.cancellation.jobs = [job for job in self._claims if job in self._owner_of]
        self._send(self.cancellation.request)
        for job in known:
            self._doubt(job)

    def _doubt(self, job: RemoteJob) -> None:
        """Have a job described after all that the service does not know any more, or refuses to cancel.

        The connection may lead elsewhere since it was seen.
        """
        result = self.cancellation.results.get(job)
        if result is not None and result.outcome in (CancelOutcome.GONE, CancelOutcome.REFUSED):
            self._look_again(job)

    def _beyond_doubt(self, statuses: Iterable[JobStatus]) -> Iterator[JobStatus]:
        """The statuses, without jobs that are not found before their request was accepted.

        Only the identity that submitted a job can tell that it is gone: these are described again first.
        """
        for status in statuses:
            by_submitter = any(claim.is_by_submitter for claim in self._claims[status.job].values())
            if status.state is JobState.GONE and not self._is_taken(status.job) and not by_submitter:
                self._look_again(status.job)
            else:
                yield status

    def _is_taken(self, job: RemoteJob) -> bool:
        result = self.cancellation.results.get(job)
        return result is not None and result.outcome in TAKEN

    def _look_again(self, job: RemoteJob) -> None:
        """Have a job described before it is cancelled, as if nothing had been seen of it."""
        self.cancellation.results.pop(job, None)
        self._owner_of.pop(job, None)

    def _search(self) -> bool:
        """Search for jobs of submissions without an answer; whether there are jobs that were not named."""
        for claimant in self._claimants:
            claimant.search.update()
        return any(claimant.claims().keys() - self._claims.keys() for claimant in self._claimants)

    def _gather(self) -> None:
        self._claims = {}
        for claimant in self._claimants:
            for job, claim in claimant.claims().items():
                self._claims.setdefault(job, {})[claimant] = claim
                self.cancellation.taken_at[job] = claim.taken_at
                if claim.objection is None and job not in self._owner_of:
                    self._take_over(job, claimant)

    def _may_end(self, status: JobStatus) -> bool:
        """Decide what becomes of a job, now that it was described; return whether it is to end."""
        job, claims = status.job, self._open_claims(status.job)
        self._unknown.discard(job)
        if status.state is JobState.GONE:
            self._not_found(job, claims)
            return False
        objections = {who: claim.objection and claim.objection(status) for who, claim in claims.items()}
        if own := [who for who, objection in objections.items() if not objection]:
            self._take_over(job, own[0])
            if (outcome := outcome_of(status)) is not None:  # it is ending: nothing is to be sent
                self.cancellation.leave_to_others(job, outcome)
            return True
        self._left_alone |= {(job, who) for who in claims}
        log, objection = self._log(job), next(iter(objections.values()))
        if status.state.is_terminal:
            log.info("%s", status)
        else:
            log.warning("%s is left alone: %s", job, objection)
        return False

    def _not_found(self, job: RemoteJob, claims: Mapping[Claimant, Claim]) -> None:
        """Only the identity that submitted a job can tell that it is gone."""
        by_submitter = {who: claim for who, claim in claims.items() if claim.is_by_submitter}
        late = self.cancellation.clock.now() - UNSEEN_SECONDS
        self._left_alone |= {(job, who) for who, claim in by_submitter.items() if claim.taken_at < late}
        if len(by_submitter) < len(claims):
            self._unknown.add(job)
            self._trouble(job, unknown_to_the_service(job))

    def _take_over(self, job: RemoteJob, claimant: Claimant) -> None:
        """Cancel a job for a claimant. One call has one reason: that of one task, and how many others."""
        self._owner_of[job] = claimant
        self._reasons[claimant.reason] = None
        first, *others = self._reasons
        more = "1 other task" if len(others) == 1 else f"{len(others)} other tasks"
        reason = f"{first}, and {more}" if others else first
        self.cancellation.reason = reason[:LONGEST_REASON]

    def _take_in(self, statuses: Iterable[JobStatus]) -> None:
        for log, some in self._by_log(statuses):
            take_in(self.cancellation, some, log)

    def _send(self, send: Callable[[ServicePool], list[CancelResult]]) -> None:
        for log, some in self._by_log(send(self._pool)):
            report(some, log)

    def _by_log(self, news: Iterable[T]) -> Iterable[tuple[Log, list[T]]]:
        """News of jobs together with the log of their claimant, which is told of many at once."""
        told: dict[int, tuple[Log, list[T]]] = {}
        for each in news:
            log = self._log(each.job)
            told.setdefault(id(log), (log, []))[1].append(each)
        return told.values()

    def _poll(self, jobs: list[RemoteJob], *, urgent: bool = False) -> list[JobStatus]:
        """States of jobs; those that are to be cancelled go before other polls."""
        found, errors = self._pool.seen(jobs, urgent=urgent)
        unknown = {job: error for job, error in errors.items() if isinstance(error, UnknownScope)}
        self._have_trouble({job: error for job, error in errors.items() if job not in unknown})
        return [*found, *(JobStatus(job, JobState.GONE, reason=str(unknown[job])) for job in unknown)]

    def _have_trouble(self, troubles: Mapping[RemoteJob, Exception]) -> None:
        if troubles:
            self._pool.renew()
        for job, error in troubles.items():
            self._trouble(job, f"{error} Looking again later.")

    def _trouble(self, job: RemoteJob, trouble: str) -> None:
        self._troubles[job] = trouble
        if (job, trouble) not in self._logged:
            self._logged.add((job, trouble))
            self._log(job).warning("%s: %s", job, trouble)

    def _log(self, job: RemoteJob) -> Log:
        return (self._owner_of.get(job) or next(iter(self._claims[job]))).log
