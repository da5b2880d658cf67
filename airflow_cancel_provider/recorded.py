"""Cancel what records name: look first, leave what is another's, and keep asking for what can't be seen.

A record can be written by others, and is read over a connection, which may lead to another account than the
one the job was submitted to. So nothing is cancelled that was not seen, and seen to be the try's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from airflow_cancel_provider.cancellation import (
    UNSEEN_SECONDS,
    Cancellation,
    Log,
    report,
    take_in,
    unknown_to_the_service,
)
from airflow_cancel_provider.exceptions import CancelProviderError, ServiceUnavailable
from airflow_cancel_provider.jobs import (
    CancelOutcome,
    CancelResult,
    JobState,
    JobStatus,
    RemoteJob,
    by_scope,
)
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import StoredIntent, TryRecord, TryState
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.services.base import LONGEST_REASON, outcome_of
from airflow_cancel_provider.services.pool import Opener, ServiceKey, ServicePool
from airflow_cancel_provider.services.retry import Patience


@dataclass(frozen=True, eq=False)
class CancelRequest:
    """What is to be cancelled of one task.

    :param reason: words for the service.
    :param log: where to say what becomes of it.
    :param record: of the try that has started the jobs; None for jobs that a person has named, whoever
        started them.
    :param spares_reconnecting: a next try exists: what that one reconnects to is left alone.
    :param task: of what an earlier try has left: digest of the task instance that labels must show.
    """

    jobs: tuple[RemoteJob, ...]
    reason: str
    log: Log
    record: TryRecord | None = None
    intents: tuple[StoredIntent, ...] = ()
    released: frozenset[RemoteJob] = frozenset()
    spares_reconnecting: bool = False
    task: str | None = None

    def by_service(self) -> dict[ServiceKey, CancelRequest]:
        """Its parts, by the service that they need."""
        keys = dict.fromkeys([*map(_key_of, self.jobs), *map(_key_of, self.intents)])
        return {
            key: replace(
                self,
                jobs=tuple(job for job in self.jobs if _key_of(job) == key),
                intents=tuple(intent for intent in self.intents if _key_of(intent) == key),
            )
            for key in keys
        }

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
        return self.record.foreign(status, deployment, self.task) if self.record else None


def cancel_requests(
    record: TryRecord, reason: str, log: Log, task: TaskKey, *, released: Iterable[RemoteJob] = ()
) -> list[CancelRequest]:
    """What a record leaves to be cancelled; nothing where the work of its try is done.

    :param task: whose record it is.
    :param released: jobs that are to live on, whatever connection they are named with.
    """
    if record.state is TryState.RETURNED:
        return []
    released = frozenset(released)
    kept = {job.identity for job in released}

    def request(one: TryRecord, digest: str | None) -> CancelRequest:
        jobs = tuple(job for job in one.jobs if job.identity not in kept)
        return CancelRequest(jobs, reason, log, one, one.intents, released, task=digest)

    requests = [request(record, None), *(request(earlier, task.digest) for earlier in record.earlier)]
    return [each for each in requests if each.jobs or each.intents]


class RecordedCancellation:
    """The cancel of what requests name, from the first look to the seen end, in as few calls as possible.

    Drive it by calling :meth:`step` again and again until :attr:`is_done`; then, or when patience runs out,
    :meth:`close`.

    :param open: opens services. A service is opened anew after a trouble with it.
    :param deployment: this Airflow's name in labels.
    :param call_seconds: patience of the calls of one step.
    :param escalate_after: as for :class:`Cancellation`.
    """

    def __init__(
        self,
        open: Opener,
        requests: Iterable[CancelRequest],
        deployment: str,
        *,
        call_seconds: float,
        escalate_after: float | None = None,
    ) -> None:
        self._open = open
        self._deployment = deployment
        self._patience = Patience(seconds=call_seconds, longest_pause=call_seconds / 4)
        self._requests: dict[RemoteJob, list[CancelRequest]] = {}
        self._searched: list[tuple[StoredIntent, CancelRequest]] = []
        self._cancellation = Cancellation([], "", escalate_after=escalate_after)
        self._pool: ServicePool | None = None
        self._said: set[tuple[RemoteJob | StoredIntent, str]] = set()
        self._troubles: dict[RemoteJob | StoredIntent, str] = {}
        self._log_of: dict[RemoteJob, Log] = {}
        self._reasons: dict[str, None] = {}
        for request in requests:
            self._add(request)

    @property
    def is_done(self) -> bool:
        """Whether every job was seen to end, was refused, or is to be left alone."""
        return self.is_requested and not self._cancellation.open

    @property
    def is_requested(self) -> bool:
        """Whether nothing is left to be asked for: each request was answered."""
        unasked = any(map(self._is_unasked, self._cancellation.open))
        return not (self._requests or self._searched or unasked)

    def step(self) -> None:
        """Search, look, ask for the end of what is the try's own, repeat and escalate. Raises nothing."""
        self._search()
        requested = [*self._cancellation.open]
        self._look_at_requested()
        self._ask(self._cancellation.request)
        for status in self._look(requested):
            self._take_in(status)
        if requested:
            self._ask(self._cancellation.act)

    def close(self) -> None:
        """Say what may run on."""
        for job, requests in self._requests.items():
            trouble = self._troubles.get(job, "it was not seen")
            requests[0].log.error("%s was not cancelled and may run on: %s", job, trouble)
        for intent, request in self._searched:
            trouble = self._troubles.get(intent, "none was seen")
            request.log.error("Jobs %s may run on: %s", _place(intent), trouble)
        for job in self._cancellation.open:
            last = self._cancellation.statuses.get(job) or self._cancellation.results.get(job)
            self._log_of[job].error("Not seen to end, and may run on: %s", last or job)

    def _add(self, request: CancelRequest) -> None:
        for job in request.jobs:
            self._requests.setdefault(job, []).append(request)
        for intent in request.intents:
            if (trouble := self._not_to_be_searched(intent, request)) is None:
                self._searched.append((intent, request))
            else:
                request.log.warning("Jobs %s are not looked for: %s.", _place(intent), trouble)

    def _not_to_be_searched(self, intent: StoredIntent, request: CancelRequest) -> str | None:
        if intent.label is None:
            return "they carry no label"
        if request.record is None:
            return "no try is known to have made them"
        return request.record.foreign_intent(intent, self._deployment)

    def _search(self) -> None:
        for intent, request in [*self._searched]:
            try:
                found = self._labelled(intent)
            except Exception as error:  # noqa: BLE001  connections have errors of their own
                self._trouble(intent, f"{error} Searching again later.", [request])
                continue
            known = {job.identity for job in [*request.released, *self._requests, *self._cancellation.jobs]}
            for job in found:
                if job.identity not in known:
                    request.log.info("Found by its label: %s", job)
                    self._requests.setdefault(job, []).append(request)
            # What the service lists lags behind what it has taken.
            if time.time() - intent.at > UNSEEN_SECONDS:
                self._searched.remove((intent, request))

    def _labelled(self, intent: StoredIntent) -> list[RemoteJob]:
        if intent.label is None:  # not to be searched
            return []
        service = self._services().service(intent.service, intent.conn_id, intent.region)
        scopes = [intent.scope] if intent.scope is not None else service.scopes()
        return [job for scope in scopes for job in service.labelled(scope, intent.label)]

    def _look_at_requested(self) -> None:
        for status in self._look([*self._requests]):
            if status.state is JobState.GONE:
                self._trouble(status.job, unknown_to_the_service(status.job), self._requests[status.job])
            else:
                self._judge(status, self._requests.pop(status.job))

    def _judge(self, status: JobStatus, requests: Sequence[CancelRequest]) -> None:
        """Take a job over that was seen, if one of those who name it has a right to it."""
        objections = [request.objection(status, self._deployment) for request in requests]
        own = [request for request, objection in zip(requests, objections, strict=True) if objection is None]
        if status.state.is_terminal:
            requests[0].log.info("%s", status)
        elif own:
            self._log_of[status.job] = own[0].log
            self._cancellation.jobs.append(status.job)
            self._cancellation.reason = self._reason_with(own[0].reason)
            self._take_in(status)
            if (outcome := outcome_of(status)) is not None:  # it is ending: nothing is to be sent
                self._cancellation.results[status.job] = CancelResult(status.job, outcome)
        else:
            requests[0].log.warning(
                "%s is on record, but it is left alone: %s", status.job, objections[0] or ""
            )

    def _reason_with(self, reason: str) -> str:
        """One reason for one call: that of one task, and how many others there are."""
        self._reasons[reason] = None
        first, *others = self._reasons
        return (f"{first}, and {len(others)} other tasks" if others else first)[:LONGEST_REASON]

    def _is_unasked(self, job: RemoteJob) -> bool:
        result = self._cancellation.results.get(job)
        return result is None or result.outcome is CancelOutcome.UNANSWERED

    def _ask(self, ask: Callable[[ServicePool], list[CancelResult]]) -> None:
        try:
            results = ask(self._services())
        except Exception as error:  # noqa: BLE001  connections have errors of their own
            self._trouble_with(self._cancellation.open, error)
            results = []
        for result in results:
            report([result], self._log_of[result.job])

    def _look(self, jobs: Sequence[RemoteJob]) -> list[JobStatus]:
        if not jobs:
            return []
        try:
            found, unknown = self._services().described(jobs)
            return [*found, *(JobStatus(job, JobState.GONE) for job in unknown)]
        except ServiceUnavailable as error:
            self._trouble_with(jobs, error)
        except CancelProviderError as error:
            places = by_scope(jobs)
            if len(places) > 1:  # one that may not be seen must not hide the others
                return [status for some in places.values() for status in self._look(some)]
            self._trouble_with(jobs, error)
        except Exception as error:  # noqa: BLE001  connections have errors of their own
            self._trouble_with(jobs, error)
        return []

    def _trouble_with(self, jobs: Sequence[RemoteJob], error: Exception) -> None:
        self._pool = None
        for job in jobs:
            self._trouble(job, f"{error} Looking again later.", self._requests.get(job, ()))

    def _trouble(
        self, what: RemoteJob | StoredIntent, trouble: str, requests: Sequence[CancelRequest]
    ) -> None:
        self._troubles[what] = trouble
        if (what, trouble) not in self._said:
            self._said.add((what, trouble))
            log = requests[0].log if requests else self._log_of[what]  # type: ignore[index]
            log.warning("%s: %s", what if isinstance(what, RemoteJob) else f"Jobs {_place(what)}", trouble)

    def _take_in(self, status: JobStatus) -> None:
        take_in(self._cancellation, [status], self._log_of[status.job])

    def _services(self) -> ServicePool:
        if self._pool is None:
            self._pool = ServicePool(lambda *key: self._open(*key).with_patience(self._patience))
        return self._pool


def by_service(requests: Iterable[CancelRequest]) -> dict[ServiceKey, list[CancelRequest]]:
    """Parts of requests, by the service that they need."""
    parts: dict[ServiceKey, list[CancelRequest]] = {}
    for request in requests:
        for key, part in request.by_service().items():
            parts.setdefault(key, []).append(part)
    return parts


def _key_of(what: RemoteJob | StoredIntent) -> ServiceKey:
    return (what.service, what.conn_id, what.region)


def _place(intent: StoredIntent) -> str:
    return f"of {intent.service} in {intent.scope or 'an unknown place'} with label {intent.label}"
