"""The basic types: a job's address, its state, the outcome of a cancel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Self
from urllib.parse import quote, unquote_to_bytes

from airflow_cancel_provider.exceptions import InvalidInput, writable
from airflow_cancel_provider.owner import Label

_ADDRESS = re.compile(
    r"(?P<service>[a-z][a-z0-9-]*)://(?P<conn>[^@/]*)(?:@(?P<region>[^@/]*))?(?P<path>(?:/[^/]+){1,2})",
    re.ASCII,
)
_SHAPE = (
    "service://connection@region/[cluster or application/]job id, as "
    "emr://aws_default@us-east-1/j-2AXXXXXXGAPLF/s-3BYXXXXXXXXXX"
)


Identity = tuple[str, str | None, str]
"""Service, scope and id."""


class RemoteJob(str):
    """Address of a remote job: all that is needed to describe or cancel it.

    It *is* its URI, a text, with the same value in a set, an XCom, a command line and a log line::

        emr://aws_default@us-east-1/j-2AXX/s-3BYY
        batch://aws_default@us-east-1/5b1f…            (no scope: a Batch job id stands alone)
        emr-serverless://aws_default@us-east-1/00f1…/00f2…
        mrs://mrs_default/cluster-id/job-execution-id

    An empty connection (``batch://@us-east-1/5b1f…``) means the service's own default credentials.
    Parts are percent-encoded; :meth:`of` takes them plain.

    :raises InvalidInput: the text is not such a URI.
    """

    service: str
    conn_id: str | None
    region: str | None
    scope: str | None
    id: str

    __slots__ = ("conn_id", "id", "region", "scope", "service")

    def __new__(cls, uri: str) -> Self:
        """Read an address."""
        try:
            found = _ADDRESS.fullmatch(uri)
        except TypeError:  # it is no text
            found = None
        if found is None:
            raise InvalidInput(f"{uri!r} is not the address of a remote job; expected {_SHAPE}.")
        parts = [decoded(part, uri) for part in found["path"][1:].split("/")]
        return cls._build(
            service=found["service"],
            conn_id=decoded(found["conn"], uri) or None,
            region=decoded(found["region"] or "", uri) or None,
            scope=parts[0] if len(parts) > 1 else None,
            id=parts[-1],
        )

    @classmethod
    def of(
        cls,
        service: str,
        id: str,
        *,
        scope: str | None = None,
        conn_id: str | None = None,
        region: str | None = None,
    ) -> Self:
        """Build an address from its plain parts (``scope``: the cluster or application, where there is one).

        :raises InvalidInput: a part is empty or cannot stand in a URI.
        """
        if not id or scope == "" or not re.fullmatch(r"[a-z][a-z0-9-]*", service, re.ASCII):
            raise InvalidInput(f"A remote job needs {_SHAPE}; got {service!r}, scope {scope!r}, id {id!r}.")
        return cls._build(service, conn_id or None, region or None, scope, id)

    @classmethod
    def _build(
        cls, service: str, conn_id: str | None, region: str | None, scope: str | None, id: str
    ) -> Self:
        authority = encoded(conn_id or "") + (f"@{encoded(region)}" if region else "")
        path = "/".join(encoded(part) for part in (scope, id) if part is not None)
        self = super().__new__(cls, f"{service}://{authority}/{path}")
        self.service, self.conn_id, self.region, self.scope, self.id = service, conn_id, region, scope, id
        return self

    @property
    def service_key(self) -> tuple[str, str | None, str | None]:
        """Service, connection and region: the same for jobs that are reached the same way."""
        return (self.service, self.conn_id, self.region)

    @property
    def identity(self) -> Identity:
        """Service, scope and id: the same for a job over whatever connection it is addressed."""
        return (self.service, self.scope, self.id)

    def __reduce__(self) -> tuple[type[RemoteJob], tuple[str]]:
        return (RemoteJob, (str(self),))

    def __str__(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"RemoteJob({str(self)!r})"


def encoded(part: str) -> str:
    """A part of an address, as it stands there.

    :raises InvalidInput: it can't stand there.
    """
    try:
        return quote(part, safe=":")
    except UnicodeEncodeError:
        raise InvalidInput(f"{part!r} cannot be part of a job's address: it is not valid Unicode.") from None


def decoded(part: str, uri: str) -> str:
    """The inverse of :func:`encoded`.

    :param uri: the whole address, for the error.
    :raises InvalidInput: the part is not text in UTF-8.
    """
    try:
        return unquote_to_bytes(part).decode("utf-8")
    except UnicodeError:
        raise InvalidInput(f"{uri!r} is no address: its escapes are not UTF-8.") from None


class JobState(StrEnum):
    """A job's state, common to all services; the service's own state is kept beside it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    GONE = "GONE"

    @property
    def is_terminal(self) -> bool:
        """Whether the job will never run again (GONE: the service no longer knows it)."""
        return self in _TERMINAL


_TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.GONE})


