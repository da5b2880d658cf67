"""What the AWS services and botocore say when a call fails, and what that means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    InvalidConfigError,
    InvalidProxiesConfigError,
    MetadataRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProxyConnectionError,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    ConnectionUnusable,
    IdentityError,
    ServiceError,
    ServiceUnavailable,
)
from airflow_cancel_provider.services.aws.answers import NoAnswer, NotSent
from airflow_cancel_provider.services.credentials import without, without_logins
from airflow_cancel_provider.services.replies import retry_after
from airflow_cancel_provider.services.tls import tls_trouble

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
# Failures of the service's own, which some services send with HTTP 400, or for one job inside HTTP 200.
FAILING = frozenset(
    {
        "InternalServerError",
        "InternalServerException",
        "InternalServiceException",
        "InternalFailure",
        "InternalError",
        "OperationTimeoutException",
        "ServerException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
        "RequestAbortedException",
    }
)
DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "NotAuthorized",
        "OptInRequired",
        "UnauthorizedOperation",
    }
)
UNKNOWN_IDENTITY = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "IncompleteSignature",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "AuthFailure",
        "InvalidToken",
        "ExpiredToken",
        "ExpiredTokenException",
        "TokenRefreshRequired",
        "RequestExpired",
        "RequestTimeTooSkewed",
    }
)
NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    NoAuthTokenError,
    MetadataRetrievalError,
    SSOError,
)
# No connection came about, so that nothing can have been carried out.
_NEVER_SENT = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError, NotSent)
_BROKEN_OFF = (NoConnectionError, HTTPClientError, ResponseParserError, NoAnswer, NotSent)
_LONGEST_WORDS = 500
_TOO_MANY = 429
_TIMED_OUT = 408
_PROXY_DENIED = 407
"""HTTP status of a proxy that asks for a name and a password."""


def error_code(error: BaseException) -> str | None:
    """The service's error code, where the service answered with one."""
    if not isinstance(error, ClientError):
        return None
    code = error.response.get("Error", {}).get("Code")
    return code if isinstance(code, str) else None


def error_words(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """The service's code and message, or the client's own words where nothing came back.

    :param secrets: what was sent and is to stand in no log: a reply may repeat it.
    """
    if isinstance(error, ClientError) and is_foreign_reply(error.response):
        words = f"HTTP {_status(error)} with what is no error of the service; check endpoint and proxies"
    elif isinstance(error, ClientError):
        message = error.response.get("Error", {}).get("Message") or "no message"
        words = f"{error_code(error)}: {message}"
    else:
        own = "" if isinstance(error, (NoAnswer, NotSent)) else f"{type(error).__name__}: "
        words = without_logins(f"{own}{error}")
    return " ".join(without(secrets, words).split())[:_LONGEST_WORDS].rstrip(".")


def is_foreign(error: BaseException) -> bool:
    """Whether an error reply is not one of the service: a page of a proxy, or a redirect."""
    return isinstance(error, ClientError) and is_foreign_reply(error.response)


def is_foreign_reply(reply: Mapping[str, Any]) -> bool:
    """The same, of an error reply that botocore has parsed: it gives the HTTP status for a missing code.

    A number is none either: the services have words.
    """
    status = int(reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    code = reply.get("Error", {}).get("Code")
    is_said = status in (_PROXY_DENIED, _TIMED_OUT, _TOO_MANY) or status >= 500
    return bool(status) and not is_said and (not isinstance(code, str) or code in ("", str(status)))


def is_no_verdict(reply: Mapping[str, Any]) -> bool:
    """Whether an error reply leaves open what became of the request: a failure, or none of the service.

    EMR reports failures with HTTP 400. A proxy's page may stand in the place of the service's answer.
    """
    status = int(reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    is_failure = status >= 500 or status == _TIMED_OUT or reply.get("Error", {}).get("Code") in FAILING
    return is_failure or is_foreign_reply(reply)


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later: throttled, a failing service, no answer of the service."""
    if isinstance(error, ClientError):
        status = _status(error)
        is_told = is_transient_code(error_code(error)) or is_foreign(error)
        return is_told or status in (_TIMED_OUT, _TOO_MANY) or status >= 500
    return isinstance(error, _BROKEN_OFF) and connection_trouble(error) is None


def is_throttled(error: BaseException) -> bool:
    """Whether the service answered that it is called too often."""
    if not isinstance(error, ClientError):
        return False
    return error_code(error) in THROTTLING or _status(error) == _TOO_MANY


def is_transient_code(code: str | None) -> bool:
    """Whether a service that says this may answer otherwise later."""
    return code in THROTTLING or code in FAILING


def is_unknown_identity(error: BaseException, operation: str | None) -> bool:
    """Whether the service does not accept the identity, or there is none to show.

    A call of another name than ``operation`` is one that renews credentials: whatever it was refused for.
    """
    if isinstance(error, ClientError):
        own = operation is None or error.operation_name == operation
        return error_code(error) in UNKNOWN_IDENTITY or not (own or is_transient(error))
    # By name: this family is new, and not in every botocore that is supported.
    login = any(parent.__name__ == "LoginError" for parent in type(error).__mro__)
    return login or isinstance(error, NO_CREDENTIALS)


def connection_trouble(error: BaseException) -> str | None:
    """What of the connection's settings is wrong, so that asking again does not help; or None."""
    if isinstance(error, (InvalidConfigError, InvalidProxiesConfigError)):
        return "Check verify and the proxies"
    if _wants_login_to_proxy(error):
        return "The proxy wants a login: check the proxies"
    if not isinstance(error, (NoConnectionError, HTTPClientError)):
        return None
    # A ValueError, urllib3's own included, comes of an address that is none.
    if isinstance(error.kwargs.get("error"), ValueError):
        return "Check the endpoint and the proxies"
    if tls_trouble(error):
        return "TLS: check verify (True, False, or the path of a CA bundle), client certificate and endpoint"
    return None


def _wants_login_to_proxy(error: BaseException) -> bool:
    if isinstance(error, ClientError):
        return _status(error) == _PROXY_DENIED
    # Of a tunnel that the proxy refuses, the status stands in the words only.
    return isinstance(error, ProxyConnectionError) and f" {_PROXY_DENIED} " in str(error.kwargs.get("error"))


def may_have_acted(error: BaseException) -> bool:
    """Whether a call that met this error may have been carried out all the same."""
    if isinstance(error, ClientError):
        return is_no_verdict(error.response)
    return isinstance(error, _BROKEN_OFF) and not isinstance(error, _NEVER_SENT)


def kind_of(error: BaseException, operation: str | None) -> type[ServiceError]:
    """Which of our errors this is.

    :param operation: the call that was made; None where only credentials were asked for.
    """
    if connection_trouble(error):
        return ConnectionUnusable
    if is_transient(error):
        return ServiceUnavailable
    if is_unknown_identity(error, operation) or operation is None:
        return IdentityError
    return AccessDenied if error_code(error) in DENIED else ServiceError


def seconds_asked_for(error: BaseException) -> float:
    """Seconds for which an error reply asks to wait; 0: it does not."""
    if not isinstance(error, ClientError):
        return 0.0
    return retry_after(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
