"""Airflow over its REST API: for processes elsewhere, with a service account."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID

import requests

from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.owner import OWNER_PREFIX, Label, Owner
from airflow_cancel_provider.reaper.airflows.base import (
    Airflow,
    owner_in,
    standing,
    standing_before,
    task_name,
)
from airflow_cancel_provider.reaper.decide import OwnerState, Standing

TIMEOUT = (5, 30)
NOT_LET_IN = (401, 403)
"""What is said to a token that has expired, and to one that an API server's new secret has made void."""
MISSING = "was not found"
"""Airflow's own words for what it does not have; a proxy, or a wrong address, says 404 of everything."""
PAGE = 100
ACTIVE = (
    "scheduled",
    "queued",
    "running",
    "restarting",
    "deferred",
    "up_for_retry",
    "up_for_reschedule",
)
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
REMEMBERED = 100_000
"""Ended tries that are not asked for again, while the same object is used."""


class Rest(Airflow):
    """Asks the stable REST API (https://airflow.apache.org/docs/apache-airflow/stable/stable-rest-api-ref.html).

    It has no way to ask for a task instance by its id. A label that holds the whole owner, or a try that has
    left its name in a Variable (setting ``owner_variables``), is asked for by name: one request, exact, and
    two for a try that was replaced. For other labels the active task instances are listed, then those that
    have ended since the try was made; a try that is in neither list was replaced or deleted: it is UNKNOWN.

    :param url: where the API server is, as ``https://airflow.example.com``.
    :param token: a bearer token; or
    :param login: user name, with ``password``, for ``POST /auth/token``.
    :param owner_variables: whether tries leave their names in Variables.
    :raises InvalidInput: there is no url.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        login: str | None = None,
        password: str | None = None,
        verify: bool | str = True,
        owner_variables: bool = False,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"{url!r} is not the address of an Airflow API server.")
        self.url = url.rstrip("/")
        self._login = {"username": login, "password": password} if login else None
        self._session = requests.Session()
        self._session.verify = verify
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._reads_variables = owner_variables
        self._ended: OrderedDict[UUID, OwnerState] = OrderedDict()

    def owners(self, labels: Collection[Label]) -> Mapping[UUID, OwnerState]:
        """Named owners one by one, the others by listing."""
        with self._understood():
            return self._owners(labels)

    def _owners(self, labels: Collection[Label]) -> dict[UUID, OwnerState]:
        named = {label.ti_id: label.owner for label in labels if label.owner}
        found = {ti_id: self._named(owner) for ti_id, owner in named.items()}
        wanted = {label.ti_id for label in labels} - set(found)
        found |= {ti_id: self._ended[ti_id] for ti_id in wanted if ti_id in self._ended}
        wanted -= set(found)
        if wanted:
            found |= self._listed(wanted, state=list(ACTIVE))
        if self._reads_variables:
            found |= self._by_variable([label for label in labels if label.ti_id in wanted - set(found)])
        if wanted := wanted - set(found):
            since = min(map(_made_at, wanted))
            ended = self._listed(wanted, state=list(ENDED), end_date_gte=since.isoformat())
            self._remember(ended)
            found |= ended
        return found

    def variable(self, key: str) -> str | None:
        """An Airflow Variable."""
        with self._understood():
            answer = self._call("GET", f"variables/{quote(key, safe='')}", missing_is_fine=True)
            return None if answer is None else str(answer["value"])

    def set_variable(self, key: str, value: str | None) -> None:
        """Write an Airflow Variable."""
        path = f"variables/{quote(key, safe='')}"
        if value is None:
            self._call("DELETE", path, missing_is_fine=True)
            return
        body = {"key": key, "value": value}
        if self._call("PATCH", path, missing_is_fine=True, json=body) is None:
            self._call("POST", "variables", json=body)

    def _by_variable(self, labels: Iterable[Label]) -> dict[UUID, OwnerState]:
        found = {}
        for label in labels:
            if owner := owner_in(self.variable(f"{OWNER_PREFIX}{label.ti_id}"), label):
                found[label.ti_id] = replace(self._named(owner), is_unfinished=True)
        return found

    def _named(self, owner: Owner) -> OwnerState:
        run = f"dags/{quote(owner.dag_id, safe='')}/dagRuns/{quote(owner.run_id, safe='')}"
        # With -1, too: a task that was mapped since is another one.
        path = f"{run}/taskInstances/{quote(owner.task_id, safe='')}/{owner.map_index}"
        seen = self._call("GET", path, missing_is_fine=True)
        name = task_name(owner.dag_id, owner.run_id, owner.task_id, owner.map_index, owner.try_number)
        if seen is None:
            return OwnerState(Standing.DELETED, task=name, is_unfinished=self._is_unfinished(owner))
        if UUID(seen["id"]) == owner.ti_id:
            return OwnerState(standing(seen["state"]), task=name, state=seen["state"] or "not started")
        tries = self._call("GET", f"{path}/tries", missing_is_fine=True) or {"task_instances": []}
        state = next(
            (each["state"] for each in tries["task_instances"] if each["try_number"] == owner.try_number),
            None,
        )
        if state is None:
            return OwnerState(Standing.UNKNOWN, task=name)
        return OwnerState(standing_before(state), standing(seen["state"]), name, state)

    def _is_unfinished(self, owner: Owner) -> bool:
        return self._reads_variables and self.variable(f"{OWNER_PREFIX}{owner.ti_id}") is not None

    def _listed(self, wanted: Collection[UUID], **filters: Any) -> dict[UUID, OwnerState]:
        found: dict[UUID, OwnerState] = {}
        for ti in self._pages(filters):
            ti_id = UUID(ti["id"])
            if ti_id in wanted:
                names = ti["dag_id"], ti["dag_run_id"], ti["task_id"], ti["map_index"], ti["try_number"]
                found[ti_id] = OwnerState(
                    standing(ti["state"]), task=task_name(*names), state=ti["state"] or "not started"
                )
                if len(found) == len(wanted):
                    break
        return found

    def _pages(self, filters: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            # Ordered by what does not change; one that slips from page to page meanwhile is UNKNOWN.
            body = {**filters, "page_limit": PAGE, "page_offset": offset, "order_by": "-id"}
            path = "dags/~/dagRuns/~/taskInstances/list"
            page = self._call("POST", path, json=body)["task_instances"]
            yield from page
            offset += len(page)
            if len(page) < PAGE:
                return

    def _remember(self, ended: Mapping[UUID, OwnerState]) -> None:
        for ti_id, state in ended.items():
            if state.standing is Standing.SUCCEEDED:
                self._ended[ti_id] = state
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def _call(self, method: str, path: str, *, missing_is_fine: bool = False, **options: Any) -> Any:
        url = f"{self.url}/api/v2/{path}"
        try:
            answer = self._session.request(method, url, timeout=TIMEOUT, **options)
            if answer.status_code in NOT_LET_IN and self._login:
                self._log_in()
                answer = self._session.request(method, url, timeout=TIMEOUT, **options)
            if missing_is_fine and _is_missing(answer):
                return None
            return _values(answer, method)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unavailable(self.url, f"{method} {path}", error) from error

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """What is no answer of Airflow's is no answer."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unavailable(self.url, "in words that are Airflow's", error) from error

    def _log_in(self) -> None:
        answer = self._session.post(f"{self.url}/auth/token", json=self._login, timeout=TIMEOUT)
        answer.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def _values(answer: requests.Response, method: str) -> dict[str, Any]:
    """What an answer says.

    :raises OSError: it is an error, or a redirect has made another request of this one.
    :raises TypeError, ValueError: it is no object in JSON.
    """
    answer.raise_for_status()
    if answer.request.method != method:
        raise requests.TooManyRedirects(response=answer.history[0])
    values = answer.json() if answer.content else {}
    if not isinstance(values, dict):
        raise TypeError(f"expected an object, got {type(values).__name__}")
    return values


def _is_missing(answer: requests.Response) -> bool:
    """Whether Airflow itself says that it does not have what was asked for."""
    if answer.status_code != requests.codes.not_found:
        return False
    try:
        return MISSING in str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return False


def _unavailable(url: str, question: str, error: Exception) -> AirflowUnavailable:
    response = getattr(error, "response", None)
    words = f"HTTP {response.status_code}" if response is not None else type(error).__name__
    if response is not None and response.status_code in NOT_LET_IN:
        words += " (check the account of its connection, and what it may read)"
    return AirflowUnavailable(f"Airflow at {url} did not answer {question}: {words}. Nothing is cancelled.")


def _made_at(ti_id: UUID) -> datetime:
    """When a task instance was made: its id says so (UUID version 7). A minute early, for clocks."""
    if ti_id.version != 7:
        return datetime.now(UTC) - timedelta(days=30)
    return datetime.fromtimestamp((ti_id.int >> 80) / 1000, UTC) - timedelta(minutes=1)
