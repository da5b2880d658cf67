"""Cancel requests side by side, when the rest of them is not sent, and what a bulk call says of each job."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future

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
from airflow_cancel_provider.services.progress import advance
from airflow_cancel_provider.services.results import undone, unsent
from airflow_cancel_provider.services.threads import fulfil, in_background

DENIALS = 10
"""Requests in a row that may be denied before the rest of a cluster or application is not tried.
More than one, because a policy may allow jobs by their tags."""
SILENCES = 3
"""Requests in a row that may go unanswered. More than one, because a single job may be what breaks them."""
REQUESTS_AT_ONCE = 8
"""Most requests under way at a time: each takes longer than the 20 ms after which Batch takes the next."""

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
    """Send cancel requests: the first one alone, then side by side as long as they are answered.

    After a failure they go one by one, and one that is bound to fail like those before is not sent.

    :param requests: the jobs of each request, all of one scope.
    :param ask: sends a request; a :class:`ServiceError` stands for all of its jobs.
    """
    series, todo = _Requests(ask), iter(requests)
    while jobs := next(todo, None):
        series.send(jobs)
    series.settle(0)
    return series.results


class _Requests:
    """Cancel requests under way, and what became of those before."""

    def __init__(self, ask: Callable[[Sequence[RemoteJob]], list[CancelResult]]) -> None:
        self.results: list[CancelResult] = []
        self._ask = ask
        self._at_once = 1
        self._failures: list[tuple[str | None, ServiceError]] = []
        self._under_way: deque[tuple[Sequence[RemoteJob], Future[list[CancelResult]]]] = deque()

    def send(self, jobs: Sequence[RemoteJob]) -> None:
        """Send a request, and wait until the next one may be sent."""
        if _is_pointless(self._failures, jobs[0].scope):
            self.results += [unsent(job, self._failures[-1][1]) for job in jobs]
            advance(len(jobs))
            return
        future: Future[list[CancelResult]] = Future()
        self._under_way.append((jobs, future))
        if self._at_once == 1:
            fulfil(future, self._ask, jobs)
        else:
            in_background(future, self._ask, jobs)
        self.settle(self._at_once - 1)

    def settle(self, most: int) -> None:
        """Wait until so many are under way at most."""
        while len(self._under_way) > most:
            jobs, future = self._under_way.popleft()
            try:
                self.results += future.result()
            except ServiceError as error:
                self._at_once = 1
                self._fail(jobs, error)
            else:
                self._at_once = REQUESTS_AT_ONCE
                self._failures.clear()
            advance(len(jobs))

    def _fail(self, jobs: Sequence[RemoteJob], error: ServiceError) -> None:
        self.results += undone(jobs, error)
        if isinstance(error, (AccessDenied, ConnectionUnusable, ServiceUnavailable, UnknownScope)):
            self._failures.append((jobs[0].scope, error))
        else:
            self._failures.clear()


def _is_pointless(failures: Sequence[tuple[str | None, ServiceError]], scope: str | None) -> bool:
    if not failures:
        return False
    last, here = failures[-1][1], sum(there == scope for there, _ in failures)
    if isinstance(last, (ConnectionUnusable, IdentityError)):
        return True
    if isinstance(last, UnknownScope):
        return here > 0
    if isinstance(last, AccessDenied):
        return here >= DENIALS
    # Of a scope whose replies are malformed the others know nothing; a silence is everybody's.
    return (here if is_malformed(last) else len(failures)) >= SILENCES
