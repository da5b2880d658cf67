"""The kills of a cancel: which jobs need none, one request for each of the others, and what its answer means.

OTC API reference, "Terminating a Job" (mrs_02_0088); for V1.1 "Canceling Job Execution" (mrs_02_0052).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from airflow_cancel_provider.exceptions import IdentityError, ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, RemoteJob, by_scope
from airflow_cancel_provider.services.mrs.calls import IDENTIFIER
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.errors import Fault, FaultKind
from airflow_cancel_provider.services.mrs.lookup import Lookup, kind_of, no_cluster
from airflow_cancel_provider.services.mrs.states import (
    KILL_FAILED,
    SPARK_SQL,
    JobRecord,
    is_unexplained,
    retried_if_refused,
)
from airflow_cancel_provider.services.results import undone
from airflow_cancel_provider.services.retry import CallSeries

KILL_SECONDS = 60.0
"""For how long an accepted kill is not repeated: it may take some ten seconds."""
LOST = -math.inf
"""In place of the time at which a kill was accepted, where its answer was lost."""
Results = dict[RemoteJob, CancelResult]


@dataclass
class Kills:
    """The kills of one cancel.

    :param asked: when a kill was last accepted, on the monotonic clock, or :data:`LOST`. Kept from one cancel
        to the next.
    :param is_listed: whether so many jobs of a cluster are listed, and not described one by one.
    """

    lookup: Lookup
    series: CallSeries
    asked: dict[RemoteJob, float]
    is_listed: Callable[[int], bool]
    is_refused: bool = field(default=False, init=False)
    """Whether the identity was not accepted."""
    _unclear: Results = field(default_factory=dict, init=False)
    """What MRS did not accept, for a reason that the state of the job may explain."""
    _terminated: set[str | None] = field(default_factory=set, init=False)
    """Clusters that were found to have ended."""

    def needless(self, jobs: Sequence[RemoteJob], worth_listing: int) -> Results:
        """Results for jobs that need no request: they have ended, or are being killed.

        :param worth_listing: above so many jobs of a cluster all are described before. Otherwise only what
            was asked before; and with V1.1, which also accepts the kill of an ended job, each.
        """
        is_old = self.lookup.client.api_version == "v1.1"
        doubtful = [
            job
            for some in by_scope(jobs).values()
            for job in some
            if is_old or len(some) > worth_listing or job in self.asked
        ]
        described = self._described({job: CancelResult(job, CancelOutcome.REQUESTED) for job in doubtful})
        killed_since = time.monotonic() - KILL_SECONDS
        for job, result in described.items():
            if result.outcome is CancelOutcome.REQUESTED and self.asked.get(job, LOST) > killed_since:
                described[job] = replace(result, outcome=CancelOutcome.ALREADY_CANCELLING)
        requested = CancelOutcome.REQUESTED
        return {job: result for job, result in described.items() if result.outcome is not requested}

    def ask(self, jobs: Sequence[RemoteJob]) -> list[CancelResult]:
        """The result of the request for one job.

        :raises ServiceError: it failed in a way that says something of other jobs.
        """
        (job,) = jobs
        if job.scope in self._terminated:
            return [CancelResult(job, CancelOutcome.GONE)]
        try:
            return [self._killed(job)]
        except ServiceError as error:
            (failed,), kind = undone(jobs, error), kind_of(error)
            self.is_refused |= isinstance(error, IdentityError)
            if kind is FaultKind.NO_CLUSTER and self.lookup.has_ended(self.series, str(job.scope)):
                self._terminated.add(job.scope)
            if kind is FaultKind.GONE or job.scope in self._terminated:
                return [replace(failed, outcome=CancelOutcome.GONE)]
            if kind is not FaultKind.OTHER:
                raise
            self._unclear[job] = failed
            return [failed]

    def explained(self, lag: float) -> Results:
        """What was unclear, explained by the jobs' states; refused jobs that still run are described again.

        :param lag: seconds until then: a job may have ended, while MRS still shows it as running.
        """
        results = self._described(self._unclear)
        unexplained = {job: result for job, result in results.items() if is_unexplained(result)}
        if not unexplained:
            return results
        time.sleep(min(lag, self.lookup.patience.seconds))
        return {
            # A kill that failed: another one of the job may be under way.
            job: retried_if_refused(result) if result.code in KILL_FAILED else result
            for job, result in (results | self._described(unexplained)).items()
        }

    def _killed(self, job: RemoteJob) -> CancelResult:
        """Send the request, with retries.

        :raises ServiceError: as :meth:`Lookup.call`.
        """
        if impossible := _impossible(job):
            return impossible
        kill = _Kill(self.lookup.client, job)
        try:
            return self.lookup.call(self.series, kill.send)
        finally:
            if kill.is_taken or kill.is_lost:
                self.asked[job] = time.monotonic() if kill.is_taken else LOST

    def _described(self, results: Results) -> Results:
        """Results, now that the jobs were described."""
        described: Results = {}
        for cluster, jobs in by_scope(results).items():
            some = {job: results[job] for job in jobs}
            try:
                found = self.lookup.find(self.series, str(cluster), jobs, is_listed=self.is_listed(len(jobs)))
            except ServiceUnavailable:
                # The states can't be read now: repeat what was refused.
                described |= {job: retried_if_refused(result) for job, result in some.items()}
            except ServiceError:
                # Describing is not allowed, or the cluster not known: the first answer counts.
                described |= some
            else:
                described |= {job: self._judged(result, found.get(job)) for job, result in some.items()}
        return described

    def _judged(self, result: CancelResult, record: JobRecord | None) -> CancelResult:
        if record is None:
            return replace(result, outcome=CancelOutcome.GONE)
        if record.state is JobState.CANCELLED and self.asked.get(result.job) == LOST:
            return CancelResult(result.job, CancelOutcome.REQUESTED)
        if record.state.is_terminal:
            return CancelResult(result.job, CancelOutcome.ALREADY_ENDED, record.reason, result.code)
        if result.outcome is CancelOutcome.REQUESTED:
            return result
        if (record.type or "").lower() == "sparksql":
            # Without a code: then it is not described again.
            return CancelResult(result.job, CancelOutcome.REFUSED, SPARK_SQL)
        is_asked = result.job in self.asked
        return replace(result, outcome=CancelOutcome.ALREADY_CANCELLING) if is_asked else result


class _Kill:
    """The request for one job. Where its answer was lost, the job is described before it is sent again.

    :ivar is_lost: whether an answer was lost.
    :ivar is_taken: whether a request was accepted, or has had its effect.
    """

    def __init__(self, client: MrsClient, job: RemoteJob) -> None:
        self._client, self._job = client, job
        self.is_lost = self.is_taken = False

    def send(self) -> CancelResult:
        """Send it, unless the job is over.

        :raises Fault: MRS did not accept it.
        """
        if self.is_lost and (over := self._over()):
            self.is_taken = over.outcome is CancelOutcome.REQUESTED
            return over
        try:
            response = self._client.kill_job(str(self._job.scope), self._job.id)
        except Fault as fault:
            self.is_lost |= fault.may_have_acted
            raise
        self.is_taken = True
        return CancelResult(self._job, CancelOutcome.REQUESTED, response=response)

    def _over(self) -> CancelResult | None:
        """The result for a job that has ended since."""
        job = self._job
        try:
            record = self._client.show_job(str(job.scope), job.id)
        except Fault as fault:
            if fault.kind is FaultKind.GONE:
                return CancelResult(job, CancelOutcome.GONE)
            if fault.is_transient:
                raise
            # Describing is not allowed: repeat the kill, which does no harm.
            return None
        if record.state is JobState.CANCELLED:
            return CancelResult(job, CancelOutcome.REQUESTED)
        ended = CancelResult(job, CancelOutcome.ALREADY_ENDED, record.reason)
        return ended if record.state.is_terminal else None


def _impossible(job: RemoteJob) -> CancelResult | None:
    """The result for a job that MRS can't have issued: nothing else than its ids may go into a path."""
    if not IDENTIFIER.fullmatch(str(job.scope)):
        return undone([job], no_cluster(str(job.scope)))[0]
    if not IDENTIFIER.fullmatch(job.id):
        return CancelResult(job, CancelOutcome.GONE, f"{job.id!r} is not an id of MRS.")
    return None
