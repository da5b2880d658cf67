"""Tells a reaper elsewhere, as part of the API server, how the tries with some uuids stand.

``POST /remote-jobs/v1/owners`` with ``{"ti_ids": [...]}``, at most 1,000 of them. Airflow's own login, tokens
and permissions apply. It reads only.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from airflow_cancel_provider.exceptions import AirflowUnavailable, CancelProviderError

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


@dataclass
class _Refusal(CancelProviderError):
    """A question that is none, and the HTTP status that says so."""

    status: int
    detail: str


@cache
def make_app() -> FastAPI:
    """The application, made once."""
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import Depends, FastAPI, Request
    from fastapi.responses import JSONResponse
    from starlette.concurrency import run_in_threadpool

    api = FastAPI(title="Remote jobs", docs_url=None, redoc_url=None, openapi_url=None)

    async def owners(request: Any, user: Any) -> JSONResponse:
        try:
            ti_ids = _ids(await _body(request))
            found = await run_in_threadpool(_answers, user, ti_ids)
        except _Refusal as refusal:
            return JSONResponse({"detail": refusal.detail}, refusal.status)
        except AirflowUnavailable:
            return JSONResponse({"detail": "Airflow's database did not answer."}, 503)
        return JSONResponse(
            {"version": VERSION, "owners": {str(ti_id): each.as_json() for ti_id, each in found.items()}}
        )

    # FastAPI reads these; as texts they would be looked for in this module, which imports neither.
    owners.__annotations__ = {"request": Request, "user": Annotated[Any, Depends(get_user)]}
    api.post(OWNERS_PATH, response_model=None)(owners)
    return api


async def _body(request: Any) -> bytes:
    """What was sent, read no further than a question may be long."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise _Refusal(413, f"A question has at most {MOST_BYTES} bytes, with {MOST_IDS} uuids.")
    return body


def _ids(body: bytes) -> list[UUID]:
    """Uuids that are asked for."""
    try:
        texts = json.loads(body)["ti_ids"]
        # Not any text or object, which has letters or keys.
        ti_ids = [UUID(text) for text in texts] if isinstance(texts, list) else None
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        ti_ids = None
    if ti_ids is None:
        raise _Refusal(422, 'Expected {"ti_ids": [...]} with task-instance ids, which are uuids.')
    if len(ti_ids) > MOST_IDS:
        raise _Refusal(413, f"Expected at most {MOST_IDS} ti_ids; got {len(ti_ids)}.")
    return ti_ids


def _answers(user: Any, ti_ids: Collection[UUID]) -> dict[UUID, TryAnswer]:
    """What this user may know of these tries."""
    from airflow_cancel_provider.reaper.backends.base import Presence, TryAnswer
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow, tries

    with session_of_airflow() as session:
        found = tries(session, ti_ids)
        readable = {dag_id: _may_read(user, dag_id) for dag_id in {each.dag_id for each in found.values()}}
        # Of a try without a row, nobody can say whose it was.
        if "" in readable:
            readable[""] = _may_read_all(user, session)
    hidden = TryAnswer(Presence.NOT_PERMITTED)
    return {ti_id: each if readable[each.dag_id] else hidden for ti_id, each in found.items()}


def _may_read(user: Any, dag_id: str) -> bool:
    """Whether a user may read the task instances of a Dag; of an empty id: of Dags at all."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails

    details = DagDetails(id=dag_id, **_team(dag_id)) if dag_id else None
    manager = get_auth_manager()
    return all(
        manager.is_authorized_dag(method="GET", access_entity=entity, details=details, user=user)
        for entity in (None, DagAccessEntity.TASK_INSTANCE)
    )


def _team(dag_id: str) -> dict[str, str | None]:
    """The team that a Dag belongs to, as a keyword argument; before Airflow 3.2 permissions know no teams."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagDetails
    from airflow.models.dag import DagModel

    if "team_name" not in DagDetails.__dataclass_fields__:
        return {}
    return {"team_name": DagModel.get_team_name(dag_id)}


def _may_read_all(user: Any, session: Any) -> bool:
    """Whether a user may read Dags at all, and each of those that Airflow has."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from sqlalchemy import select

    if not _may_read(user, ""):
        return False
    # The auth manager, too, leaves out the Dags of a bundle that is no more.
    bundles = select(DagBundleModel.name)
    known = set(session.scalars(select(DagModel.dag_id).where(DagModel.bundle_name.in_(bundles))))
    return known <= set(get_auth_manager().get_authorized_dag_ids(user=user, method="GET"))
