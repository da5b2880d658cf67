"""What is sent to our endpoints: read no further than it may be long, and refused in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_cancel_provider.exceptions import CancelProviderError


@dataclass
class Refusal(CancelProviderError):
    """A request that is not answered, and the HTTP status that says so."""

    status: int
    detail: str


async def read_body(request: Any, most: int, too_long: str) -> bytes:
    """The body of a request.

    :param most: bytes that it may have.
    :param too_long: words for one that has more.
    :raises Refusal: it is longer.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > most:
            raise Refusal(413, too_long)
    return body
