"""The contract of every service: everything above is written once, against this."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self, TypeVar

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.patience import Patience

T = TypeVar("T")

LONGEST_REASON = 1024
"""Characters of a cancel reason that every service takes."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A living job, and whose it says it is.

    ``label`` is None where the job carries none; ``submitted_at`` is in UTC.
    """

    status: JobStatus
    label: Label | None = None
    submitted_at: datetime | None = None


class JobService(ABC):
    """One service, reached over one connection in one region.

    Every method takes any number of jobs and makes the fewest calls that the service allows; chunks,
    pages, throttling and outages are handled inside, within ``patience``.
    """

    name: ClassVar[str]
    """Scheme of the service's addresses."""
    scope_word: ClassVar[str | None]
    """What a job's scope is called (``cluster_id``), or None where jobs have none."""
    scope_pattern: ClassVar[re.Pattern[str] | None]
    id_word: ClassVar[str]
    id_pattern: ClassVar[re.Pattern[str]]
    look_quota: ClassVar[tuple[int, float]] = (10, 5.0)
    """Burst and calls a second that the service grants for looking, as published; shared waits keep to it."""

    def __init__(self, *, conn_id: str | None, region: str | None, patience: Patience | None = None) -> None:
        self.conn_id = conn_id
        self.region = region
        self.patience = patience or Patience()

    @abstractmethod
    def describe(self, jobs: Iterable[RemoteJob]) -> list[JobStatus]:
        """State of each job, each once, in the order given; unknown jobs are GONE.

        :raises AccessDenied: the identity may not look.
        :raises ServiceUnavailable: no answer within patience.
        :raises ServiceError: any other error of the service.
        """

    @abstractmethod
    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """Ask for each job to end and say per job what became of the request; raises for no job.

        ``force``: the hardest way the service has. A job that is ending already is not asked again,
        unless ``force`` is harder than what was asked before.
        """

    @abstractmethod
    def living(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        """Jobs of a cluster, queue or application that have not ended, page by page.

        ``name_prefix``: only those whose name starts so.

        :raises ServiceError: as :meth:`describe`.
        """

    def labelled(self, scope: str, label: Label) -> list[RemoteJob]:
        """Jobs of a cluster, queue or application that have not ended and carry this label.

        :raises ServiceError: as :meth:`describe`.
        """
        return [status.job for status in self.living(scope) if Label.find(status.name) == label]

    @property
    def can_escalate(self) -> bool:
        """Whether a forced cancel does more than the first one."""
        return False

    def with_patience(self, patience: Patience) -> Self:
        """The same service with another patience."""
        other = copy(self)
        other.patience = patience
        return other

    def address(self, id: str, scope: str | None = None) -> RemoteJob:
        """Address of a job of this service, connection and region.

        :raises InvalidInput: an id has not the service's form.
        """
        self._check(self.scope_word, self.scope_pattern, scope)
        self._check(self.id_word, self.id_pattern, id)
        return RemoteJob.of(self.name, id, scope=scope, conn_id=self.conn_id, region=self.region)

    def check(self, job: RemoteJob) -> RemoteJob:
        """The same job, if this service could have issued its ids.

        :raises InvalidInput: it could not.
        """
        if job.service != self.name:
            raise InvalidInput(f"{job} is a job of {job.service}, not of {self.name}.")
        self._check(self.scope_word, self.scope_pattern, job.scope)
        self._check(self.id_word, self.id_pattern, job.id)
        return job

    def _check(self, word: str | None, pattern: re.Pattern[str] | None, value: str | None) -> None:
        if word is None or pattern is None:
            if value is not None:
                raise InvalidInput(f"Jobs of {self.name} are not part of anything; got {value!r}.")
        elif not isinstance(value, str) or not pattern.fullmatch(value):
            raise InvalidInput(f"{value!r} is not a {word} of {self.name}; expected {pattern.pattern}.")


def named(statuses: Iterable[JobStatus], prefix: str) -> Iterator[JobStatus]:
    """Those whose name starts so; all of them for an empty prefix."""
    return (status for status in statuses if (status.name or "").startswith(prefix))


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces of at most ``size``."""
    return (items[start : start + size] for start in range(0, len(items), size))


def undone(jobs: Iterable[RemoteJob], error: ServiceError) -> list[CancelResult]:
    """Results for jobs whose cancel request failed as a whole."""
    silent = isinstance(error, ServiceUnavailable)
    outcome = CancelOutcome.UNANSWERED if silent else CancelOutcome.REFUSED
    return [CancelResult(job, outcome, str(error), error.code) for job in jobs]


def in_order(jobs: Iterable[RemoteJob], found: dict[RemoteJob, JobStatus]) -> list[JobStatus]:
    """Statuses in the order asked; what was not found is GONE."""
    return [found.get(job) or JobStatus(job, JobState.GONE) for job in jobs]


def as_asked(jobs: Iterable[RemoteJob], results: Iterable[CancelResult]) -> list[CancelResult]:
    """Results in the order asked, each job once; the last word on a job counts."""
    latest = {result.job: result for result in results}
    return [latest[job] for job in dict.fromkeys(jobs)]


def outcome_of(status: JobStatus) -> CancelOutcome | None:
    """Why a job in this state needs no cancel request, or None where it does."""
    if status.state is JobState.GONE:
        return CancelOutcome.GONE
    if status.state is JobState.CANCELLING:
        return CancelOutcome.ALREADY_CANCELLING
    return CancelOutcome.ALREADY_ENDED if status.state.is_terminal else None
