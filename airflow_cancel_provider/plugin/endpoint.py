"""The application that Airflow mounts in its API server: the page, and the endpoint for reapers elsewhere.

A reaper asks for the states of the tries with some uuids:
``POST /remote-jobs/v1/owners`` with ``{"ti_ids": [...]}``, at most 1,000 of them. Airflow's own
login, tokens and permissions apply. It reads only.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.plugin.bodies import Refusal, read_body
from airflow_cancel_provider.plugin.permissions import may_read_all, readable

if TYPE_CHECKING:
    from fastapi import FastAPI

    from airflow_cancel_provider.reaper.backends.base import TryAnswer

URL_PREFIX = "/remote-jobs"
VERSION = 1
"""Of question and answer; part of the path."""
OWNERS_PATH = f"/v{VERSION}/owners"
MOST_IDS = 1000
MOST_BYTES = 100_000
"""Of a question: 1,000 uuids take 40,000."""

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
    _add_owners(api)
    add_page(api, URL_PREFIX)
    return api


def _add_owners(api: FastAPI) -> None:
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import Depends, Request
    from fastapi.responses import JSONResponse
    from starlette.concurrency import run_in_threadpool

    too_long = f"A question has at most {MOST_BYTES} bytes, with {MOST_IDS} uuids."

    async def owners(request: Any, user: Any) -> JSONResponse:
        try:
            ti_ids = _ids(await read_body(request, MOST_BYTES, too_long))
            found = await run_in_threadpool(_answers, user, ti_ids)
        except Refusal as refusal:
            return JSONResponse({"detail": refusal.detail}, refusal.status)
        except AirflowUnavailable:
            return JSONResponse({"detail": "Airflow's database did not answer."}, 503)
        return JSONResponse(
            {"version": VERSION, "owners": {str(ti_id): each.as_json() for ti_id, each in found.items()}}
        )

    # FastAPI reads these. As texts they would be resolved in this module, which imports neither.
    owners.__annotations__ = {"request": Request, "user": Annotated[Any, Depends(get_user)]}
    api.post(OWNERS_PATH, response_model=None)(owners)


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


def _answers(user: Any, ti_ids: Collection[UUID]) -> dict[UUID, TryAnswer]:
    """Answers on these tries, as far as this user may read them."""
    from airflow_cancel_provider.reaper.backends.base import Presence, TryAnswer
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow, tries

    with session_of_airflow() as session:
        found = tries(session, ti_ids)
        dag_ids = {each.dag_id for each in found.values()}
        shown = readable(user, dag_ids - {""})
        # A try without a row may be of any Dag.
        if "" in dag_ids and may_read_all(user, session):
            shown.add("")
    hidden = TryAnswer(Presence.NOT_PERMITTED)
    return {ti_id: each if each.dag_id in shown else hidden for ti_id, each in found.items()}
