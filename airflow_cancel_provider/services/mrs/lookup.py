"""Calls of MRS with retries, and the search for jobs with few requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, islice
from typing import Any, TypeVar

from airflow_cancel_provider.exceptions import ServiceError, ServiceUnavailable, UnknownScope
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.cancel_requests import Failures
from airflow_cancel_provider.services.mrs.calls import IDENTIFIER
from airflow_cancel_provider.services.mrs.client import PAGE, MrsClient, Page
from airflow_cancel_provider.services.mrs.errors import Fault, FaultKind
from airflow_cancel_provider.services.mrs.states import JobRecord
from airflow_cancel_provider.services.ratelimit import EVERY
from airflow_cancel_provider.services.retry import CallSeries, Patience

T = TypeVar("T")

MOST_UNANSWERED = 2
"""After so many jobs in a row without an answer, the service counts as down."""
_UNANSWERED = frozenset({FaultKind.THROTTLED, FaultKind.TRANSIENT})

_CLUSTER_WIDE = frozenset(
    {
        FaultKind.DENIED,
        FaultKind.IDENTITY,
        FaultKind.TOKEN,
        FaultKind.USE_V1,
        FaultKind.USE_V2,
        FaultKind.WRONG_PATH,
        FaultKind.NO_CLUSTER,
    }
)

CLUSTER_ENDS = frozenset({"terminating", "terminated", "failed"})
"""States of a cluster in which its jobs have ended, or are about to end."""


class Lookup:
    """Calls of one client, repeated until ``patience`` runs out where that is safe.

    :param conn_id: for error messages.
    """

    def __init__(self, client: MrsClient, patience: Patience, conn_id: str | None) -> None:
        self.client = client
        self.patience = patience
        self.conn_id = conn_id

    def call(self, series: CallSeries, request: Callable[[], T]) -> T:
        """Make a call that is safe to repeat, with retries.

        :raises ServiceError: it failed permanently, or patience ran out.
        """
        try:
            return series.call(request, self._may_pass, partial(self.client.meter.wait, EVERY), _asked_for)
        except Fault as fault:
            raise self._named(fault, series) from fault

    def _may_pass(self, error: BaseException) -> bool:
        if isinstance(error, Fault) and error.kind is FaultKind.THROTTLED:
            self.client.meter.throttled(EVERY)
        return isinstance(error, Fault) and error.is_transient

    def _named(self, fault: Fault, series: CallSeries) -> ServiceError:
        """The fault as an error for people, with the connection or the time waited."""
        if fault.kind in (FaultKind.TOKEN, FaultKind.IDENTITY):
            return fault.named(f"(Connection {self.conn_id!r}.)" if self.conn_id else "")
        if fault.is_transient:
            return fault.named(f"(Tried for {series.seconds_in_vain:.1f} s.)")
        return fault.named()

    def find(
        self, series: CallSeries, cluster: str, jobs: Sequence[RemoteJob], *, is_listed: bool
    ) -> dict[RemoteJob, JobRecord]:
        """Records of those jobs of a cluster that MRS knows.

        :param is_listed: the cluster's jobs are listed, 100 a call, before any is described.
        :raises UnknownScope: MRS does not know the cluster, not even as a terminated one.
        :raises ServiceError: as :meth:`call`.
        """
        if not IDENTIFIER.fullmatch(cluster):
            raise no_cluster(cluster)
        found: dict[RemoteJob, JobRecord] = {}
        try:
            if is_listed:
                found = self._listed(series, cluster, jobs)
            for job in jobs:
                if job not in found and (record := self._shown(series, job)):
                    found[job] = record
        except UnknownScope:
            if not self.has_ended(series, cluster):
                raise
        return found

    def has_ended(self, series: CallSeries, cluster: str) -> bool:
        """Whether MRS lists a cluster as terminated. False where that is not known."""
        try:
            states = {id_: state for page in self.clusters(series) for id_, state in page}
        except ServiceError:
            return False
        return states.get(cluster, "").lower() in CLUSTER_ENDS

    def _listed(
        self, series: CallSeries, cluster: str, jobs: Sequence[RemoteJob]
    ) -> dict[RemoteJob, JobRecord]:
        by_id = {job.id: job for job in jobs}
        found: dict[RemoteJob, JobRecord] = {}
        live = self.pages(series, cluster, live_only=True) if self.client.lists_living else iter(())
        # Newest first: most jobs that are not running any more have just ended, and come early.
        recent = islice(self.pages(series, cluster), len(jobs) // PAGE + 2)
        for pages in (live, recent):
            # A single one takes no more calls by its id.
            if len(by_id) - len(found) > 1:
                _take(pages, by_id, found)
        return found

    def _shown(self, series: CallSeries, job: RemoteJob) -> JobRecord | None:
        if not IDENTIFIER.fullmatch(job.id):
            return None
        try:
            return self.call(series, lambda: self.client.show_job(str(job.scope), job.id))
        except ServiceError as error:
            if kind_of(error) is FaultKind.GONE:
                return None
            raise

    def pages(self, series: CallSeries, cluster: str, **filters: Any) -> Iterator[list[JobRecord]]:
        """All pages of a cluster's jobs, newest first; ``filters`` are those of ``MrsClient.list_jobs``."""
        return self._pages(series, lambda number: self.client.list_jobs(cluster, number, **filters))

    def clusters(self, series: CallSeries) -> Iterator[list[tuple[str, str]]]:
        """All pages of the project's clusters: id and state of each."""
        return self._pages(series, self.client.list_clusters)

    def _pages(self, series: CallSeries, request: Callable[[int], Page[T]]) -> Iterator[list[T]]:
        before: dict[int, int] = {}
        for number in count(1):
            page = self.call(series, partial(request, number))
            same = before.setdefault(hash(tuple(page.items)), number)
            if same != number and page.items:
                raise ServiceUnavailable(f"MRS answers page {number} of a list with page {same} again.")
            yield page.items
            if not page.may_go_on(number):
                return


def _take(
    pages: Iterable[list[JobRecord]], by_id: Mapping[str, RemoteJob], found: dict[RemoteJob, JobRecord]
) -> None:
    """Read pages until all are found."""
    for page in pages:
        # Of a job that is shown twice, in doubt it lives.
        for record in sorted(page, key=lambda record: not record.state.is_terminal):
            if record.id in by_id:
                found[by_id[record.id]] = record
        if len(found) == len(by_id):
            break


def is_pointless(failures: Failures, cluster: str | None) -> bool:
    """Whether the cancel of a job is bound to fail: nothing can be cancelled in its cluster, or MRS is down.

    Without it, each of a thousand jobs would wait for its own timeout of a service that is down.
    """
    last = [kind_of(error) for _, error in failures[-MOST_UNANSWERED:]]
    is_down = len(last) == MOST_UNANSWERED and _UNANSWERED.issuperset(last)
    return is_down or any(there == cluster and kind_of(error) in _CLUSTER_WIDE for there, error in failures)


def no_cluster(cluster: str) -> UnknownScope:
    """The error for what MRS can't have issued as the id of a cluster."""
    return UnknownScope(f"{cluster!r} is not an id of a cluster of MRS; expected {IDENTIFIER.pattern}.")


def _asked_for(error: BaseException) -> float:
    """Seconds for which a reply asks to wait."""
    return error.retry_after if isinstance(error, Fault) else 0.0


def kind_of(error: ServiceError) -> FaultKind:
    """The kind of an error of :meth:`Lookup.call`."""
    return error.__cause__.kind if isinstance(error.__cause__, Fault) else FaultKind.OTHER
