"""Whether a call may have been carried out although no answer came: botocore repeats calls by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from airflow_cancel_provider.services.aws.errors import may_have_acted


@dataclass
class Attempts:
    """What is known of the requests of some calls.

    ``lost``: one of them may have been carried out, and its answer did not come.
    """

    lost: bool = False


_present: ContextVar[Attempts | None] = ContextVar("attempts", default=None)


@contextmanager
def watched() -> Iterator[Attempts]:
    """Note what becomes of each request that is sent in this context."""
    attempts = Attempts()
    token = _present.set(attempts)
    try:
        yield attempts
    finally:
        _present.reset(token)


def note_failure(error: BaseException) -> None:
    """Note how a request ended."""
    attempts = _present.get()
    if attempts is not None:
        attempts.lost = attempts.lost or may_have_acted(error)


def note_attempt(exception: Exception | None, parsed_response: Any = None, **_: Any) -> None:
    """Handler of ``response-received``: also sees the requests that botocore sends again."""
    if exception is not None:
        note_failure(exception)
    elif parsed_response and "Error" in parsed_response:
        note_failure(ClientError(parsed_response, ""))
