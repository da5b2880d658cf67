"""Statuses of jobs and results of cancels, as services put them together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from airflow_cancel_provider.exceptions import (
    IdentityError,
    ServiceError,
    ServiceUnavailable,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label


def submitted(status: JobStatus, at: datetime | float | None) -> JobStatus:
    """The status, with the time of submission.

    :param at: a time that knows its zone, or epoch milliseconds.
    """
    return replace(status, submitted_at=in_utc(at))


def in_utc(at: datetime | float | None) -> datetime | None:
    """A time as services give it, in UTC.

    :param at: a time that knows its zone, or epoch milliseconds.
    """
    if at is None:
        return None
    return at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at / 1000, UTC)


def labelled_by_name(status: JobStatus) -> JobStatus:
    """The status, with the label that the job's name holds, if it holds one."""
    return replace(status, label=Label.find(status.name))


def named(claims: Iterable[JobStatus], prefix: str) -> Iterator[JobStatus]:
    """Those of jobs whose name starts so; all of them for an empty prefix."""
    return (claim for claim in claims if (claim.name or "").startswith(prefix))


def undone(jobs: Iterable[RemoteJob], error: ServiceError) -> list[CancelResult]:
    """Results for jobs whose cancel request failed as a whole."""
    return [CancelResult(job, outcome_after(error), str(error), error.code) for job in jobs]


def unsent(job: RemoteJob, error: ServiceError) -> CancelResult:
    """The result for a job whose request would have failed like the one before it."""
    (result,) = undone([job], error)
    return replace(result, detail=f"Not sent, because the request before it failed: {error}")


def outcome_after(error: ServiceError) -> CancelOutcome:
    """What a request came to that met this error, or an answer that it keeps from being understood."""
    # Credentials are renewed, so that what one identity was refused for is asked again.
    may_change = isinstance(error, (ServiceUnavailable, IdentityError))
    return CancelOutcome.UNANSWERED if may_change else CancelOutcome.REFUSED


def in_order(jobs: Iterable[RemoteJob], found: dict[RemoteJob, JobStatus]) -> list[JobStatus]:
    """Statuses in the order asked; what was not found is GONE."""
    return [found.get(job) or JobStatus(job, JobState.GONE) for job in jobs]


def as_asked(jobs: Iterable[RemoteJob], results: Iterable[CancelResult]) -> list[CancelResult]:
    """Results in the order asked, each job once; the last word on a job counts."""
    latest = {result.job: result for result in results}
    return [latest[job] for job in dict.fromkeys(jobs)]


def outcome_of(status: JobStatus, *, asked: bool = False) -> CancelOutcome | None:
    """Why a job in this state needs no cancel request, or None where it does.

    :param asked: an earlier request, whose answer was lost, may have been carried out.
    """
    if status.state is JobState.GONE:
        return CancelOutcome.GONE
    if asked and status.state in (JobState.CANCELLING, JobState.CANCELLED):
        return CancelOutcome.REQUESTED
    if status.state is JobState.CANCELLING:
        return CancelOutcome.ALREADY_CANCELLING
    return CancelOutcome.ALREADY_ENDED if status.state.is_terminal else None
