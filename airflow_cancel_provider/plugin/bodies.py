"""Read the bodies of requests, up to a length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_cancel_provider.exceptions import CancelProviderError


@dataclass
class Refusal(CancelProviderError):
    """A request that is refused, with the HTTP status and the message for it."""

    status: int
    detail: str


async def read_body(request: Any, most: int, too_long: str) -> bytes:
    """The body of a request.

    :param most: bytes that it may have.
    :param too_long: message for a longer one.
    :raises Refusal: it is longer.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise Refusal(413, too_long)
    return body
