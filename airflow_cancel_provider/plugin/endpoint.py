"""The application that Airflow mounts in its API server: the page, and the endpoint for reapers elsewhere.

A reaper asks for the states of the tries with some uuids:
``POST /remote-jobs/v1/owners`` with ``{"ti_ids": [...]}``, at most 1,000 of them. Airflow's own
login, tokens and permissions apply. It reads only.

After its cancels it may say how jobs of some tries have ended: ``POST /remote-jobs/v1/ends`` with
``{"ends": {ti_id: {job: end}}}``. That is put on record for the Dags whose runs its account may edit.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from airflow_cancel_provider.ends_on_record import Ends, ends_from_json
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.plugin.bodies import Refusal, read_body
from airflow_cancel_provider.plugin.ends_of_tries import keep_ends_of_try
from airflow_cancel_provider.plugin.permissions import may_read_all, readable

if TYPE_CHECKING:
    from fastapi import FastAPI

    from airflow_cancel_provider.reaper.backends.base import OwnerState

URL_PREFIX = "/remote-jobs"
VERSION = 1
"""Of question and answer; part of the path."""
OWNERS_PATH = f"/v{VERSION}/owners"
ENDS_PATH = f"/v{VERSION}/ends"
TRY_ENDS_PATH = f"/v{VERSION}/try-ends"
MOST_IDS = 1000
MOST_BYTES = 100_000
"""Of a question: 1,000 uuids take 40,000."""
MOST_BYTES_OF_ENDS = 1_000_000

Message = Mapping[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """The ASGI application. FastAPI is imported at the first request: every process of Airflow has this."""
    await make_app()(scope, receive, send)  # type: ignore[arg-type]


@cache
def make_app() -> FastAPI:
    """The application, made once."""
    from fastapi import FastAPI

    from airflow_cancel_provider.plugin.page.routes import add_page

    api = FastAPI(title="Remote jobs", docs_url=None, redoc_url=None, openapi_url=None)
    _add(api, OWNERS_PATH, MOST_BYTES, _owners)
    _add(api, ENDS_PATH, MOST_BYTES_OF_ENDS, _keep_ends)
    _add(api, TRY_ENDS_PATH, MOST_BYTES_OF_ENDS, keep_ends_of_try, is_open=True)
    add_page(api, URL_PREFIX)
    return api


def _add(
    api: FastAPI,
    path: str,
    most: int,
    answer: Callable[[Any, bytes], dict[str, Any]],
    *,
    is_open: bool = False,
) -> None:
    """Add an address that programs post to.

    :param most: bytes of a body.
    :param answer: makes the answer for a user and a body; called in a thread.
    :param is_open: whether nobody has to be logged in; the user is None then.
    """
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import Depends, Request
    from fastapi.responses import JSONResponse
    from starlette.concurrency import run_in_threadpool

    too_long = f"A body has at most {most} bytes, and names at most {MOST_IDS} tries."

    async def post(request: Any, user: Any) -> JSONResponse:
        try:
            _check_site(request.headers)
            body = await read_body(request, most, too_long)
            values = await run_in_threadpool(answer, user, body)
        except Refusal as refusal:
            return JSONResponse({"detail": refusal.detail}, refusal.status)
        except AirflowUnavailable:
            return JSONResponse({"detail": "Airflow's database did not answer."}, 503)
        return JSONResponse({"version": VERSION, **values})

    # FastAPI reads these. As texts they would be resolved in this module, which imports neither.
    post.__annotations__ = {
        "request": Request,
        "user": Annotated[Any, Depends(_nobody if is_open else get_user)],
    }
    api.post(path, response_model=None)(post)


def _nobody() -> None:
    """The user of an address that asks for no login."""


def _check_site(headers: Mapping[str, str]) -> None:
    """:raises Refusal: another web site makes a user's browser send this."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Refusal(403, "This address is for programs, not for other web sites.")


def _owners(user: Any, body: bytes) -> dict[str, Any]:
    from airflow_cancel_provider.settings import Settings

    owners = {str(ti_id): each.as_json() for ti_id, each in _answers(user, _ids(body)).items()}
    return {"deployment": Settings.read().deployment, "owners": owners}


def _keep_ends(user: Any, body: bytes) -> dict[str, Any]:
    """Put on record what this user may: of Dags whose runs they may edit."""
    from airflow_cancel_provider.plugin.permissions import editable
    from airflow_cancel_provider.reaper.backends.database import (
        session_of_airflow,
        tasks_of,
        write_ends_of_tries,
    )

    ends = _ends(body)
    with session_of_airflow() as session:
        tasks = tasks_of(session, ends)
        allowed = editable(user, {task.dag_id for task in tasks.values()})
        permitted = {ti_id: ends[ti_id] for ti_id, task in tasks.items() if task.dag_id in allowed}
        write_ends_of_tries(session, permitted)
    return {"written": sorted(map(str, permitted))}


def _ends(body: bytes) -> dict[UUID, Ends]:
    """Ends of jobs, by the try that has started them."""
    try:
        values = json.loads(body)["ends"]
        found: dict[UUID, Ends] = {UUID(ti_id): ends_from_json(ends) for ti_id, ends in values.items()}
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise Refusal(422, 'Expected {"ends": {ti_id: {job: {"state", "by", "reason", "at"}}}}.') from None
    if len(found) > MOST_IDS:
        raise Refusal(413, f"Expected ends of at most {MOST_IDS} tries; got {len(found)}.")
    return found


def _ids(body: bytes) -> list[UUID]:
    """Uuids that are asked for."""
    try:
        texts = json.loads(body)["ti_ids"]
        # Not any text or object, which has letters or keys.
        ti_ids = [UUID(text) for text in texts] if isinstance(texts, list) else None
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        ti_ids = None
    if ti_ids is None:
        raise Refusal(422, 'Expected {"ti_ids": [...]} with task-instance ids, which are uuids.')
    if len(ti_ids) > MOST_IDS:
        raise Refusal(413, f"Expected at most {MOST_IDS} ti_ids; got {len(ti_ids)}.")
    return ti_ids


def _answers(user: Any, ti_ids: Collection[UUID]) -> dict[UUID, OwnerState]:
    """Answers on these tries, as far as this user may read them."""
    from airflow_cancel_provider.reaper.backends.base import OwnerState, TryPhase
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow, tries

    with session_of_airflow() as session:
        found = tries(session, ti_ids)
        dag_ids = {each.dag_id for each in found.values()}
        shown = readable(user, dag_ids - {""})
        # A try without a row may be of any Dag.
        if "" in dag_ids and may_read_all(user, session):
            shown.add("")
    hidden = OwnerState(TryPhase.UNKNOWN, state="not permitted")
    return {ti_id: each if each.dag_id in shown else hidden for ti_id, each in found.items()}
