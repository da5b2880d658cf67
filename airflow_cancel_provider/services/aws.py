"""What the AWS services share: calling a boto3 client patiently, and naming what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from botocore import xform_name
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError

from airflow_cancel_provider.exceptions import AccessDenied, ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelResult, JobStatus, RemoteJob
from airflow_cancel_provider.services.base import JobService, undone
from airflow_cancel_provider.services.lines import Line
from airflow_cancel_provider.services.patience import Patience, Persistence

T = TypeVar("T")

# The lists botocore's own retry modes use, and Batch's 429.
THROTTLING = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "RequestThrottled",
        "SlowDown",
        "PriorRequestNotComplete",
        "EC2ThrottledException",
    }
)
# Failures of the service's own, which some protocols send without an HTTP status of 500.
FAILING = frozenset(
    {
        "InternalServerError",
        "InternalServerException",
        "InternalFailure",
        "InternalError",
        "ServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
    }
)
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"})
UNKNOWN_IDENTITY = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "ExpiredToken",
        "ExpiredTokenException",
        "OptInRequired",
    }
)
NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)

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
    def line(self) -> Line:
        """How this client reaches the service."""
        # What a client was made with, it does not show; these names have been the same for ten years.
        return Line(
            service=self.name,
            conn_id=self.conn_id,
            region=self.region,
            endpoint=self.client.meta.endpoint_url,
            verify=self.client._endpoint.http_session._verify,  # noqa: SLF001
            proxies=self.client.meta.config.proxies,
            secrets={"credentials": self.client._request_signer._credentials},  # noqa: SLF001
        )

    def _call(self, series: Persistence, operation: str, about: str, /, **params: Any) -> dict[str, Any]:
        method = getattr(self.client, xform_name(operation))
        answer: dict[str, Any] = self._repeat(series, operation, about, lambda: method(**params))
        return answer

    def _repeat(self, series: Persistence, operation: str, about: str, function: Callable[[], T]) -> T:
        """Repeat a call while its errors are transient.

        :raises ServiceError: named after ``operation``, and after the jobs or the scope that it is ``about``.
        """
        try:
            return series.call(function, is_transient)
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

    def _named(self, error: ClientError | BotoCoreError, operation: str, about: str) -> ServiceError:
        code, words = error_code(error), error_words(error)
        what = f"{operation} on {about} failed"
        if is_transient(error):
            return ServiceUnavailable(
                f"{what}, {self.patience.seconds:g} s after the last answer: {words}.", operation, code
            )
        if code in DENIED:
            action = f"{self.iam_prefix}:{self.iam_actions.get(operation, operation)}"
            return AccessDenied(f"{what}: {words}. Allow {action} to this identity.", operation, code)
        if code in UNKNOWN_IDENTITY or isinstance(error, NO_CREDENTIALS):
            return AccessDenied(
                f"{what}: {words}. Check the credentials of connection {self.conn_id!r}.", operation, code
            )
        return ServiceError(f"{what}: {words}.", operation, code)


def error_code(error: BaseException) -> str | None:
    """The service's error code, where the service answered with one."""
    if not isinstance(error, ClientError):
        return None
    code: str | None = error.response.get("Error", {}).get("Code")
    return code


def error_words(error: BaseException) -> str:
    """The service's code and message, or the client's own words where nothing came back."""
    if isinstance(error, ClientError):
        message = error.response.get("Error", {}).get("Message") or "no message"
        return f"{error_code(error)}: {message}".rstrip(".")
    return f"{type(error).__name__}: {error}".rstrip(".")


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later: throttled, a failing service, a broken connection."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return is_transient_code(error_code(error)) or status == 429 or status >= 500
    return isinstance(error, (NoConnectionError, HTTPClientError, ResponseParserError))


def is_transient_code(code: str | None) -> bool:
    """Whether a service that says this may answer otherwise later."""
    return code in THROTTLING or code in FAILING


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
            results += [_unsent(job, failures[-1][1]) for job in jobs]
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


def _unsent(job: RemoteJob, error: ServiceError) -> CancelResult:
    (result,) = undone([job], error)
    return replace(result, detail=f"Not sent, because the request before it failed: {error}")
