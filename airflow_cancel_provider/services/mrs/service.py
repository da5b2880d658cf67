"""Job executions of MRS clusters.

OTC API reference, "Terminating a Job" (mrs_02_0088), "Querying a List of Jobs" (mrs_02_0087); for V1.1
"Canceling Job Execution" (mrs_02_0052).
"""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Self

from airflow_cancel_provider.exceptions import (
    IdentityError,
    ServiceError,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.jobs import (
    CancelOutcome,
    CancelResult,
    JobState,
    JobStatus,
    RemoteJob,
    by_scope,
)
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.cancel_requests import send_in_turn
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.meter import Meter
from airflow_cancel_provider.services.mrs.calls import IDENTIFIER
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.client_spec import client_of, spec_of
from airflow_cancel_provider.services.mrs.errors import Fault, FaultKind
from airflow_cancel_provider.services.mrs.lookup import (
    CLUSTER_ENDS,
    Lookup,
    is_pointless,
    kind_of,
    no_cluster,
)
from airflow_cancel_provider.services.mrs.states import (
    KILL_FAILED,
    SPARK_SQL,
    JobRecord,
    is_unexplained,
    retried_if_refused,
    status_of,
)
from airflow_cancel_provider.services.mrs.submission import QUOTAS
from airflow_cancel_provider.services.results import in_order, named, undone
from airflow_cancel_provider.services.retry import CallSeries, Patience
from airflow_cancel_provider.services.submissions import tell_ended, without_label

KILL_SECONDS = 60.0
"""For how long an accepted kill is not repeated: it may take some ten seconds."""


class MrsJobService(JobService):
    """Job executions, by cluster.

    :param client: for one project and one API version.
    :param region: where addresses name one: the region set over that of the connection.
    :param lag: seconds by which MRS may show a state late. After them, a refused job is described once more.
    """

    name = "mrs"
    scope_word = "cluster_id"
    scope_pattern = IDENTIFIER
    scope_example = "00000000-0000-0000-0000-000000000000"
    id_word = "job execution id"
    id_pattern = IDENTIFIER
    id_example = "00000000-0000-0000-0000-000000000000"
    quotas = QUOTAS
    worth_listing = 5

    def __init__(
        self,
        client: MrsClient,
        *,
        conn_id: str | None = None,
        region: str | None = None,
        patience: Patience | None = None,
        lag: float = 3.0,
    ) -> None:
        super().__init__(conn_id=conn_id, region=region, patience=patience)
        self.client = client.metered(self.meter)
        self.lag = lag
        self._asked: dict[RemoteJob, float] = {}
        """When a request was last accepted, on the monotonic clock; ``-inf`` where its answer was lost."""

    @classmethod
    def over(cls, spec: ClientSpec, patience: Patience) -> Self:
        """The service over a client like the one that was specified."""
        return cls(client_of(spec), conn_id=spec.conn_id, region=spec.region, patience=patience)

    @property
    def spec(self) -> ClientSpec:
        """How this client reaches MRS."""
        return spec_of(self.client, self.conn_id, self.region)

    @property
    def _place(self) -> Hashable:
        return self.client.endpoint

    @property
    def _account(self) -> Hashable:
        return self.client.project_id

    @property
    def lookup(self) -> Lookup:
        """The client's calls, with the patience of now."""
        return Lookup(self.client, self.patience, self.conn_id)

    def describe(self, jobs: Iterable[RemoteJob]) -> list[JobStatus]:
        """One request for each job; for many, the cluster's running and newest jobs are listed by 100."""
        jobs, series = list(dict.fromkeys(jobs)), self.patience.started()
        found: dict[RemoteJob, JobStatus] = {}
        for cluster, some in by_scope(jobs).items():
            records = self.lookup.find(series, str(cluster), some, is_listed=self._is_listed(len(some)))
            found |= {job: status_of(job, record) for job, record in records.items()}
        ended = [job for job, status in found.items() if status.state.is_terminal]
        for job in ended:
            self._asked.pop(job, None)
        tell_ended(self.name, self.region, [(job.scope, job.id, found[job].state) for job in ended])
        return in_order(jobs, found)

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """One request for each job; many are listed first, 100 a call, to leave out those that have ended.

        They go side by side as long as they are answered: MRS may take ten seconds for each.
        MRS has no field for ``reason``, and no harder cancel for ``force``.
        """
        jobs, series = list(dict.fromkeys(jobs)), self.patience.started(urgent=True)
        results = self._needless(series, jobs)
        self.identity_refused = False
        unclear: dict[RemoteJob, CancelResult] = {}
        terminated: set[str | None] = set()

        def ask(some: Sequence[RemoteJob]) -> list[CancelResult]:
            (job,) = some
            if job.scope in terminated:
                return [CancelResult(job, CancelOutcome.GONE)]
            try:
                return [self._cancel_one(series, job)]
            except ServiceError as error:
                (failed,), kind = undone(some, error), kind_of(error)
                if isinstance(error, IdentityError):
                    self.identity_refused = True
                if kind is FaultKind.NO_CLUSTER and self.lookup.has_ended(series, str(job.scope)):
                    terminated.add(job.scope)
                if kind is FaultKind.GONE or job.scope in terminated:
                    return [replace(failed, outcome=CancelOutcome.GONE)]
                if kind is not FaultKind.OTHER:
                    raise
                unclear[job] = failed
                return [failed]

        todo = by_scope(job for job in jobs if job not in results)
        requests = ([job] for some in todo.values() for job in some)
        results |= {result.job: result for result in send_in_turn(requests, ask, is_pointless)}
        results |= self._explained(series, unclear)
        return [results[job] for job in jobs]

    def scopes(self) -> Iterator[str]:
        """Clusters of the project that are neither terminated nor terminating, in whatever other state."""
        for page in self.lookup.clusters(self.patience.started()):
            yield from (cluster for cluster, state in page if state.lower() not in CLUSTER_ENDS)

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        """Jobs that live. In a terminated cluster, of whose jobs MRS knows nothing, there are none."""
        try:
            for job in self._records(scope, live_only=True):
                yield from named([self._status(scope, job)], name_prefix)
        except UnknownScope:
            if not self.lookup.has_ended(self.patience.started(), scope):
                raise

    def listing(
        self, cluster_id: str, job_name: str | None = None, *, live_only: bool = False
    ) -> Iterator[JobStatus]:
        """Jobs of a cluster, newest first; with ``job_name``, those of exactly this name, labelled or not.

        :raises ServiceError: as :meth:`describe`.
        """
        cluster_id = self.place(cluster_id)
        records = self._records(cluster_id, job_name, live_only=live_only)
        return (self._status(cluster_id, record) for record in records)

    def _records(
        self, cluster_id: str, job_name: str | None = None, *, live_only: bool
    ) -> Iterator[JobRecord]:
        series = self.patience.started()
        for page in self.lookup.pages(series, cluster_id, job_name=job_name, live_only=live_only):
            for record in page:
                # MRS filters names by a part of them, and its V1.1 does not filter states.
                if _is_named(record, job_name) and not (live_only and record.state.is_terminal):
                    yield record

    def _status(self, cluster_id: str, record: JobRecord) -> JobStatus:
        if record.state.is_terminal:
            tell_ended(self.name, self.region, [(cluster_id, record.id, record.state)])
        return status_of(self.address(record.id, cluster_id), record)

    def _with_meter(self, meter: Meter) -> Self:
        other = super()._with_meter(meter)
        other.client = self.client.metered(meter)
        return other

    def cancel_sql(self, cluster_id: str, sql_id: str) -> None:
        """Cancel a query that was submitted to Presto with ExecuteSql; one that has ended is no error.

        :raises ServiceError: MRS could not cancel it.
        """
        series = self.patience.started(urgent=True)
        status = self.lookup.call(series, lambda: self.client.cancel_sql(cluster_id, sql_id))
        if status.upper() != "SUCCEED":
            raise ServiceError(
                f"CancelSql on {cluster_id}/{sql_id} failed: MRS says {status or 'nothing'}. Try again.",
                "CancelSql",
            )

    def _needless(self, series: CallSeries, jobs: list[RemoteJob]) -> dict[RemoteJob, CancelResult]:
        """Results for jobs that need no request: they have ended, or are being killed."""
        doubtful = [
            job
            for some in by_scope(jobs).values()
            for job in some
            if self._is_to_be_described(job, len(some))
        ]
        asked = {job: CancelResult(job, CancelOutcome.REQUESTED) for job in doubtful}
        described = {
            job: replace(result, outcome=CancelOutcome.ALREADY_CANCELLING)
            if result.outcome is CancelOutcome.REQUESTED and self._is_being_killed(job)
            else result
            for job, result in self._described(series, asked).items()
        }
        return {
            job: result for job, result in described.items() if result.outcome is not CancelOutcome.REQUESTED
        }

    def _is_to_be_described(self, job: RemoteJob, in_cluster: int) -> bool:
        """Whether to describe a job before its kill: V1.1 also accepts the kill of an ended job."""
        return self.client.api_version == "v1.1" or in_cluster > self.worth_listing or job in self._asked

    def _is_being_killed(self, job: RemoteJob) -> bool:
        asked_at = self._asked.get(job)
        return asked_at is not None and time.monotonic() - asked_at < KILL_SECONDS

    def _cancel_one(self, series: CallSeries, job: RemoteJob) -> CancelResult:
        """The result of one request.

        :raises ServiceError: as :meth:`Lookup.call`.
        """
        if over := _impossible(job):
            return over
        unsure = is_accepted = False

        def request() -> CancelResult:
            nonlocal unsure, is_accepted
            # An answer was lost: describe the job before the request is repeated.
            if unsure and (over := self._over(job)):
                is_accepted = over.outcome is CancelOutcome.REQUESTED
                return over
            try:
                response = self.client.kill_job(str(job.scope), job.id)
            except Fault as fault:
                unsure = unsure or fault.may_have_acted
                raise
            is_accepted = True
            return CancelResult(job, CancelOutcome.REQUESTED, response=response)

        try:
            return self.lookup.call(series, request)
        finally:
            if unsure or is_accepted:
                self._asked[job] = time.monotonic() if is_accepted else -math.inf

    def _over(self, job: RemoteJob) -> CancelResult | None:
        """The result for a job that has ended since a request whose answer was lost."""
        try:
            record = self.client.show_job(str(job.scope), job.id)
        except Fault as fault:
            if fault.kind is FaultKind.GONE:
                return CancelResult(job, CancelOutcome.GONE)
            if fault.is_transient:
                raise
            # Describing is not allowed: repeat the kill, which does no harm.
            return None
        if record.state is JobState.CANCELLED:
            return CancelResult(job, CancelOutcome.REQUESTED)
        return (
            CancelResult(job, CancelOutcome.ALREADY_ENDED, record.reason)
            if record.state.is_terminal
            else None
        )

    def _explained(
        self, series: CallSeries, results: dict[RemoteJob, CancelResult]
    ) -> dict[RemoteJob, CancelResult]:
        """Explain unclear results by the jobs' states; describe refused jobs that still run once more."""
        results = self._described(series, results)
        unexplained = {job: result for job, result in results.items() if is_unexplained(result)}
        if not unexplained:
            return results
        # The job may have ended already, while MRS still shows it as running.
        time.sleep(min(self.lag, self.patience.seconds))
        return {
            # A kill that failed: another one of the job may be under way.
            job: retried_if_refused(result) if result.code in KILL_FAILED else result
            for job, result in (results | self._described(series, unexplained)).items()
        }

    def _described(
        self, series: CallSeries, results: dict[RemoteJob, CancelResult]
    ) -> dict[RemoteJob, CancelResult]:
        described: dict[RemoteJob, CancelResult] = {}
        for cluster, jobs in by_scope(results).items():
            described |= self._described_in(series, str(cluster), {job: results[job] for job in jobs})
        return described

    def _described_in(
        self, series: CallSeries, cluster: str, results: dict[RemoteJob, CancelResult]
    ) -> dict[RemoteJob, CancelResult]:
        try:
            found = self.lookup.find(series, cluster, [*results], is_listed=self._is_listed(len(results)))
        except ServiceUnavailable:
            # The states can't be read now: repeat what was refused.
            return {job: retried_if_refused(result) for job, result in results.items()}
        except ServiceError:
            # Describing is not allowed, or the cluster not known: the first answer counts.
            return results
        return {job: self._judged(result, found.get(job)) for job, result in results.items()}

    def _judged(self, result: CancelResult, record: JobRecord | None) -> CancelResult:
        if record is None:
            return replace(result, outcome=CancelOutcome.GONE)
        if record.state.is_terminal:
            return CancelResult(result.job, CancelOutcome.ALREADY_ENDED, record.reason, result.code)
        if result.outcome is CancelOutcome.REQUESTED:
            return result
        if (record.type or "").lower() == "sparksql":
            # Without a code: then it is not described again.
            return CancelResult(result.job, CancelOutcome.REFUSED, SPARK_SQL)
        return (
            replace(result, outcome=CancelOutcome.ALREADY_CANCELLING) if result.job in self._asked else result
        )


def _is_named(record: JobRecord, name: str | None) -> bool:
    return name in (None, record.name) or (record.name is not None and without_label(record.name) == name)


def _impossible(job: RemoteJob) -> CancelResult | None:
    """The result for a job that MRS can't have issued: nothing else than its ids may go into a path."""
    if not IDENTIFIER.fullmatch(str(job.scope)):
        return undone([job], no_cluster(str(job.scope)))[0]
    if not IDENTIFIER.fullmatch(job.id):
        return CancelResult(job, CancelOutcome.GONE, f"{job.id!r} is not an id of MRS.")
    return None
