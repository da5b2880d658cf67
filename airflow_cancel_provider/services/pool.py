"""Jobs of many connections and regions, reached as one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    AirflowUnavailable,
    CancelProviderError,
    ConnectionUnusable,
    IdentityError,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobStatus, RemoteJob, by_scope
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.credentials import without_logins
from airflow_cancel_provider.services.results import undone
from airflow_cancel_provider.services.retry import Patience

log = logging.getLogger(__name__)

UNEXPECTED = "UnexpectedError"
"""Code of a result that is neither an answer of the service nor an error that this package knows."""
_OF_ALL = (AirflowUnavailable, ConnectionUnusable, IdentityError, ServiceUnavailable)
"""Errors that other jobs of the same service would meet, too."""
ServiceKey = tuple[str, str | None, str | None]
"""Service, connection and region."""
Opener = Callable[[str, str | None, str | None], JobService]
"""Opens a service over a connection in a region."""


class ServicePool:
    """Every service that some jobs need, each opened once, and anew where its identity is not accepted.

    :param open: called once for each (service, connection, region); again when credentials are to be renewed.
    """

    def __init__(self, open: Opener) -> None:
        self._open = open
        self._services: dict[ServiceKey, JobService] = {}
        self._may_open_anew = True

    def service(self, name: str, conn_id: str | None, region: str | None) -> JobService:
        """The service at that connection and region; opened at the first call."""
        key = (name, conn_id, region)
        if (known := self._services.get(key)) and known.identity_refused:
            self._let_go(known)  # by another copy of it; what this one would send were in vain
        if key not in self._services:
            service = self._services[key] = self._open(*key)
            # Also under the region that the connection turned out to have.
            self._services.setdefault((name, service.conn_id, service.region), service)
        return self._services[key]

    def service_of(self, job: RemoteJob) -> JobService:
        """The service that a job belongs to."""
        return self.service(*job.service_key)

    def check(self, jobs: Iterable[RemoteJob]) -> None:
        """Open what the jobs need and check their ids, before anything is sent.

        :raises InvalidInput: a connection is unusable or an id malformed.
        """
        for job in jobs:
            self.service_of(job).check(job)

    def describe(self, jobs: Sequence[RemoteJob]) -> list[JobStatus]:
        """As :meth:`JobService.describe`, for jobs of any service."""
        found, unknown = self.described(jobs)
        for error in unknown.values():
            raise error
        return found

    def described(
        self, jobs: Sequence[RemoteJob], *, urgent: bool = False
    ) -> tuple[list[JobStatus], dict[RemoteJob, UnknownScope]]:
        """States of jobs, and the errors for those in clusters or applications that are unknown there.

        :param urgent: a cancel waits for it, so it goes before other polls.
        """
        found: dict[RemoteJob, JobStatus] = {}
        unknown: dict[RemoteJob, UnknownScope] = {}
        groups, troubles = self.by_service(jobs)
        for error in troubles.values():
            raise error
        for service, some in groups:
            try:
                _describe(_urgent(service) if urgent else service, some, found, unknown)
            except IdentityError:
                if not self._let_go(service):
                    raise
                # It has waited for its turn once; until the next one, the new ones might have expired.
                _describe(_urgent(self.service_of(some[0])), some, found, unknown)
        return [found[job] for job in dict.fromkeys(jobs) if job in found], unknown

    def seen(
        self, jobs: Sequence[RemoteJob], *, urgent: bool = False
    ) -> tuple[list[JobStatus], dict[RemoteJob, Exception]]:
        """As :meth:`described`, with every error for its own jobs: what can't be seen hides no other job."""
        groups, errors = self.by_service(jobs)
        found: list[JobStatus] = []
        waiting = [some for _, some in groups]
        while waiting:
            some = waiting.pop(0)
            try:
                seen, unknown = self.described(some, urgent=urgent)
            except Exception as error:  # noqa: BLE001  connections and SDKs have errors of their own
                parts = _parts(some, error)
                waiting = parts + waiting
                errors |= {} if parts else dict.fromkeys(some, error)
            else:
                found += seen
                errors |= unknown
        return found, errors

    def cancel(self, jobs: Sequence[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """As :meth:`JobService.cancel`, for jobs of any service.

        Jobs whose service can't be opened, or meets an unexpected error, are UNANSWERED: they do not stop the
        others.
        """
        groups, troubles = self.by_service(jobs)
        unanswered = CancelOutcome.UNANSWERED
        results = {job: CancelResult(job, unanswered, str(error)) for job, error in troubles.items()}
        for service, some in groups:
            results |= {result.job: result for result in _cancel(service, some, reason, force=force)}
            again = [job for job in some if results[job].outcome is unanswered]
            if again and service.identity_refused and (renewed := self._renewed(service, again[0])):
                results |= {result.job: result for result in _cancel(renewed, again, reason, force=force)}
        return [results[job] for job in dict.fromkeys(jobs)]

    def _renewed(self, service: JobService, job: RemoteJob) -> JobService | None:
        """A service opened anew; None where that can't be, so that what was answered so far is not lost."""
        try:
            return self.service_of(job) if self._let_go(service) else None
        except CancelProviderError:
            return None

    def _let_go(self, service: JobService) -> bool:
        """Have a service opened anew at its next use, with whatever credentials there are then."""
        kept = {key: other for key, other in self._services.items() if other is not service}
        is_ours = self._may_open_anew and len(kept) < len(self._services)
        if is_ours:
            self._services = kept
        return is_ours

    def can_escalate(self, job: RemoteJob) -> bool:
        """Whether forcing does more to this job than was done at first, or may do."""
        groups, _ = self.by_service([job])
        return all(service.can_escalate for service, _ in groups)

    def renew(self) -> None:
        """Open every service anew at its next use: a connection may have been mended."""
        self._services.clear()

    def hurried(self, seconds: float) -> ServicePool:
        """The same services with so little patience, for a process that is about to be killed."""
        hurried = ServicePool(self._open)
        # There is no time for it, and not every thread may ask Airflow for a connection.
        hurried._may_open_anew = False
        hurried._services = {
            key: service.with_patience(
                Patience(seconds=seconds, longest_pause=seconds / 4, longest_turn=seconds / 4)
            )
            for key, service in self._services.items()
        }
        return hurried

    def by_service(
        self, jobs: Iterable[RemoteJob]
    ) -> tuple[list[tuple[JobService, list[RemoteJob]]], dict[RemoteJob, Exception]]:
        """The jobs of each service, and the errors for jobs whose service can't be opened."""
        by_key: dict[Hashable, list[RemoteJob]] = {}
        for job in jobs:
            by_key.setdefault(self._key(job), []).append(job)
        groups: dict[int, tuple[JobService, list[RemoteJob]]] = {}
        troubles: dict[RemoteJob, Exception] = {}
        for some in by_key.values():
            try:
                service = self.service_of(some[0])
            except Exception as error:  # noqa: BLE001  connections have errors of their own; it is returned
                troubles |= dict.fromkeys(some, error)
            else:
                groups.setdefault(id(service), (service, []))[1].extend(some)
        return list(groups.values()), troubles

    def _key(self, job: RemoteJob) -> Hashable:
        """Equal for jobs that are reached the same way."""
        return job.service_key


def _urgent(service: JobService) -> JobService:
    return service.with_patience(replace(service.patience, is_urgent=True))


def _parts(jobs: list[RemoteJob], error: Exception) -> list[list[RemoteJob]]:
    """Jobs of one service in parts, to be described one after the other; none where the error is about all.

    A record may name what the service can't have issued, and refuses to be asked about.
    """
    if not isinstance(error, CancelProviderError) or isinstance(error, _OF_ALL):
        return []
    if len(scopes := by_scope(jobs)) > 1:
        return list(scopes.values())
    middle = len(jobs) // 2
    return [jobs[:middle], jobs[middle:]] if middle and not isinstance(error, AccessDenied) else []


def _describe(
    service: JobService,
    jobs: Sequence[RemoteJob],
    found: dict[RemoteJob, JobStatus],
    unknown: dict[RemoteJob, UnknownScope],
) -> None:
    """Describe jobs together; one cluster after the other where one of them is unknown."""
    try:
        found.update({status.job: status for status in service.describe(jobs)})
    except UnknownScope as error:
        scopes = by_scope(jobs)
        if len(scopes) == 1:
            unknown.update(dict.fromkeys(jobs, error))
            return
        for some in scopes.values():
            _describe(service, some, found, unknown)


def _cancel(
    service: JobService, jobs: Sequence[RemoteJob], reason: str, *, force: bool
) -> list[CancelResult]:
    """Request the end of jobs together; one cluster after the other where one of them is unknown."""
    try:
        return service.cancel(jobs, reason, force=force)
    except UnknownScope as error:
        scopes = by_scope(jobs)
        if len(scopes) == 1:
            return undone(jobs, error)
        return [result for some in scopes.values() for result in _cancel(service, some, reason, force=force)]
    except CancelProviderError:
        raise
    except Exception as error:
        log.info("Unexpected error", exc_info=error)
        words = without_logins(f"{type(error).__name__}: {error}")
        return [CancelResult(job, CancelOutcome.UNANSWERED, words, UNEXPECTED) for job in jobs]
