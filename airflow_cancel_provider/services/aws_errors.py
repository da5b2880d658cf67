"""What the AWS services and botocore say when a call fails, and what that means."""

from __future__ import annotations

from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnectionError
from botocore.parsers import ResponseParserError

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
