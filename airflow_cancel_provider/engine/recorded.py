"""Cancel what records and people name, over the connections in the addresses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from airflow_cancel_provider.engine.cancel import CancelEngine, Claim
from airflow_cancel_provider.engine.label_search import Intent, LabelSearch
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import StoredIntent, TryRecord, TryState
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.services.pool import Opener, ServiceKey, ServicePool
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.task_log import Log


@dataclass(frozen=True, eq=False)
class CancelRequest:
    """What is to be cancelled of one task.

    :param reason: words for the service.
    :param log: where to say what becomes of it.
    :param record: of the try that has started the jobs; None for jobs that a person has named, whoever
        started them.
    :param spares_reconnecting: a next try exists: what that one reconnects to is left alone.
    :param task: of what an earlier try has left: digest of the task instance that labels must show.
    :param only_of: digest of the task instance that labels show, where there are labels; None: any.
    """

    jobs: tuple[RemoteJob, ...]
    reason: str
    log: Log
    record: TryRecord | None = None
    intents: tuple[StoredIntent, ...] = ()
    released: frozenset[RemoteJob] = frozenset()
    spares_reconnecting: bool = False
    task: str | None = None
    only_of: str | None = None

    def without(self, kept: frozenset[RemoteJob], *, is_followed: bool) -> CancelRequest:
        """The request, now that more is known to be left alone."""
        identities = {job.identity for job in kept}
        jobs = tuple(job for job in self.jobs if job.identity not in identities)
        return replace(self, jobs=jobs, released=self.released | kept, spares_reconnecting=is_followed)

    def heeding(self, release: Release | None) -> CancelRequest:
        """The request without what its try has released; a search by label would find that, too."""
        if release is None or self.record is None:
            return self
        if release.all:
            self.log.warning("Jobs of try %s are left alone: %s", self.record.ti_id, release)
            return replace(self, jobs=(), intents=())
        return self.without(frozenset(release.jobs), is_followed=self.spares_reconnecting)

    def objection(self, status: JobStatus, deployment: str) -> str | None:
        """Why a job is to be left alone, in words; None where nothing speaks against its cancel."""
        label = status.label
        if self.spares_reconnecting and label is not None and label.reconnects:
            return "the next try reconnects to it"
        if self.record and (why := self.record.foreign(status, deployment, self.task)) is not None:
            return why
        is_others = label is not None and self.only_of not in (None, label.task)
        return "its label names another task" if is_others else None


def cancel_requests(record: TryRecord, reason: str, log: Log, task: TaskKey) -> list[CancelRequest]:
    """What a record leaves to be cancelled; nothing where the work of its try is done.

    :param task: whose record it is.
    """
    if record.state is TryState.RETURNED:
        return []

    def request(one: TryRecord, digest: str | None) -> CancelRequest:
        return CancelRequest(one.jobs, reason, log, one, one.intents, task=digest)

    requests = [request(record, None), *(request(earlier, task.digest) for earlier in record.earlier)]
    return [each for each in requests if each.jobs or each.intents]


class RecordClaimant:
    """What a request names, over the connections in the addresses, for :class:`CancelEngine`.

    :param deployment: this Airflow's name in labels.
    """

    def __init__(self, request: CancelRequest, pool: ServicePool, deployment: str) -> None:
        self.request, self.log, self.reason = request, request.log, request.reason
        self._claim = Claim(lambda status: request.objection(status, deployment))
        intents = list(self._searchable(deployment))
        self.search = LabelSearch(
            lambda: intents,
            lambda: [*request.jobs, *request.released],
            lambda intent: pool.service(*intent.stored.service_key),
            request.log,
        )

    def claims(self) -> dict[RemoteJob, Claim]:
        """Every job, to be described before it is cancelled."""
        return dict.fromkeys([*self.request.jobs, *self.search.found], self._claim)

    def _searchable(self, deployment: str) -> Iterator[Intent]:
        record = self.request.record
        for number, stored in enumerate(self.request.intents):
            if stored.label is None:
                trouble: str | None = "they carry no label"
            elif record is None:
                trouble = "no try is known to have made them"
            else:
                trouble = record.foreign_intent(stored, deployment)
            intent = Intent(str(number), stored, None, is_under_way=False, is_lost=True)
            if trouble is None:
                yield intent
            else:
                self.log.warning("Jobs of %s are not looked for: %s.", intent, trouble)


def cancel_over_connections(
    open: Opener,
    requests: Iterable[CancelRequest],
    deployment: str,
    *,
    call_seconds: float,
    escalate_after: float | None = None,
) -> CancelEngine:
    """The cancel of what requests name, over the connections in the addresses.

    :param open: opens services. A service is opened anew after a trouble with it.
    :param deployment: this Airflow's name in labels.
    :param call_seconds: patience of the calls of one step.
    :param escalate_after: as for :class:`CancelEngine`.
    """
    patience = Patience(seconds=call_seconds, longest_pause=call_seconds / 4)
    pool = ServicePool(lambda *key: open(*key).with_patience(patience))
    claimants = [RecordClaimant(request, pool, deployment) for request in requests]
    return CancelEngine(claimants, pool, escalate_after=escalate_after)


def by_service(requests: Iterable[CancelRequest]) -> dict[ServiceKey, list[CancelRequest]]:
    """Parts of requests, by the service that they need."""
    parts: dict[ServiceKey, list[CancelRequest]] = {}
    for request in requests:
        keys = [job.service_key for job in request.jobs] + [each.service_key for each in request.intents]
        for key in dict.fromkeys(keys):
            jobs = tuple(job for job in request.jobs if job.service_key == key)
            intents = tuple(intent for intent in request.intents if intent.service_key == key)
            parts.setdefault(key, []).append(replace(request, jobs=jobs, intents=intents))
    return parts