@dataclass(frozen=True, slots=True)
class JobStatus:
    """What a service says of a job now.

    ``service_state`` and ``reason`` are the service's own words; ``name``, ``label`` and ``submitted_at``
    (UTC) are given where the call that was made shows them. ``label`` is None where the job carries none.
    """

    job: RemoteJob
    state: JobState
    service_state: str | None = None
    reason: str | None = None
    name: str | None = None
    label: Label | None = field(default=None, compare=False)
    submitted_at: datetime | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _make_writable(self, "service_state", "reason", "name")

    def __str__(self) -> str:
        own = f" ({self.service_state})" if self.service_state and self.service_state != self.state else ""
        return f"{self.job} is {self.state}{own}" + (f": {self.reason}" if self.reason else "")

    def as_json(self) -> dict[str, str | None]:
        """Plain values, for a trigger event or a report."""
        values = {name: getattr(self, name) for name in ("job", "state", "service_state", "reason", "name")}
        return {name: value if value is None else str(value) for name, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, str | None]) -> JobStatus:
        """The inverse of :meth:`as_json`."""
        return cls(
            RemoteJob(values["job"] or ""),
            JobState(values["state"] or ""),
            values.get("service_state"),
            values.get("reason"),
            values.get("name"),
        )


class CancelOutcome(StrEnum):
    """Outcome of one request to cancel one job. None of these means that the job has ended."""

    REQUESTED = "REQUESTED"
    """The service accepted the request."""
    ALREADY_CANCELLING = "ALREADY_CANCELLING"
    """An earlier request is under way: so the service answered, or nothing was sent."""
    ALREADY_ENDED = "ALREADY_ENDED"
    """The job had ended before the request."""
    GONE = "GONE"
    """The service does not know the job."""
    LEFT_RUNNING = "LEFT_RUNNING"
    """Only pending jobs were to be cancelled, and this one has started."""
    REFUSED = "REFUSED"
    """The service refused: not allowed, not supported."""
    UNANSWERED = "UNANSWERED"
    """The service did not answer in time; the request may or may not have arrived."""


@dataclass(frozen=True, slots=True)
class CancelResult:
    """Outcome of one cancel request for one job.

    ``code`` and ``detail`` are the service's error code and message, with what to do. ``response`` is
    the service's own reply, where it has one; it may hold secrets, so it is neither printed nor stored.
    """

    job: RemoteJob
    outcome: CancelOutcome
    detail: str | None = None
    code: str | None = None
    response: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        _make_writable(self, "detail", "code")

    def __str__(self) -> str:
        code = f" [{self.code}]" if self.code else ""
        return f"{self.job}: {self.outcome}{code}" + (f": {self.detail}" if self.detail else "")

    def as_json(self) -> dict[str, str | None]:
        """Plain values, for a trigger event or a report."""
        values = {name: getattr(self, name) for name in ("job", "outcome", "detail", "code")}
        return {name: value if value is None else str(value) for name, value in values.items()}

    @classmethod
    def from_json(cls, values: dict[str, str | None]) -> CancelResult:
        """The inverse of :meth:`as_json`."""
        return cls(
            RemoteJob(values["job"] or ""),
            CancelOutcome(values["outcome"] or ""),
            values.get("detail"),
            values.get("code"),
        )


def _make_writable(of: JobStatus | CancelResult, *names: str) -> None:
    for name in names:
        text = getattr(of, name)
        if text and (written := writable(text)) is not text:
            object.__setattr__(of, name, written)


def by_service_key(jobs: Iterable[RemoteJob]) -> list[list[RemoteJob]]:
    """Group jobs that are reached the same way, each job once, in the order given."""
    groups: dict[tuple[str, str | None, str | None], list[RemoteJob]] = {}
    for job in dict.fromkeys(jobs):
        groups.setdefault(job.service_key, []).append(job)
    return list(groups.values())


def by_scope(jobs: Iterable[RemoteJob]) -> dict[str | None, list[RemoteJob]]:
    """Group jobs by cluster or application, each job once, in the order given."""
    groups: dict[str | None, list[RemoteJob]] = {}
    for job in dict.fromkeys(jobs):
        groups.setdefault(job.scope, []).append(job)
    return groups
