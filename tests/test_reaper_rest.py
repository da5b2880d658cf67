"""What an Airflow's REST API says of tries, and what is no answer of Airflow's: over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import UUID

import pytest

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.owner import OWNER_PREFIX, Label, Owner
from airflow_cancel_provider.reaper.airflows.rest import Rest
from airflow_cancel_provider.reaper.decide import OwnerState, Standing
from tests.reaper_fixtures import DEPLOYMENT, Ground, fates, ground
from tests.task_fixtures import connections

__all__ = ["connections", "ground"]

S = Standing
TI, LATER = UUID(int=7 << 76 | 1), UUID(int=7 << 76 | 2)
OWNER = Owner(DEPLOYMENT, "dag", "run", "task", -1, 1, TI)
NAMED = OWNER.label
PATH = "/api/v2/dags/dag/dagRuns/run/taskInstances/task/-1"
GONE = {"detail": "The Mapped Task Instance with dag_id: `dag` was not found"}
Answer = tuple[int, Any]


@dataclass
class Api:
    """An API server that a test has every answer of in its hand; what it has no answer for is not there.

    :param answers: status and body by method and path; a function makes them of the bearer token.
    """

    url: str = ""
    answers: dict[str, Answer | Callable[[str], Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, token: str) -> Answer:
        self.asked.append(f"{method} {path}")
        known = self.answers.get(f"{method} {path}", self.answers.get("*", (404, GONE)))
        return known(token) if callable(known) else known

    def task(self, **values: Any) -> None:
        """What is said of the task."""
        self.answers[f"GET {PATH}"] = (200, {"id": str(TI), "state": "running", **values})

    def tries(self, **states: str) -> None:
        """What is said of the tries before: state by number."""
        tries = [{"try_number": int(number[1:]), "state": state} for number, state in states.items()]
        self.answers[f"GET {PATH}/tries"] = (200, {"task_instances": tries})


@pytest.fixture
def api() -> Iterator[Api]:
    here = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            status, body = here.answer(self.command, self.path, token)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", str(body))
            text = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = do_any  # noqa: N815  as the server calls them

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    yield here
    server.shutdown()
    server.server_close()


def said(api: Api, label: Label = NAMED, **options: Any) -> OwnerState:
    return Rest(api.url, **options).owners([label])[label.ti_id]


class TestNamed:
    def test_the_try_that_is_still_the_last(self, api: Api) -> None:
        for state, standing in (("running", S.ALIVE), ("success", S.SUCCEEDED), ("removed", S.REMOVED)):
            api.task(state=state)
            assert said(api) == OwnerState(standing, task="dag / run / task try 1", state=state)

    @pytest.mark.parametrize(
        "before, own", [("failed", S.FAILED), ("success", S.SUCCEEDED), ("removed", S.REMOVED)]
    )
    def test_one_that_was_replaced(self, api: Api, before: str, own: Standing) -> None:
        api.task(id=str(LATER))
        api.tries(n1=before, n2="running")
        assert (said(api).standing, said(api).later) == (own, S.ALIVE)
        api.tries(n2="running")
        assert said(api).standing is S.UNKNOWN, "its history was cleaned"

    def test_one_without_a_trace(self, api: Api) -> None:
        assert said(api) == OwnerState(S.DELETED, task="dag / run / task try 1")
        key = f"{OWNER_PREFIX}{TI}"
        api.answers[f"GET /api/v2/variables/{key}"] = (200, {"key": key, "value": str(OWNER)})
        assert said(api, owner_variables=True).is_unfinished


class TestNoAnswer:
    @pytest.mark.parametrize(
        "answer",
        [
            (404, "default backend - 404"),
            (404, {"detail": "Not Found"}),
            (404, {"error": "no such host"}),
            (404, [1]),
            (200, "<html>log in</html>"),
            (200, "null"),
            (200, {"message": "log in"}),
            (200, []),
            (200, {"id": "none", "state": "failed"}),
            (403, {"detail": "Forbidden"}),
            (429, ""),
            (500, "oops"),
            (502, "<html>"),
        ],
        ids=str,
    )
    def test_what_stands_before_airflow(self, api: Api, answer: Answer) -> None:
        """A proxy, a login page or a wrong address says things of its own; none means "deleted"."""
        api.answers["*"] = answer
        with pytest.raises(AirflowUnavailable, match="Nothing is cancelled"):
            said(api)
        with pytest.raises(AirflowUnavailable):
            Rest(api.url).variable("any")
        with pytest.raises(AirflowUnavailable):
            Rest(api.url).owners([Label(DEPLOYMENT, TI)])

    def test_who_is_not_let_in_is_told_what_to_do(self, api: Api) -> None:
        api.answers["*"] = (403, {"detail": "Forbidden"})
        with pytest.raises(AirflowUnavailable, match=r"HTTP 403 \(check the account"):
            said(api)

    def test_a_redirect_that_makes_another_request_of_a_write(self, api: Api) -> None:
        """Of a PATCH a redirect makes a GET, which is answered, and nothing is written."""
        api.answers["PATCH /api/v2/variables/any"] = (302, f"{api.url}/api/v2/variables/any")
        api.answers["GET /api/v2/variables/any"] = (200, {"key": "any", "value": "old"})
        with pytest.raises(AirflowUnavailable, match="HTTP 302"):
            Rest(api.url).set_variable("any", "new")


class TestLogin:
    @pytest.mark.parametrize(
        "refusal", [(401, {"detail": "Token Expired"}), (403, {"detail": "Invalid JWT token"})]
    )
    def test_a_token_that_is_no_good_any_more(self, api: Api, refusal: Answer) -> None:
        """A new secret of the API server's makes 403 of tokens, and expiry 401: a login mends both."""
        good, logins = "first", iter(["first", "second"])
        api.answers["POST /auth/token"] = lambda _: (201, {"access_token": next(logins)})
        running = (200, {"id": str(TI), "state": "running"})
        api.answers[f"GET {PATH}"] = lambda token: running if token == good else refusal
        rest = Rest(api.url, login="reaper", password="secret")
        assert rest.owners([NAMED])[TI].standing is S.ALIVE
        good = "second"
        assert rest.owners([NAMED])[TI].standing is S.ALIVE

    @pytest.mark.parametrize(
        "answer", [(201, {"token": "x"}), (201, "<html>"), (401, {"detail": "wrong"}), (201, [])]
    )
    def test_a_login_that_fails(self, api: Api, answer: Answer) -> None:
        api.answers = {"POST /auth/token": answer, "*": (401, {"detail": "Not authenticated"})}
        with pytest.raises(AirflowUnavailable) as refusal:
            said(api, login="reaper", password="hunter2")
        assert "hunter2" not in str(refusal.value)


