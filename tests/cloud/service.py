"""What the server expects of a service: the seam between HTTP and the simulated services."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from werkzeug.wrappers import Request, Response

ErrorKind = Literal["throttle", "server_error", "denied", "expired_token", "bad_key"]
"""Faults that a service words itself. The others (reset, latency, ...) are the server's business."""


class Subject(NamedTuple):
    """What a request is about: the container (cluster, queue, application) and the job ids it names."""

    scope: str = ""
    ids: tuple[str, ...] = ()


class CloudService(Protocol):
    """A simulated service. The server finds the operation, applies faults, then asks for the answer."""

    name: str

    def operation(self, request: Request) -> str | None:
        """Name the operation that the request asks for; None when it is not this service's request."""
        ...

    def answer(self, operation: str, request: Request) -> Response:
        """Perform the operation and answer it, errors included."""
        ...

    def error(self, kind: ErrorKind, operation: str) -> Response:
        """Render an injected fault in the words and format of this service."""
        ...

    def jobs(self) -> list[dict[str, Any]]:
        """Tell the truth about every job.

        Keys: service, scope, id, name, state (the service's own), cancelled (ended because of a cancel),
        reason, created_at, cancel_requested_at, ended_at (epoch seconds or None), labels.
        """
        ...


@runtime_checkable
class Describing(Protocol):
    """Optional: lets the journal and the faults know which jobs a request names."""

    def subject(self, operation: str, request: Request) -> Subject: ...


@runtime_checkable
class Configurable(Protocol):
    """Optional: takes part in ``/_cloud/settings``."""

    def configure(self, values: dict[str, Any]) -> None:
        """Change settings; unknown names raise ValueError."""
        ...

    def configuration(self) -> dict[str, Any]:
        """Return all settings as JSON-ready values."""
        ...


@runtime_checkable
class Finishing(Protocol):
    """Optional: takes part in ``/_cloud/jobs/finish``."""

    def finish(self, job_id: str, state: str, reason: str = "") -> None:
        """End a job now in the given state of the service; KeyError when there is no such job."""
        ...


@runtime_checkable
class Resettable(Protocol):
    """Optional: takes part in ``/_cloud/reset``."""

    def reset(self) -> None:
        """Forget all jobs and go back to the default settings."""
        ...
