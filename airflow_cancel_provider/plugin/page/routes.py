"""The addresses of the page, below the plugin's prefix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl

from airflow_cancel_provider import __version__
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.plugin.bodies import Refusal, read_body
from airflow_cancel_provider.plugin.page import cancel, states
from airflow_cancel_provider.plugin.page.cross_site import HEADERS, check_origin
from airflow_cancel_provider.plugin.page.filters import Filters
from airflow_cancel_provider.plugin.page.on_record import Named, read_named
from airflow_cancel_provider.plugin.page.views import render, view

if TYPE_CHECKING:
    from fastapi import FastAPI

PAGE, TAB, CANCEL, STATES, STATIC = "/", "/task-instance", "/cancel", "/states", "/static"
MOST_BYTES = 100_000
NO_ANSWER = "Airflow's database did not answer. Try again."
_STATIC_FILES = Path(__file__).parent / "static"


def add_page(api: FastAPI, prefix: str) -> None:
    """Add the page to an application that is mounted at a prefix."""
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import Depends, HTTPException, Request
    from fastapi.staticfiles import StaticFiles

    def page(request: Any, user: Any) -> Any:
        return _page(request, user, prefix, is_tab=False)

    def tab(request: Any, user: Any) -> Any:
        return _page(request, user, prefix, is_tab=True)

    async def post_cancel(request: Any, user: Any) -> Any:
        return await _post(request, user, cancel.MOST_JOBS, _cancelled)

    async def post_states(request: Any, user: Any) -> Any:
        return await _post(request, user, states.MOST_JOBS, _states)

    async def refused(request: Any, error: Any) -> Any:
        return _not_let_in(request, error, prefix)

    for add, path, handler in (
        (api.get, PAGE, page),
        (api.get, TAB, tab),
        (api.post, CANCEL, post_cancel),
        (api.post, STATES, post_states),
    ):
        # FastAPI reads these; as texts they would be looked for in this module, which imports neither.
        handler.__annotations__ = {"request": Request, "user": Annotated[Any, Depends(get_user)]}
        add(path, response_model=None)(handler)
    api.exception_handler(HTTPException)(refused)
    api.mount(STATIC, StaticFiles(directory=_STATIC_FILES))


def _page(request: Any, user: Any, prefix: str, *, is_tab: bool) -> Any:
    """The page; FastAPI calls it in a thread."""
    base = _base(request, prefix)
    filters = Filters.of(_query_of_tab(request) if is_tab else request.query_params)
    try:
        shown = view(user, filters, base, is_tab=is_tab)
    except AirflowUnavailable:
        return _message(base + prefix, 503, "Airflow's database did not answer", "Load the page again.")
    urls = {"cancel_url": base + prefix + CANCEL, "states_url": base + prefix + STATES}
    return _html(base + prefix, "page.html", 200, view=shown, **urls)


def _query_of_tab(request: Any) -> Mapping[str, str]:
    """Airflow 3.1 puts a run's id into the tab's address as it is: a plus in it is no space."""
    return dict(parse_qsl(request.url.query.replace("+", "%2B")))


async def _post(
    request: Any, user: Any, most: int, do: Callable[[Any, Sequence[Named]], tuple[dict[str, Any], int]]
) -> Any:
    from starlette.concurrency import run_in_threadpool

    try:
        check_origin(request.headers, user)
        named = read_named(await read_body(request, MOST_BYTES, "Too many jobs at once."), most)
        answer, status = await run_in_threadpool(do, user, named)
    except Refusal as refusal:
        answer, status = {"detail": refusal.detail}, refusal.status
    except AirflowUnavailable:
        answer, status = {"detail": NO_ANSWER}, 503
    return _json(answer, status)


def _cancelled(user: Any, named: Sequence[Named]) -> tuple[dict[str, Any], int]:
    cancel.cancel(user, named)
    words = "The cancel goes on in the background. POST /states tells what becomes of each job."
    return {"detail": words, "jobs": dict.fromkeys((each.job for each in named), "accepted")}, 202


def _states(user: Any, named: Sequence[Named]) -> tuple[dict[str, Any], int]:
    return {"states": states.states(user, named)}, 200


def _not_let_in(request: Any, error: Any, prefix: str) -> Any:
    """Say it so that a person in a browser can do something about it; programs get JSON."""
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return _json({"detail": error.detail}, error.status_code, error.headers)
    base = _base(request, prefix)
    if error.status_code == 401:
        url = f"{base}/api/v2/auth/login"
        text = "The page shows remote jobs to those who are logged in to Airflow."
        return _message(base + prefix, 401, "You are not logged in", text, url, "Log in")
    return _message(base + prefix, error.status_code, "This page can't be shown", str(error.detail))


def _base(request: Any, prefix: str) -> str:
    """The path at which Airflow is served, without a slash at its end."""
    return str(request.scope.get("root_path", "")).removesuffix(prefix).rstrip("/")


def _message(here: str, status: int, title: str, text: str, url: str = "", link: str = "") -> Any:
    return _html(here, "message.html", status, title=title, text=text, url=url, link=link)


def _html(here: str, template: str, status: int, **values: Any) -> Any:
    from fastapi.responses import HTMLResponse

    html = render(template, static=here + STATIC, version=__version__, **values)
    return HTMLResponse(html, status, HEADERS)


def _json(values: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Any:
    from fastapi.responses import JSONResponse

    return JSONResponse(values, status, HEADERS | (headers or {}))