class TestForged:
    """Anybody who may submit a job can write any label on it."""

    def sweep(self, ground: Ground, api: Api, *labels: Label) -> dict[str, Any]:
        jobs = [ground._submit("batch", "running", label, None) for label in labels]
        reaper = ground.reaper()
        reaper.airflow = Rest(api.url)
        reaper.letters._airflow = reaper.airflow
        report = reaper.sweep()
        assert report.troubles == []
        return {"fates": fates(report), "jobs": jobs}

    def test_names_that_another_gives_to_a_live_try(self, ground: Ground, api: Api) -> None:
        """One job of a try can't have another's owner looked for where nobody is."""
        api.task()
        api.answers["POST /api/v2/dags/~/dagRuns/~/taskInstances/list"] = (200, {"task_instances": []})
        victim = replace(NAMED, waits=True)
        forged = replace(victim, owner=replace(OWNER, dag_id="nowhere"))
        assert self.sweep(ground, api, forged, victim, forged)["fates"] == {}
        assert ground.cancels() == 0

    def test_a_path_that_leads_elsewhere(self, ground: Ground, api: Api) -> None:
        """It must not keep a sweep from the orphans."""
        api.answers["GET /api/v2/dags/dag/dagRuns/run/"] = (200, {"dag_run_id": "run"})
        api.answers["GET /api/v2/dags/dag/dagRuns/run/-1"] = (200, {"dag_run_id": "run"})
        api.answers["POST /api/v2/dags/~/dagRuns/~/taskInstances/list"] = (200, {"task_instances": []})
        api.task(state="failed")
        elsewhere = replace(OWNER, task_id="..", ti_id=LATER)
        swept = self.sweep(ground, api, elsewhere.label, NAMED)
        assert swept["fates"] == {swept["jobs"][1]: "ended"}
