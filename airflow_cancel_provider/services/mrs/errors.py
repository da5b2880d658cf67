"""The errors of MRS, its gateway and the identity service, and what they mean.

The code counts before the HTTP status: the same code comes with 500 on OTC and with 400 on Huawei Cloud.
OTC API reference, "Error Codes" (mrs_02_0014); Huawei Cloud, API Gateway error codes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from requests import Response

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    ConnectionUnusable,
    IdentityError,
    ServiceError,
    ServiceUnavailable,
    UnknownScope,
)


class FaultKind(StrEnum):
    """What a failure means for the caller."""

    GONE = "gone"
    NO_CLUSTER = "no such cluster"
    DENIED = "denied"
    IDENTITY = "identity"
    """The service does not accept the identity, and a new token would not help."""
    TOKEN = "token"  # noqa: S105  not one
    """The service does not accept this token; it may accept a new one."""
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    SUBMITTING = "submitting"
    """The job is being submitted to the cluster, and can't be cancelled yet."""
    USE_V1 = "use v1.1"
    USE_V2 = "use v2"
    WRONG_PATH = "wrong path"
    OTHER = "other"


class Entry(NamedTuple):
    """One row of the table: what a code means, and what to do."""

    kind: FaultKind
    advice: str = ""


_CHECK_CREDENTIALS = "Check the access key, or user name and password, of the connection."
_CHECK_CLOCK = "An access key also needs the right time on this machine."
_SYNC_USER = (
    "Synchronise the IAM users of the cluster (its Dashboard, IAM User Sync) and give this user"
    " MRS CommonOperations or more; it takes some minutes."
)
_NOT_KILLED = "Look at the job's state: it may have ended, and SparkSql jobs can't be stopped at all."
_ONLY_V2 = "Set api_version to v2 in the connection."
_WRONG_PATH = "This host has no such API: check endpoint, region and api_version of the connection."
_BUSY = "The cluster runs as many jobs as it can: wait until some have ended."

CODES: dict[str, Entry] = {
    "0160": Entry(FaultKind.OTHER, _NOT_KILLED),
    "0175": Entry(FaultKind.OTHER, _NOT_KILLED),
    "0200": Entry(FaultKind.OTHER, _NOT_KILLED),
    "0162": Entry(FaultKind.TRANSIENT),
    "0166": Entry(FaultKind.TRANSIENT),
    "0174": Entry(FaultKind.TRANSIENT),
    "0167": Entry(FaultKind.USE_V1, "This cluster knows only the old API: set api_version to v1.1."),
    "0176": Entry(FaultKind.GONE),
    "0201": Entry(FaultKind.GONE),
    "0177": Entry(FaultKind.OTHER, _BUSY),
    "0180": Entry(FaultKind.SUBMITTING, "The job is still being submitted: ask again."),
    "0191": Entry(FaultKind.DENIED, _SYNC_USER),
    "0192": Entry(FaultKind.DENIED, _SYNC_USER),
    "0202": Entry(FaultKind.THROTTLED),
    "12000001": Entry(FaultKind.TOKEN, _CHECK_CREDENTIALS),
    "12000003": Entry(FaultKind.NO_CLUSTER, "Check the cluster id, and the project id of the connection."),
    "12000004": Entry(FaultKind.TRANSIENT),
    "12000052": Entry(FaultKind.DENIED),
    "12000060": Entry(FaultKind.OTHER, _BUSY),
    "12000062": Entry(FaultKind.OTHER, "Check that the cluster is running."),
    "12000064": Entry(FaultKind.USE_V2, f"The old API can't reach jobs of a Kerberos cluster. {_ONLY_V2}"),
    "12000085": Entry(FaultKind.USE_V2, f"The old API does not serve this cluster's version. {_ONLY_V2}"),
    "130000002": Entry(FaultKind.TOKEN, _CHECK_CREDENTIALS),
    "APIGW.0101": Entry(FaultKind.WRONG_PATH, _WRONG_PATH),
    # The gateway gives this code for an expired token and for a wrong signature.
    "APIGW.0301": Entry(
        FaultKind.TOKEN,
        f"{_CHECK_CREDENTIALS} {_CHECK_CLOCK}",
    ),
    "APIGW.0307": Entry(FaultKind.TOKEN, _CHECK_CREDENTIALS),
    "APIGW.0303": Entry(FaultKind.IDENTITY, _CHECK_CREDENTIALS),
    "APIGW.0308": Entry(FaultKind.THROTTLED),
}
STATUSES: dict[int, Entry] = {
    401: Entry(FaultKind.TOKEN, _CHECK_CREDENTIALS),
    403: Entry(FaultKind.DENIED),
    408: Entry(FaultKind.TRANSIENT),
    429: Entry(FaultKind.THROTTLED),
    502: Entry(FaultKind.TRANSIENT),
    503: Entry(FaultKind.TRANSIENT),
    504: Entry(FaultKind.TRANSIENT),
}
_PATIENT = frozenset({FaultKind.THROTTLED, FaultKind.TRANSIENT, FaultKind.SUBMITTING})
_ERRORS: dict[FaultKind, type[ServiceError]] = {
    FaultKind.DENIED: AccessDenied,
    FaultKind.IDENTITY: IdentityError,
    FaultKind.TOKEN: IdentityError,
    FaultKind.NO_CLUSTER: UnknownScope,
    FaultKind.WRONG_PATH: ConnectionUnusable,
}
_FAILED = "FAILED"
"""The ``status`` of SQL calls that fail; they have no error code."""


