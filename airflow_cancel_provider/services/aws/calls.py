"""Call a boto3 client patiently, check its answers, and name what went wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar, Self, TypeVar
from urllib.parse import urlsplit

from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    CancelProviderError,
    ConnectionUnusable,
    IdentityError,
    ServiceError,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.services.aws.answers import Answers, NoAnswer, NotSent, check, check_about
from airflow_cancel_provider.services.aws.attempts import note_attempt, note_failure
from airflow_cancel_provider.services.aws.body import Cut, cut_of, cutting, read_body
from airflow_cancel_provider.services.aws.client import client_of, spec_of
from airflow_cancel_provider.services.aws.errors import (
    connection_trouble,
    error_code,
    error_words,
    is_foreign,
    is_throttled,
    is_transient,
    is_unknown_identity,
    kind_of,
    seconds_asked_for,
)
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.credentials import account_of, caused_by, secrets_in
from airflow_cancel_provider.services.retry import CallSeries, Patience

T = TypeVar("T")
_AWS = re.compile(r"(^|\.)(amazonaws\.com(\.cn)?|api\.aws|amazonwebservices\.com\.cn)$")

IDENTITY_ATTEMPTS = 3
"""Requests that are sent before an identity counts as not accepted: the service may not know new keys yet."""
REFUSED_MEANWHILE = "the service refused its credentials to another call while it waited for the quota."
LONGEST_LISTING = 10_000
"""Pages of a listing; one that has more goes round in circles."""


class AwsCalls(JobService):
    """A service reached through a boto3 client, called in boto3 what it is called here.

    The client's own retries come first; ``patience`` repeats what they give up on. A call may therefore
    have been carried out before it is answered: every call made here is safe to repeat.

    :param client: a boto3 client of this service; its region is the region of all addresses.
    """

    iam_prefix: ClassVar[str]
    iam_actions: ClassVar[dict[str, str]] = {}
    """IAM actions that are not called like the operation they allow."""
    answers: ClassVar[Answers]
    """What is read of answers, by operation; a reply that has it not is none."""
    subjects: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    """By operation and parameter: where the answer names what was asked about."""
    complete: ClassVar[Container[str]] = ()
    """Operations whose answer names all that was asked about."""
    next_page: ClassVar[str] = "nextToken"
    """Name of the next page's token, in an answer and in a request."""

    def __init__(self, client: Any, *, conn_id: str | None = None, patience: Patience | None = None) -> None:
        super().__init__(conn_id=conn_id, region=client.meta.region_name, patience=patience)
        self.client = client
        self._cuts: dict[str, Cut] = {}
        """What is read of answers, by operation."""
        # Once for each client, however many services it has.
        client.meta.events.register("before-parse", read_body, unique_id=read_body.__qualname__)
        client.meta.events.register("response-received", note_attempt, unique_id=note_attempt.__qualname__)

    @property
    def _place(self) -> Hashable:
        """Region, or the address of something that stands in for AWS: that has quotas of its own."""
        endpoint = self.client.meta.endpoint_url
        return self.region if _AWS.search(urlsplit(endpoint).hostname or "") else endpoint

    @property
    def _account(self) -> Hashable:
        return account_of(self.client._request_signer._credentials) or self.conn_id  # noqa: SLF001

    @property
    def _secrets(self) -> tuple[str, ...]:
        return secrets_in(self.client._request_signer._credentials)  # noqa: SLF001

    @classmethod
    def over(cls, spec: ClientSpec, patience: Patience) -> Self:
        """The service over a client like the one that was specified."""
        return cls(client_of(spec), conn_id=spec.conn_id, patience=patience)

    @property
    def spec(self) -> ClientSpec:
        """How this client reaches the service."""
        return spec_of(self.client, self.conn_id)

    def _call(self, series: CallSeries, operation: str, about: str, /, **params: Any) -> dict[str, Any]:
        return self._repeat(series, operation, about, lambda: self._request(operation, **params))

    def _request(self, operation: str, **params: Any) -> dict[str, Any]:
        """Have the client make a call, and count what it had to repeat by itself."""
        try:
            answer = self._answer(operation, params)
        except (ClientError, BotoCoreError) as error:
            note_failure(error)
            self.meter.repeated(operation, _repeats(error.response if isinstance(error, ClientError) else {}))
            raise
        self.meter.repeated(operation, _repeats(answer))
        return answer

    def _answer(self, operation: str, params: dict[str, Any]) -> dict[str, Any]:
        """The answer, if it is one of this operation, about what was asked."""
        call = getattr(self.client, xform_name(operation))
        with cutting(self._cut(operation)) as reading:
            try:
                answer: dict[str, Any] = call(**params)
            except (ClientError, BotoCoreError, CancelProviderError):
                raise
            except Exception as error:
                if not reading.has_come:
                    raise NotSent(why=f"the request could not be made: {error!r}") from error
                # botocore reads a reply that is not in its model's form until it stumbles, over anything.
                raise NoAnswer(why=f"the reply is not an answer of {operation}: {error!r}") from error
        check(self.answers, operation, answer)
        for name, path in self.subjects.get(operation, {}).items():
            if name in params:
                asked = [params[name]] if isinstance(params[name], str) else params[name]
                check_about(operation, answer, path, asked, each=operation in self.complete)
        return answer

    def _cut(self, operation: str) -> Cut:
        if operation not in self._cuts:
            model = self.client.meta.service_model.operation_model(operation).output_shape
            self._cuts[operation] = cut_of(self.answers.get(operation, {}), model)
        return self._cuts[operation]

    def _repeat(self, series: CallSeries, operation: str, about: str, function: Callable[[], T]) -> T:
        """Repeat a call while its errors are transient, and a few times where the identity is not accepted.

        :raises ServiceError: named after ``operation``, and after the jobs or the scope that it is ``about``.
        """
        refusals = 0

        def may_pass(error: BaseException) -> bool:
            nonlocal refusals
            if is_throttled(error):
                self.meter.throttled(operation)
            is_refused = is_unknown_identity(error, operation)
            refusals += is_refused
            # Others that share the client may have found out.
            attempts = 1 if self.identity_refused else IDENTITY_ATTEMPTS
            return is_transient(error) or (is_refused and refusals < attempts)

        try:
            answer = series.call(function, may_pass, partial(self._turn, operation, about), seconds_asked_for)
        except (ClientError, BotoCoreError) as error:
            named = self._named(error, operation, about)
            self.identity_refused = isinstance(named, IdentityError)
            raise caused_by(error, named, self._secrets)  # noqa: B904
        self.identity_refused = False
        return answer

    def _turn(self, operation: str, about: str, **how: Any) -> float:
        """As :meth:`Meter.turn`.

        :raises IdentityError: the identity was refused to another call meanwhile; this one is not sent.
        """
        was_refused = self.identity_refused
        waited = self.meter.turn(operation, **how)
        if self.identity_refused and not was_refused:
            self.meter.not_sent(operation)
            raise IdentityError(f"{operation} on {about} was not sent: {REFUSED_MEANWHILE}", operation)
        return waited

    def _pages(
        self, series: CallSeries, operation: str, about: str, /, **params: Any
    ) -> Iterator[dict[str, Any]]:
        """Answers of a listing, page by page."""
        tokens: set[str] = set()
        while len(tokens) < LONGEST_LISTING:
            answer = self._call(series, operation, about, **params)
            yield answer
            following = answer.get(self.next_page)
            if not following:
                return
            if following in tokens:
                break
            tokens.add(following)
            params[self.next_page] = following
        raise ServiceUnavailable(f"{operation} on {about} failed: its pages go round in circles.", operation)

    def _states(self, shape: str, over: Container[str], known: Iterable[str] = ()) -> list[str]:
        """States of the service in which something may live, to ask for.

        :param shape: their enumeration in the client's model of the service: it learns of new ones.
        :param over: those that are an end.
        :param known: those that come first.
        """
        states = dict.fromkeys([*known, *self.client.meta.service_model.shape_for(shape).enum])
        return [state for state in states if state not in over]

    def _named(self, error: ClientError | BotoCoreError, operation: str, about: str) -> ServiceError:
        code, words = None if is_foreign(error) else error_code(error), error_words(error, self._secrets)
        kind = UnknownScope if self._is_unknown_scope(operation, error) else kind_of(error, operation)
        return kind(
            f"{operation} on {about} failed{self._advised(kind, words, operation, error)}", operation, code
        )

    def _advised(self, kind: type[ServiceError], words: str, operation: str, error: Exception) -> str:
        """What went wrong, and what to do about it."""
        conn = f"connection {self.conn_id!r}"
        action = f"{self.iam_prefix}:{self.iam_actions.get(operation, operation)}"
        advice = {
            ServiceUnavailable: f" for {self.patience.seconds:g} s: {words}.",
            ConnectionUnusable: f": {words}. {connection_trouble(error)} of {conn}.",
            IdentityError: f": {words}. Check the credentials of {conn}.",
            AccessDenied: f": {words}. Allow {action} to this identity.",
            UnknownScope: f": {words}. It may be in another account or region than {conn} is for.",
        }
        return advice.get(kind, f": {words}.")

    def _is_unknown_scope(self, operation: str, error: Exception) -> bool:
        """Whether this is how the service says that it does not know a cluster, queue or application."""
        return False


def _repeats(answer: Any) -> int:
    """How often the client itself sent a call again before this answer came."""
    return int(answer.get("ResponseMetadata", {}).get("RetryAttempts", 0))
