"""Find out from a reply or an error whether a request was carried out. Imports no SDK."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from ssl import SSLError
from types import TracebackType
from typing import Any

CLOCK_GRAIN = 2.0
"""Seconds: a ``Date`` header has whole seconds, and a proxy may add its own one a moment later."""
CLOCKS_APART = 300.0
"""Seconds that the service's clock may differ from this machine's; AWS refuses signatures beyond them."""
OLDEST_DATE = 1_767_225_600.0
"""Epoch seconds of the year 2026: an earlier ``Date`` is a broken clock's, not the service's."""
_TRANSPORTS = ("urllib3", "botocore", "aiohttp", "aiobotocore", "httpx", "httpcore")
_DOUBLES = ("builtins", "unittest", "urllib3", "vcr", "responses", "requests_mock")
"""Packages of test doubles that replace the connection of urllib3; ``builtins`` is that of None."""
_CONNECTING = {
    "urllib3": {"_new_conn", "connect", "_prepare_proxy", "_validate_conn", "create_connection"},
    "http": {"connect", "_tunnel"},
    "ssl": {"do_handshake"},
    "socket": {"getaddrinfo", "create_connection"},
}
"""Functions, by package, that run before the first byte of a request is sent."""
_REFUSED_CERTIFICATE = re.compile(r"ALERT_(\w+_)?(CERTIFICATE|CA|HANDSHAKE|ACCESS_DENIED)")
"""Reasons of ``ssl.SSLError``: with TLS 1.3 a server refuses a client's certificate when the client has
already begun to send, and does not read the request."""
_UNSENT = ("EndpointConnectionError", "ConnectTimeoutError")
_UNSENT_ASYNC = (
    "ClientConnectorError",
    "ClientConnectorDNSError",
    "ClientConnectorSSLError",
    "ClientConnectorCertificateError",
    "ClientProxyConnectionError",
    "ClientHttpProxyError",
)


answered_inside: ContextVar[bool] = ContextVar("airflow_cancel_provider_answered_inside", default=False)
"""Whether the last reply to a client of ours, in this thread, came from a test double."""


def came_over_a_socket(http_response: Any) -> bool:
    """Whether a reply came from a server, and not from a test double inside this process.

    A real reply of botocore or requests holds a response of aiohttp, or one of urllib3, which reads from one
    of ``http.client``. moto and botocore's ``Stubber`` replace it by objects of their own; vcrpy and
    ``responses`` replace what is below urllib3. In doubt it came from a server.
    """
    raw = getattr(http_response, "raw", None)
    if raw is None or _package(raw) not in _TRANSPORTS:
        return False
    if _package(raw) != "urllib3" or not hasattr(raw, "_original_response"):
        return True
    return _package(raw._original_response) not in _DOUBLES  # noqa: SLF001  there is no public way


def was_never_sent(error: BaseException) -> bool:
    """Whether an attempt failed before its first byte was sent: in name lookup, connection or TLS handshake.

    In doubt it was sent.
    """
    return any(_is_of_connecting(each) for each in _chain(error))


def retry_after(headers: Mapping[str, Any]) -> float:
    """Seconds for which a reply asks to wait before the next request; 0: it does not.

    A time counts from the reply's own ``Date``, as the service's clock may differ from this machine's.
    """
    milliseconds = str(_header(headers, "x-amz-retry-after") or "").strip()
    if milliseconds.isascii() and milliseconds.isdecimal():
        return float(milliseconds[:12]) / 1000
    asked = str(_header(headers, "retry-after") or "").strip()
    if asked.isascii() and asked.isdecimal():
        return float(asked[:9])
    until, now = _epoch(asked), _epoch(_header(headers, "date")) or time.time()
    return max(0.0, until - now) if until else 0.0


def earliest_start(headers: Mapping[str, Any], round_trip: float) -> float:
    """The earliest time at which the service can have acted on a request, in epoch seconds of its own clock.

    :param headers: of its reply.
    :param round_trip: seconds from the first attempt to the reply.
    """
    answered = _epoch(_header(headers, "date"))
    if answered < OLDEST_DATE:
        # The service's time is not known: assume the latest, so that no older job of others counts as ours.
        return time.time() + CLOCKS_APART
    return answered - round_trip - CLOCK_GRAIN


def _header(headers: Mapping[str, Any], wanted: str) -> Any:
    return next((value for name, value in headers.items() if str(name).lower() == wanted), None)


def _epoch(date: Any) -> float:
    """Epoch seconds of an HTTP date; 0 for what is none."""
    try:
        return parsedate_to_datetime(str(date)).timestamp()
    except (TypeError, ValueError, ArithmeticError):
        return 0.0


def _package(value: Any) -> str:
    # __class__, not type(): instrumentation may have put a proxy around it.
    return str(value.__class__.__module__).partition(".")[0]


def _is_of_connecting(error: BaseException) -> bool:
    name = type(error).__name__
    if name in _UNSENT_ASYNC:
        return True
    if isinstance(error, SSLError) and _REFUSED_CERTIFICATE.search(str(error.reason)):
        return True
    if name in _UNSENT and _package(error) == "botocore":
        # aiobotocore raises the same class for every broken connection; its cause shows which one it is.
        inner = _inner(error)
        return inner is None or _package(inner) != "aiohttp"
    return any(function in _CONNECTING.get(package, ()) for package, function in _frames(error.__traceback__))


def _frames(traceback: TracebackType | None) -> Iterator[tuple[str, str]]:
    while traceback is not None:
        frame = traceback.tb_frame
        yield str(frame.f_globals.get("__name__", "")).partition(".")[0], frame.f_code.co_name
        traceback = traceback.tb_next


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo = [error]
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo += [_inner(each), each.__cause__, each.__context__]


def _inner(error: BaseException) -> BaseException | None:
    """The error that botocore has made this one from."""
    inner = getattr(error, "kwargs", {}).get("error") if hasattr(error, "kwargs") else None
    return inner if isinstance(inner, BaseException) else None
