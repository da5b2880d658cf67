"""What the AWS services share: calling a boto3 client patiently, and naming what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, TypeVar

from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

from airflow_cancel_provider.exceptions import AccessDenied, ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelResult, JobStatus, RemoteJob
from airflow_cancel_provider.services.aws_client import spec_of
from airflow_cancel_provider.services.aws_errors import (
    DENIED,
    NO_CREDENTIALS,
    UNKNOWN_IDENTITY,
    error_code,
    error_words,
    is_transient,
)
from airflow_cancel_provider.services.base import JobService, undone, unsent
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.patience import Patience, Persistence

T = TypeVar("T")

DENIALS = 10
"""Requests in a row that may be denied before the rest of a cluster or application is not tried.
More than one, because a policy may allow jobs by their tags."""
SILENCES = 3
"""Requests in a row that may go unanswered. More than one, because a single job may be what breaks them."""


class AwsJobService(JobService):
    """A service reached through a boto3 client, called in boto3 what it is called here.

    The client's own retries come first; ``patience`` repeats what they give up on. A call may therefore
    have been carried out before it is answered: every call made here is safe to repeat.

    :param client: a boto3 client of this service; its region is the region of all addresses.
    """

    iam_prefix: ClassVar[str]
    iam_actions: ClassVar[dict[str, str]] = {}
    """IAM actions that are not called like the operation they allow."""

    def __init__(self, client: Any, *, conn_id: str | None = None, patience: Patience | None = None) -> None:
        super().__init__(conn_id=conn_id, region=client.meta.region_name, patience=patience)
        self.client = client

    @property
    def line(self) -> ClientSpec:
        """How this client reaches the service."""
        return spec_of(self.client, self.conn_id)

    def _call(self, series: Persistence, operation: str, about: str, /, **params: Any) -> dict[str, Any]:
        return self._repeat(series, operation, about, lambda: self._request(operation, **params))

    def _request(self, operation: str, **params: Any) -> dict[str, Any]:
        """Have the client make a call, and count what it had to repeat by itself."""
        try:
            answer: dict[str, Any] = getattr(self.client, xform_name(operation))(**params)
        except ClientError as error:
            self.meter.repeated(operation, _repeats(error.response))
            raise
        self.meter.repeated(operation, _repeats(answer))
        return answer

    def _repeat(self, series: Persistence, operation: str, about: str, function: Callable[[], T]) -> T:
        """Repeat a call while its errors are transient.

        :raises ServiceError: named after ``operation``, and after the jobs or the scope that it is ``about``.
        """
        try:
            return series.call(function, is_transient, partial(self.meter.turn, operation))
        except (ClientError, BotoCoreError) as error:
            raise self._named(error, operation, about) from error

    def _pages(
        self, series: Persistence, operation: str, about: str, /, token: tuple[str, str], **params: Any
    ) -> Iterator[dict[str, Any]]:
        """Answers of a listing; ``token``: the next page's token, its field in the answer and the request."""
        while True:
            answer = self._call(series, operation, about, **params)
            yield answer
            if not answer.get(token[0]):
                return
            params[token[1]] = answer[token[0]]

    def _states(self, shape: str, over: Container[str], known: Iterable[str] = ()) -> list[str]:
        """States of the service in which something may live, to ask for.

        :param shape: their enumeration in the client's model of the service: it learns of new ones.
        :param over: those that are an end.
        :param known: those that come first.
        """
        states = dict.fromkeys([*known, *self.client.meta.service_model.shape_for(shape).enum])
        return [state for state in states if state not in over]

    def _named(self, error: ClientError | BotoCoreError, operation: str, about: str) -> ServiceError:
        code, words = error_code(error), error_words(error)
        what = f"{operation} on {about} failed"
        if is_transient(error):
            return ServiceUnavailable(
                f"{what}, {self.patience.seconds:g} s after the last answer: {words}.", operation, code
            )
        # Renewing the credentials is a call of its own, which may be what was denied.
        if code in DENIED and getattr(error, "operation_name", None) == operation:
            action = f"{self.iam_prefix}:{self.iam_actions.get(operation, operation)}"
            return AccessDenied(f"{what}: {words}. Allow {action} to this identity.", operation, code)
        if code in DENIED | UNKNOWN_IDENTITY or isinstance(error, NO_CREDENTIALS):
            return AccessDenied(
                f"{what}: {words}. Check the credentials of connection {self.conn_id!r}.", operation, code
            )
        return ServiceError(f"{what}: {words}.", operation, code)


def _repeats(answer: Any) -> int:
    """How often the client itself sent a call again before this answer came."""
    return int(answer.get("ResponseMetadata", {}).get("RetryAttempts", 0))


def pick(wanted: Sequence[RemoteJob], pages: Iterable[Iterable[JobStatus]]) -> dict[RemoteJob, JobStatus]:
    """Statuses of the wanted jobs of one scope, reading no page more than it takes to find them all.

    Jobs are found by id: an address without a region is as good as the full one.
    """
    missing, found = {job.id for job in wanted}, dict[str, JobStatus]()
    for page in pages:
        for status in page:
            if status.job.id in missing:
                missing.remove(status.job.id)
                found[status.job.id] = status
        if not missing:
            break
    return {job: replace(found[job.id], job=job) for job in wanted if job.id in found}


def in_turn(
    requests: Iterable[Sequence[RemoteJob]],
    ask: Callable[[Sequence[RemoteJob]], list[CancelResult]],
) -> list[CancelResult]:
    """Send one cancel request after the other; one that is bound to fail like those before is not sent.

    :param requests: the jobs of each request, all of one scope.
    :param ask: sends a request; a :class:`ServiceError` stands for all of its jobs.
    """
    results: list[CancelResult] = []
    failures: list[tuple[str | None, ServiceError]] = []
    for jobs in requests:
        if _is_pointless(failures, jobs[0].scope):
            results += [unsent(job, failures[-1][1]) for job in jobs]
            continue
        try:
            results += ask(jobs)
            failures.clear()
        except (AccessDenied, ServiceUnavailable) as error:
            failures.append((jobs[0].scope, error))
            results += undone(jobs, error)
        except ServiceError as error:
            failures.clear()
            results += undone(jobs, error)
    return results


def _is_pointless(failures: Sequence[tuple[str | None, ServiceError]], scope: str | None) -> bool:
    if not failures:
        return False
    last = failures[-1][1]
    if isinstance(last, ServiceUnavailable):
        return len(failures) >= SILENCES
    return last.code not in DENIED or sum(there == scope for there, _ in failures) >= DENIALS
