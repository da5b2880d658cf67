"""Send one request; the result is parsed JSON, or a :class:`Fault`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import requests
from requests import Response
from requests.auth import AuthBase

from airflow_cancel_provider.services.credentials import caused_by, without, without_logins
from airflow_cancel_provider.services.mrs.calls import ApiCall
from airflow_cancel_provider.services.mrs.errors import Fault, FaultKind, classify, complaint
from airflow_cancel_provider.services.replies import (
    answered_inside,
    came_over_a_socket,
    retry_after,
    was_never_sent,
)

_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
# V1.1 cancels with a GET: without these headers, a cache may answer it instead of MRS.
_UNCACHED = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}
_SECRET_HEADERS = ("X-Auth-Token", "X-Security-Token")
_PLAIN = (401, 407, 408, 429)
"""Statuses that mean the same with whatever body."""
_LOST = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


class Transport:
    """Sends requests with one identity. Follows no redirect and repeats nothing.

    :param verify: check certificates, or the path of a CA bundle.
    :param timeouts: seconds to connect, and seconds between bytes of a reply.
    """

    def __init__(
        self, auth: AuthBase, *, verify: bool | str, session: requests.Session, timeouts: tuple[float, float]
    ) -> None:
        self._auth = auth
        self._verify = verify
        self._session = session
        self._timeouts = timeouts
        self.date = ""
        """When the last reply was made, by the service's own clock; empty where it does not say."""

    def send(
        self, call: ApiCall, url: str, about: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Make a call; an empty reply is an empty dict.

        :param about: the cluster, job or project, for error messages.
        :raises Fault: the call failed.
        """
        what = failed(call, about)
        try:
            response = self._session.request(
                call.method,
                url,
                data=None if body is None else json.dumps(body).encode(),
                headers=_HEADERS | (_UNCACHED if call.method == "GET" else {}),
                auth=self._auth,
                allow_redirects=False,
                verify=self._verify,
                timeout=self._timeouts,
            )
        except requests.RequestException as error:
            raise caused_by(error, _unanswered(error, call, what))  # noqa: B904
        answered_inside.set(not came_over_a_socket(response))
        self.date = response.headers.get("Date", "")
        return _parsed(response, call, what)


def failed(call: ApiCall, about: str) -> str:
    """The beginning of every fault's message."""
    return f"{call.operation} on {about} failed"


def _unanswered(error: requests.RequestException, call: ApiCall, what: str) -> Fault:
    # Behind what urllib3 words as "Max retries exceeded", although it has tried once.
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    words = without_logins(f"{what}: {type(error).__name__}: {reason or error}").rstrip(".")
    lost = call.mutates and not was_never_sent(error)
    if isinstance(error, requests.exceptions.SSLError):
        words = f"{words}. Check MRS endpoint (endpoint) and TLS verification (verify) of the connection."
        return Fault(words, call.operation, may_have_acted=lost)
    if isinstance(error, _LOST):
        return Fault(f"{words}.", call.operation, None, FaultKind.TRANSIENT, may_have_acted=lost)
    return Fault(f"{words}. Check endpoint and proxies.", call.operation)


def _parsed(response: Response, call: ApiCall, what: str) -> dict[str, Any]:
    status = response.status_code
    # Caches don't answer a POST; but some proxies add an Age to every reply.
    if status == 304 or (call.mutates and call.method == "GET" and "Age" in response.headers):
        words = f"{what}: a cache answered (HTTP {status}), not MRS. Let requests to MRS pass uncached."
        raise _foreign(call, words, status)
    if 300 <= status < 400:
        words = f"{what}: redirected (HTTP {status}), which is not followed. Check endpoint and proxies."
        raise _foreign(call, words, status)
    if status >= 500 or status in _PLAIN:
        raise _refused(response, call, what)
    if status < 400 and not response.content.strip():
        return {}
    try:
        body: Any = json.loads(response.content)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        # The reply is from a login page or a proxy: MRS itself answers with objects, also where it refuses.
        why = f"HTTP {status} with something that is not an object in JSON"
        raise misunderstood(call, what, why, status)
    if status >= 400 or body.get("error_code") or body.get("errorCode"):
        del body  # a tool that reports errors shows variables, and a reply may repeat what was sent
        raise _refused(response, call, what)
    return body


def misunderstood(call: ApiCall, what: str, why: str, status: int = 200) -> Fault:
    """The fault of a reply that is not one that the reference describes."""
    return _foreign(
        call, f"{what}: {why}, which is no valid answer of MRS. Check endpoint and proxies.", status
    )


def _foreign(call: ApiCall, words: str, status: int) -> Fault:
    """The fault of a reply of somebody else: it does not tell that MRS has not had the request."""
    return Fault(words, call.operation, f"HTTP {status}", FaultKind.TRANSIENT, may_have_acted=call.mutates)


def _refused(response: Response, call: ApiCall, what: str) -> Fault:
    error, status = complaint(response), response.status_code
    kind, advice = classify(error.code, status)
    if kind is FaultKind.DENIED and not advice:
        advice = f"Allow {call.action} to this identity."
    unsure = kind is FaultKind.TRANSIENT and call.mutates and status != 503
    sent = response.request.headers
    words = without((sent.get(name, "") for name in _SECRET_HEADERS), f"{what}: {error}. {advice}")
    return Fault(
        words.rstrip(),
        call.operation,
        error.code or f"HTTP {status}",
        kind,
        may_have_acted=unsure,
        retry_after=retry_after(response.headers),
    )
