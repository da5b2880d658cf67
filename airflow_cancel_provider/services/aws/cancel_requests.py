"""When the rest of a series of cancel requests is not sent, and what a bulk call says of each job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import takewhile

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    ConnectionUnusable,
    IdentityError,
    ServiceError,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, RemoteJob
from airflow_cancel_provider.services.aws.answers import NoAnswer
from airflow_cancel_provider.services.aws.errors import DENIED, is_foreign, is_transient_code
from airflow_cancel_provider.services.base import chunks
from airflow_cancel_provider.services.cancel_requests import Failures, send_in_turn
from airflow_cancel_provider.services.results import undone

DENIALS = 10
"""Requests in a row that may be denied before the rest of a cluster or application is not tried.
More than one, because a policy may allow jobs by their tags."""
SILENCES = 3
"""Requests in a row that may go unanswered. More than one, because a single job may be what breaks them."""
_OF_OTHERS = (AccessDenied, ConnectionUnusable, ServiceUnavailable, UnknownScope)
"""Errors that may be those of other jobs, too."""

UNSAID = "The service did not say what became of the request for this job."
Said = Mapping[str, str | None]
"""What a bulk call says of a job: ``code`` and ``message`` of an error; empty where the request was taken."""


def is_malformed(error: ServiceError) -> bool:
    """Whether there was a reply, and it was not an answer: the next call may well be answered."""
    cause = error.__cause__
    return isinstance(cause, NoAnswer) or (cause is not None and is_foreign(cause))


def is_refusal(error: ServiceError) -> bool:
    """Whether a service declined for a reason of its own: the job may have ended, or be ending, meanwhile."""
    return type(error) is ServiceError


def is_unclear(result: CancelResult) -> bool:
    """Whether a refusal may only mean that the job has ended, is ending, or is not known."""
    return result.outcome is CancelOutcome.REFUSED and result.code not in DENIED


def is_open(said: Said | None) -> bool:
    """Whether a job is to be asked for again: nothing was said of it, or that it can't be answered now."""
    return said is None or is_transient_code(said.get("code"))


def result_of(job: RemoteJob, said: Said | None, action: str) -> CancelResult:
    """What a bulk call says of one job.

    :param action: that an identity needs for the call.
    """
    if said is None:
        return CancelResult(job, CancelOutcome.UNANSWERED, UNSAID)
    if not said:
        return CancelResult(job, CancelOutcome.REQUESTED)
    code, words = said.get("code"), said.get("message") or "The service gives no reason."
    if is_open(said):
        return CancelResult(job, CancelOutcome.UNANSWERED, words, code)
    if code in DENIED:
        words += f" Allow {action} to this identity."
    return CancelResult(job, CancelOutcome.REFUSED, words, code)


def in_turn(
    requests: Iterable[Sequence[RemoteJob]],
    ask: Callable[[Sequence[RemoteJob]], list[CancelResult]],
) -> list[CancelResult]:
    """As :func:`send_in_turn`, until what AWS says of some requests is true of those behind them."""
    return send_in_turn(requests, partial(_without_denied, ask), _is_pointless)


def _without_denied(
    ask: Callable[[Sequence[RemoteJob]], list[CancelResult]], jobs: Sequence[RemoteJob]
) -> list[CancelResult]:
    """Ask for jobs together, and without those that are named where all are denied for their sake."""
    refused: list[CancelResult] = []
    while True:
        try:
            return refused + _apart(ask, jobs)
        except AccessDenied as error:
            named = [job for job in jobs if job.id in str(error.__cause__)]
            if not 0 < len(named) < len(jobs) or len(refused) >= DENIALS:
                raise
            refused += undone(named, error)
            jobs = [job for job in jobs if job not in named]


def _apart(
    ask: Callable[[Sequence[RemoteJob]], list[CancelResult]], jobs: Sequence[RemoteJob]
) -> list[CancelResult]:
    """Ask for jobs together, and in halves where all are refused: it may be for the sake of one."""
    try:
        return ask(jobs)
    except ServiceError as error:
        if len(jobs) == 1 or not is_refusal(error):
            raise
    results: list[CancelResult] = []
    for half in chunks(jobs, -(-len(jobs) // 2)):
        try:
            results += _apart(ask, half)
        except ServiceError as error:
            results += undone(half, error)
    return results


def _is_pointless(failures: Failures, scope: str | None) -> bool:
    # Any other error is about its own jobs.
    telling = list(takewhile(lambda failure: isinstance(failure[1], _OF_OTHERS), reversed(failures)))
    if not telling:
        return False
    last, here = telling[0][1], sum(there == scope for there, _ in telling)
    if isinstance(last, (ConnectionUnusable, IdentityError)):
        return True
    if isinstance(last, UnknownScope):
        return here > 0
    if isinstance(last, AccessDenied):
        return here >= DENIALS
    # Of a scope whose replies are malformed the others know nothing; a silence is everybody's.
    return (here if is_malformed(last) else len(telling)) >= SILENCES