class Fault(ServiceError):
    """The error of one call.

    :param kind: what it means.
    :param may_have_acted: the request may still have been carried out.
    :param retry_after: seconds for which the reply asks to wait; 0: it does not.
    """

    def __init__(
        self,
        message: str,
        operation: str | None = None,
        code: str | None = None,
        kind: FaultKind = FaultKind.OTHER,
        *,
        may_have_acted: bool = False,
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message, operation, code)
        self.kind = kind
        self.may_have_acted = may_have_acted
        self.retry_after = retry_after

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed later."""
        return self.kind in _PATIENT

    def named(self, context: str = "") -> ServiceError:
        """The same as an error for users of this package, with ``context`` added to the message."""
        words = f"{self.message} {context}".strip()
        if self.kind in _ERRORS:
            return _ERRORS[self.kind](words, self.operation, self.code)
        if self.is_transient:
            return ServiceUnavailable(words, self.operation, self.code)
        return ServiceError(words, self.operation, self.code)


@dataclass(frozen=True, slots=True)
class Complaint:
    """The content of an error reply, in whichever form it came; fields are empty where it has none."""

    code: str = ""
    words: str = ""
    request_id: str = ""

    def __str__(self) -> str:
        text = ": ".join(part for part in (self.code, self.words.rstrip(". ")) if part) or "no explanation"
        return text + (f" (request {self.request_id})" if self.request_id else "")


def classify(code: str, status: int) -> Entry:
    """Meaning of an error, by its code first and its HTTP status second."""
    entry = CODES.get(code.replace("APIG.", "APIGW.", 1))
    if entry is None and status == 404:
        # A 404 without a code of MRS comes from another server, or for a wrong path: it never means GONE.
        mrs = bool(code) and code != "404" and not code.startswith(("APIG", "HTTP"))
        return Entry(FaultKind.GONE) if mrs else Entry(FaultKind.WRONG_PATH, _WRONG_PATH)
    if entry is None and status >= 500 and (code in ("", str(status)) or code.startswith("APIG")):
        # Of a gateway or proxy. MRS itself gives 500 with an unknown code for permanent refusals: no retry.
        return Entry(FaultKind.TRANSIENT)
    return entry or STATUSES.get(status, Entry(FaultKind.OTHER))


def complaint(response: Response) -> Complaint:
    """Read an error reply in any of its forms: ``error_code``, ``errorCode``, ``code``, nested, or none."""
    request_id = response.headers.get("X-Request-Id", "")
    try:
        body: Any = json.loads(response.content)
    except (ValueError, RecursionError):
        return Complaint("", f"HTTP {response.status_code} {response.reason or ''}".strip(), request_id)
    fields = _fields(body)
    failed = _FAILED if fields.get("status") == _FAILED else ""
    return Complaint(
        _first(fields, "error_code", "errorCode", "code") or failed,
        _first(fields, "error_msg", "errorMsg", "message", "title")[:500] or f"HTTP {response.status_code}",
        _first(fields, "request_id", "requestId") or request_id,
    )


def _fields(body: Any) -> Mapping[str, Any]:
    """The object that holds the code: the reply itself, or the first object in it that has one."""
    if not isinstance(body, dict):
        return {}
    if any(body.get(name) for name in ("error_code", "errorCode", "code")):
        return body
    inner = (value for value in body.values() if isinstance(value, dict))
    return next((value for value in inner if value.get("code") or value.get("error_code")), body)


def _first(fields: Mapping[str, Any], *names: str) -> str:
    return next((str(fields[name]) for name in names if isinstance(fields.get(name), (str, int))), "")
