"""The contract of every service: everything above is written once, against this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from copy import copy
from itertools import islice
from math import inf
from threading import Event
from typing import ClassVar, Self, TypeVar

from airflow_cancel_provider.exceptions import AccessDenied, ServiceError
from airflow_cancel_provider.jobs import CancelResult, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.addresses import Addresses
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.meter import Meter
from airflow_cancel_provider.services.polls import PollMemory
from airflow_cancel_provider.services.ratelimit import EVERY, PACES, Pace, Paces, Quotas
from airflow_cancel_provider.services.retry import Patience

T = TypeVar("T")
LONGEST_REASON = 1024
"""Characters of a cancel reason that every service takes."""


class JobService(Addresses, ABC):
    """One service, reached over one connection in one region.

    Every method takes any number of jobs and makes the fewest calls that the service allows; chunks,
    pages, throttling and outages are handled inside, within ``patience``.
    """

    quotas: ClassVar[Quotas] = {EVERY: (10, 5.0)}
    """What the service grants to an account in a region, as published."""
    poll_operation: ClassVar[str] = EVERY
    """The operation that most polls take."""
    worth_listing: ClassVar[int] = 0
    """Above so many jobs of a cluster or application its listing is read: to ask for each would use more
    of the quotas than a page."""
    reads_listing: bool | None = None
    """Whether a listing is read; None: as :attr:`worth_listing` says."""
    paces: Paces = PACES
    """Where the pace of an account is found; one for all in a process."""
    ends: dict[str, JobStatus] | None = None
    """Ends that a poll has shown so far, by id; None: no poll is under way."""
    quota_share: float | None = None
    """Share of the quotas in force that this process uses of its account; None: what others say."""

    def __init__(self, *, conn_id: str | None, region: str | None, patience: Patience | None = None) -> None:
        super().__init__(conn_id=conn_id, region=region)
        self.patience = patience or Patience()
        self.meter = Meter(self._pace)
        self._refusal = Event()

    @property
    def identity_refused(self) -> bool:
        """Whether it did not accept the identity at the last call of any copy: opened anew, it may do."""
        return self._refusal.is_set()

    @identity_refused.setter
    def identity_refused(self, is_refused: bool) -> None:
        (self._refusal.set if is_refused else self._refusal.clear)()

    @classmethod
    @abstractmethod
    def over(cls, spec: ClientSpec, patience: Patience) -> Self:
        """The service over the same endpoint, with the same identity, as the client that was specified."""

    @property
    @abstractmethod
    def spec(self) -> ClientSpec:
        """How this service is reached, so that another process can do the same. Holds secrets."""

    @abstractmethod
    def describe(self, jobs: Iterable[RemoteJob]) -> list[JobStatus]:
        """State of each job, each once, in the order given.

        GONE is a job that the service does not know, in a cluster or application that it knows.

        :raises UnknownScope: the service does not know a cluster or application.
        :raises IdentityError: the service does not accept the identity; opened anew, it may do.
        :raises AccessDenied: the identity may not describe jobs.
        :raises ConnectionUnusable: TLS, proxy or endpoint are set wrongly.
        :raises ServiceUnavailable: no answer within patience; a reply that is not an answer is none.
        :raises ServiceError: any other error of the service.
        """

    def poll(
        self,
        jobs: Sequence[RemoteJob],
        memory: PollMemory,
        *,
        fresh: Collection[RemoteJob] = frozenset(),
        may_leave_out: bool = False,
    ) -> list[JobStatus]:
        """As :meth:`describe`, for jobs of one cluster or application that are polled again and again.

        :param memory: of the polls there.
        :param fresh: jobs that must not be reported as last seen.
        :param may_leave_out: the quota is too small to ask for all: what has not changed, as far as a
            cheaper poll can tell, may be reported as last seen.
        """
        known, noting, ends = memory.ends_of(jobs), copy(self), dict[str, JobStatus]()
        rest = [job for job in jobs if job not in known]
        noting.ends = ends
        try:
            seen = noting.poll_open(rest, memory, fresh, may_leave_out=may_leave_out) if rest else []
        except ServiceError:
            memory.ends |= {job.id: ends[job.id] for job in rest if job.id in ends}
            raise
        found = known | {status.job: status for status in seen}
        return [found[job] for job in jobs if job in found]

    def poll_open(
        self,
        jobs: Sequence[RemoteJob],
        memory: PollMemory,
        fresh: Collection[RemoteJob],
        *,
        may_leave_out: bool,
    ) -> list[JobStatus]:
        """One poll of jobs of which none is known to have ended; :meth:`poll` is what others call."""
        before, all_before = self.poll_calls, self.meter.own.total()
        lists = memory.is_worth_listing(len(jobs)) and not may_leave_out
        lists = lists or len(jobs) > self.worth_listing
        try:
            statuses = self._listing(lists=lists).describe(jobs)
        except AccessDenied:
            if not lists or len(jobs) > self.worth_listing:
                raise
            # Few jobs may be permitted to be asked for by their ids only.
            lists, memory.listing_calls = False, len(jobs)
            statuses = self._listing(lists=False).describe(jobs)
        memory.note(statuses, self.poll_calls - before, is_full=True)
        memory.note_listing(self.meter.own.total() - all_before if lists else None)
        return statuses

    def _noted(self, status: JobStatus) -> JobStatus:
        """The same status; an end is remembered, should the poll that shows it fail at another job."""
        if self.ends is not None and status.state.is_terminal:
            self.ends[status.job.id] = status
        return status

    def _listing(self, *, lists: bool) -> Self:
        """The same service, which reads a listing, or does not."""
        other = copy(self)
        other.reads_listing = lists
        return other

    def _is_listed(self, jobs: int) -> bool:
        """Whether so many jobs of a cluster or application are looked for in a listing."""
        return jobs > self.worth_listing if self.reads_listing is None else self.reads_listing

    @property
    def poll_calls(self) -> int:
        """Requests that this copy has sent so far and that share a quota with polls."""
        by_name = self.meter.own
        return by_name.total() if self.poll_operation == EVERY else by_name[self.poll_operation]

    @property
    def poll_rate(self) -> float:
        """Calls a second that the quota in force allows for polls, in the long run; inf: there is none."""
        buckets = self._pace().of(self.poll_operation)
        return min((bucket.per_second for bucket in buckets), default=inf)

    @abstractmethod
    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """Ask for each job to end and say per job what became of the request; raises for no job.

        ``force``: the hardest way the service has. A job that is ending already is not asked again,
        unless ``force`` is harder than what was asked before, or asking costs no more than describing.
        A job of an unknown cluster or application is REFUSED; one whose request was not answered, or not
        accepted for want of a valid identity, is UNANSWERED. One that may have ended, or be ending, because
        of a request whose answer was lost is REQUESTED.
        """

    @abstractmethod
    def scopes(self) -> Iterator[str]:
        """Clusters, queues or applications in which jobs may live, page by page.

        :raises ServiceError: as :meth:`describe`.
        """

    @abstractmethod
    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        """Jobs that have not ended, with what their listing shows of them, page by page."""

    def living(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        """Jobs of a cluster, queue or application that have not ended, page by page.

        ``name_prefix``: only those whose name starts so.

        :raises ServiceError: as :meth:`describe`.
        """
        return self._alive(self.place(scope), name_prefix)

    def claims(self, scope: str) -> Iterator[JobStatus]:
        """Jobs of a cluster, queue or application that have not ended, with their labels, page by page.

        :raises ServiceError: as :meth:`describe`.
        """
        return self._alive(self.place(scope))

    def labelled(self, scope: str, label: Label) -> list[RemoteJob]:
        """Jobs of a cluster, queue or application that have not ended and carry this label.

        :raises ServiceError: as :meth:`describe`.
        """
        return [status.job for status in self.claims(scope) if status.label == label]

    def probe_cancel(self) -> bool:
        """Send a cancel request for a job that does not exist, to see whether the identity may send it.

        :return: whether there is such a request: whether a service can be asked so.
        :raises ServiceError: as :meth:`describe`; also where the service says that it does not know the job.
        """
        return False

    @property
    def can_escalate(self) -> bool:
        """Whether a forced cancel does more than the first one."""
        return False

    def with_patience(self, patience: Patience) -> Self:
        """The same service with another patience."""
        other = copy(self)
        other.patience = patience
        return other

    @property
    def traffic(self) -> Counter[str]:
        """Requests sent so far, repeats included, by operation; those of copies count as well."""
        return self.meter.traffic

    async def poll_turn(self, calls: int = 1, *, at_once: bool = False) -> Self:
        """Wait, on the event loop and in no thread, for the turn of a poll; the service that has paid for it.

        Its first ``calls`` calls of the operation go at once, so that no thread waits::

            service = await service.poll_turn(calls)
            await in_thread(service.describe, jobs)

        Polls are let go in the order in which they came, after the cancels of the same account. A poll that
        takes fewer calls than it paid for slows the next ones down.

        :param at_once: this poll has had its turn, and is made again.
        """
        return self._with_meter(await self.meter.prepaid(self.poll_operation, calls, at_once=at_once))

    def _with_meter(self, meter: Meter) -> Self:
        other = copy(self)
        other.meter = meter
        return other

    def _pace(self) -> Pace:
        return self.paces.of(self.name, self._place, self._account, self.quotas, self.quota_share)

    @property
    def _place(self) -> Hashable:
        """Where calls go, as far as quotas tell places apart."""
        return self.region

    @property
    def _account(self) -> Hashable:
        """Whose quotas the calls use, as far as that is known without a call."""
        return self.conn_id


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into pieces of at most ``size``, reading no further than each piece."""
    stream = iter(items)
    while piece := list(islice(stream, size)):
        yield piece
