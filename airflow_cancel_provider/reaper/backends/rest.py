"""The API server as a source of answers, with a service account, for processes without the database.

Tries are read from the endpoint that this package adds to the API server, Variables from the stable REST API
(https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import UUID

import requests

from airflow_cancel_provider.ends_on_record import Ends
from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.reaper.backends.base import RELEASE_PREFIX, Airflow, OwnerState
from airflow_cancel_provider.services.base import chunks
from airflow_cancel_provider.services.tls import tls_trouble

OWNERS = "remote-jobs/v1/owners"
"""Path of the endpoint, with the version of its answers."""
ENDS = "remote-jobs/v1/ends"
"""Path of the endpoint that puts on record how jobs have ended."""
VERSION = 1
IDS_PER_CALL = 1000
TIMEOUT = (5, 60)
NOT_LET_IN = (401, 403)
"""Statuses for a token that has expired, or that is invalid since the API server has a new secret."""
NO_SUCH_PATH = (404, 405)
"""Statuses of an API server without our endpoint: it serves its pages at every path, for GET only."""
MISSING = "was not found"
"""Airflow's own words for what it does not have; a proxy, or a wrong address, sends 404 for everything."""
PAGE = 100


class Rest(Airflow):
    """Reads from an API server on which this package is installed.

    :param url: where the API server is, as ``https://airflow.example.com``.
    :param deployment: this Airflow's name in labels. A server with another one does not know its tries, and
        would answer that they were deleted.
    :param token: a bearer token; or
    :param login: user name, with ``password``, for ``POST /auth/token``.
    :param verify: TLS verification: True, False, or the path of a CA bundle.
    :raises InvalidInput: there is no url, or it holds a login.
    """

    def __init__(
        self,
        url: str,
        *,
        deployment: str,
        token: str | None = None,
        login: str | None = None,
        password: str | None = None,
        verify: bool | str = True,
    ) -> None:
        if {"@", "?", "#"} & set(url):  # first: errors repeat the address
            raise InvalidInput(
                "The address of the Airflow API server holds a user, password or query: what it needs to "
                "know belongs in the connection's login and password."
            )
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"{url!r} is not the address of an Airflow API server.")
        self.url = url.rstrip("/")
        self._deployment = deployment
        self._login = {"username": login, "password": password} if login else None
        self._token = token
        self._session = requests.Session()
        # Given with each request: REQUESTS_CA_BUNDLE takes precedence over the session's.
        self._options: dict[str, Any] = {"timeout": TIMEOUT, "allow_redirects": False, "verify": verify}
        # Not a header of the session: a login in ~/.netrc would replace it.
        self._session.auth = self._with_token

    def owners(self, ti_ids: Collection[UUID]) -> Mapping[UUID, OwnerState]:
        """One request for each 1,000 tries."""
        found: dict[UUID, OwnerState] = {}
        for some in chunks(list(dict.fromkeys(ti_ids)), IDS_PER_CALL):
            with self._understood(OWNERS):
                body = {"ti_ids": [str(ti_id) for ti_id in some]}
                values = _values(self._send("POST", OWNERS, json=body))
                if values["version"] != VERSION:
                    raise ValueError(f"version {values['version']!r}, expected {VERSION}")
                self._check_name(values["deployment"])
                # Every one by its own id: one that is left out makes the answer invalid.
                found |= {ti_id: OwnerState.from_json(values["owners"][str(ti_id)]) for ti_id in some}
        return found

    def releases(self, most: int) -> Mapping[str, str | None]:
        """One request for each 100, and one more for the end."""
        found: dict[str, str | None] = {}
        order = {"variable_key_pattern": f"{RELEASE_PREFIX}%", "order_by": "key"}
        with self._understood("api/v2/variables"):
            offset = 0
            while offset < most:
                params: dict[str, Any] = {**order, "limit": min(PAGE, most - offset), "offset": offset}
                answer = self._send("GET", "api/v2/variables", params=params)
                # It may be shorter than was asked for, and others follow: [api] maximum_page_limit.
                page = _values(answer)["variables"]
                found |= {each["key"]: _text(each["value"]) for each in page}
                offset += len(page)
                if not page:
                    break
        return {key: value for key, value in found.items() if key.startswith(RELEASE_PREFIX)}

    def variable(self, key: str) -> str | None:
        """An Airflow Variable."""
        path = _path_of(key)
        with self._understood(path):
            answer = self._send("GET", path)
            if _is_missing(answer):
                return None
            value = _text(_values(answer)["value"])
            if value is None:
                raise ValueError(f"Variable {key} has no value")
            return value

    def write_ends(self, ends: Mapping[UUID, Ends]) -> None:
        """One request for each 1,000 tries. Dags whose runs the account may not edit are left out."""
        for some in chunks(list(ends), IDS_PER_CALL):
            values = {
                str(ti_id): {str(job): end.as_json() for job, end in ends[ti_id].items()} for ti_id in some
            }
            with self._understood(ENDS):
                _check(self._send("POST", ENDS, json={"ends": values}), requests.codes.ok)

    def set_variable(self, key: str, value: str | None) -> None:
        """Write an Airflow Variable."""
        path = _path_of(key)
        with self._understood(path):
            if value is None:
                answer = self._send("DELETE", path)
                if not _is_missing(answer):
                    _check(answer, requests.codes.no_content)
                return
            body = {"key": key, "value": value}
            answer = self._send("PATCH", path, json=body)
            if _is_missing(answer):
                answer = self._send("POST", "api/v2/variables", json=body)
            # A login page has status 200, too.
            if _values(answer)["key"] != key:
                raise ValueError("another Variable was written")

    def _check_name(self, deployment: object) -> None:
        """:raises AirflowUnavailable: it is another Airflow that answers."""
        if deployment != self._deployment:
            raise AirflowUnavailable(
                f"The Airflow at {self.url} is not the one of this reaper ([cancel_provider] deployment): "
                "its connection leads to another Airflow, or the setting differs there."
            )

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request, repeated after a new login where the token is not accepted.

        A redirect is not followed: it turns POST into GET, and may lead to another Airflow.
        """
        url = f"{self.url}/{path}"
        options |= self._options
        answer = self._session.request(method, url, **options)
        if answer.status_code in NOT_LET_IN and self._login:
            self._log_in()
            answer = self._session.request(method, url, **options)
        return answer

    def _log_in(self) -> None:
        self._token = None
        answer = self._session.post(f"{self.url}/auth/token", json=self._login, **self._options)
        self._token = str(_values(answer)["access_token"])

    def _with_token(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    @contextmanager
    def _understood(self, path: str) -> Iterator[None]:
        """Raise AirflowUnavailable for everything that is not a valid answer of Airflow."""
        try:
            yield
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            words = _words(error, path)
            raise AirflowUnavailable(f"Airflow at {self.url} did not answer {path}: {words}.") from error


def _path_of(key: str) -> str:
    return f"api/v2/variables/{quote(key, safe='')}"


def _values(answer: requests.Response) -> dict[str, Any]:
    """The JSON object in an answer.

    :raises OSError, TypeError, ValueError: it is an error, a redirect, or not a JSON object.
    """
    _check(answer, requests.codes.ok, requests.codes.created)
    values = answer.json()
    if not isinstance(values, dict):
        raise TypeError(f"expected an object, got {type(values).__name__}")
    return values


def _check(answer: requests.Response, *statuses: int) -> None:
    if answer.status_code not in statuses:
        raise requests.HTTPError(response=answer)


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


def _is_missing(answer: requests.Response) -> bool:
    """Whether Airflow itself answers that it does not have this."""
    if answer.status_code != requests.codes.not_found:
        return False
    try:
        return MISSING in str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return False


def _words(error: Exception, path: str) -> str:
    response = getattr(error, "response", None)
    if response is None:
        name = type(error).__name__
        # The words of a library's error may hold secrets of the answer: only its type is shown.
        is_network = isinstance(error, OSError) and not isinstance(error, ValueError)
        if is_network:
            return tls_trouble(error) or name
        return f"the reply is not the answer that was expected ({name})"
    status = f"HTTP {response.status_code}"
    if response.status_code in NOT_LET_IN:
        return f"{status} (check the account of its connection, and what it may read)"
    if response.status_code in NO_SUCH_PATH and path == OWNERS:
        return (
            f"{status} (its API server has no such endpoint: install airflow-cancel-provider there, in this "
            "version, and check the address in the connection)"
        )
    if response.is_redirect:
        return f"{status}, a redirect (put the address that it leads to into the connection)"
    return status
