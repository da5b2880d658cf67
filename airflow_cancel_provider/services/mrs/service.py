"""Job executions of MRS clusters.

OTC API reference, "Querying a List of Jobs" (mrs_02_0087); ``kills.py`` has the cancel.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Self

from airflow_cancel_provider.exceptions import ServiceError, UnknownScope
from airflow_cancel_provider.jobs import CancelResult, JobStatus, RemoteJob, by_scope
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.cancel_requests import send_in_turn
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.meter import Meter
from airflow_cancel_provider.services.mrs.calls import IDENTIFIER
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.client_spec import client_of, spec_of
from airflow_cancel_provider.services.mrs.kills import Kills
from airflow_cancel_provider.services.mrs.lookup import CLUSTER_ENDS, Lookup, is_pointless
from airflow_cancel_provider.services.mrs.states import JobRecord, status_of
from airflow_cancel_provider.services.mrs.submission import QUOTAS
from airflow_cancel_provider.services.results import in_order, named
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.services.submissions import tell_ended, without_label


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
        """As in :class:`Kills`."""

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
        jobs = list(dict.fromkeys(jobs))
        kills = Kills(self.lookup, self.patience.started(urgent=True), self._asked, self._is_listed)
        results = kills.needless(jobs, self.worth_listing)
        todo = by_scope(job for job in jobs if job not in results)
        requests = ([job] for some in todo.values() for job in some)
        results |= {result.job: result for result in send_in_turn(requests, kills.ask, is_pointless)}
        results |= kills.explained(self.lag)
        self.identity_refused = kills.is_refused
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


def _is_named(record: JobRecord, name: str | None) -> bool:
    return name in (None, record.name) or (record.name is not None and without_label(record.name) == name)
