"""What an Airflow's REST API says of tries, and what is no answer of Airflow's: over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.reaper.backends.base import OwnerState, TryPhase
from airflow_cancel_provider.reaper.backends.rest import Rest
from airflow_cancel_provider.reaper.places import Place
from tests.reaper_fixtures import DEPLOYMENT, FOREIGN, Ground, fates, ground
from tests.task_fixtures import connections

__all__ = ["connections", "ground"]

S = TryPhase
TI, LATER = UUID("01a1fc30-c79c-760c-ae33-eb19a73c7607"), UUID("01a1fc30-c79c-760c-ae33-eb19a73c7608")
OWNERS = "POST /remote-jobs/v1/owners"
VARIABLE = "/api/v2/variables/any"
BATCH = Place("batch", "aws_default")
GONE = {"detail": "The Variable with key: `any` was not found"}
Answer = tuple[int, Any]


def answered(owners: Any, **more: Any) -> Answer:
    """What the endpoint answers."""
    return 200, {"version": 1, "deployment": DEPLOYMENT, "owners": owners, **more}


def told(phase: str, **more: Any) -> dict[str, Any]:
    """What is told of a try."""
    return {"phase": phase, "later": None, "task": "", "state": "", "release": None, "ended": None, **more}


@dataclass
class Api:
    """An API server that a test has every answer of in its hand; what it has no answer for is not there.

    :param answers: status and body by method and path; a function makes them of the bearer token.
    """

    url: str = ""
    answers: dict[str, Answer | Callable[[str], Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def reply(self, method: str, path: str, token: str) -> Answer:
        self.asked.append(f"{method} {path}")
        known = self.answers.get(f"{method} {path}", self.answers.get("*", (404, GONE)))
        return known(token) if callable(known) else known

    def owners(self, **values: Any) -> None:
        """What is said of tries."""
        self.answers[OWNERS] = answered(**{"owners": {str(TI): told("DELETED")}, **values})


@pytest.fixture
def api() -> Iterator[Api]:
    here = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_any(self) -> None:
            here.bodies.append(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            status, body = here.reply(self.command, self.path, token)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", str(body))
            text = body if isinstance(body, bytes) else str(body).encode()
            if not isinstance(body, (bytes, str)):
                text = json.dumps(body).encode()
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_DELETE = do_any  # noqa: N815  as the server calls them

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield here
    server.shutdown()
    server.server_close()


def said(api: Api, **options: Any) -> OwnerState:
    return Rest(api.url, deployment=DEPLOYMENT, **options).owners([TI])[TI]


HTML = "<html>log in</html>"
NO_ANSWERS: list[Answer] = [
    (404, "default backend - 404"),
    (404, {"detail": "Not Found"}),
    (405, {"detail": "Method Not Allowed"}),
    (404, [1]),
    (200, HTML),
    (200, "null"),
    (200, ""),
    (200, b"\xff"),
    (200, "[" * 100_000),
    (200, {"message": "log in"}),
    (200, []),
    (204, ""),
    (302, "/login"),
    (307, "/remote-jobs/v1/owners"),
    (308, "/api/v2/variables/any"),
    (403, {"detail": "Forbidden"}),
    (429, ""),
    (500, "oops"),
    (502, HTML),
]


class TestNoAnswer:
    @pytest.mark.parametrize("answer", NO_ANSWERS, ids=lambda answer: f"{answer[0]} {str(answer[1])[:20]}")
    def test_what_stands_before_airflow(self, ground: Ground, api: Api, answer: Answer) -> None:
        """A proxy, a login page or a wrong address says things of its own; none means "deleted"."""
        api.answers["*"] = answer
        with pytest.raises(AirflowUnavailable, match="did not answer"):
            said(api)
        with pytest.raises(AirflowUnavailable):
            Rest(api.url, deployment=DEPLOYMENT).variable("any")
        with pytest.raises(AirflowUnavailable):
            Rest(api.url, deployment=DEPLOYMENT).releases(100)
        for value in ("new", None):
            if answer != (204, ""):  # which is what Airflow says of a Variable that it has deleted
                with pytest.raises(AirflowUnavailable):
                    Rest(api.url, deployment=DEPLOYMENT).set_variable("any", value)
        job = ground.start("batch", None)
        reaper = ground.reaper(places=[BATCH])
        reaper.airflow = Rest(api.url, deployment=DEPLOYMENT)
        report = reaper.sweep()
        assert any("The jobs that it was asked about are kept" in each for each in report.troubles)
        assert ground.lives(job)

    @pytest.mark.parametrize(
        "values",
        [
            {"version": 2},
            {"version": None},
            {"owners": None},
            {"owners": []},
            {"owners": {}},
            {"owners": {str(LATER): told("DELETED")}},
            {"owners": {str(TI): None}},
            {"owners": {str(TI): {}}},
            {"owners": {str(TI): told("deleted")}},
            {"owners": {str(TI): told("gone")}},
            {"owners": {str(TI): told("FAILED", state=7)}},
            {"owners": {str(TI): told("FAILED", state=None)}},
            {"owners": {str(TI): told("FAILED", later=7)}},
            {"owners": {str(TI): told("FAILED", task=[])}},
            {"owners": {str(TI): told("FAILED", ended="2026-11-20T12:00:00")}},
            {"owners": {str(TI): {"phase": "DELETED"}}},
        ],
        ids=str,
    )
    def test_an_answer_that_is_none(self, api: Api, values: dict[str, Any]) -> None:
        """Whatever is missing, or is another try's, means "deleted" of none."""
        api.owners(**values)
        with pytest.raises(AirflowUnavailable, match="is not the answer that was expected"):
            said(api)

    @pytest.mark.parametrize("release", [1, "all", [], {}, {"all": None}, {"all": False, "jobs": [{}]}])
    def test_a_release_that_is_none_covers_everything(self, api: Api, release: Any) -> None:
        api.owners(owners={str(TI): told("DELETED", release=release)})
        found = said(api).release
        assert found is not None
        assert (found.all, found.is_readable) == (True, False)

    @pytest.mark.parametrize(
        "answer, words",
        [
            ((403, {"detail": "Forbidden"}), r"HTTP 403 \(check the account"),
            ((404, {"detail": "Not Found"}), r"HTTP 404 .*install airflow-cancel-provider there"),
            ((405, ""), r"HTTP 405 .*install airflow-cancel-provider there"),
            ((302, "https://login.example.com"), r"HTTP 302, a redirect \(put the address"),
            ((200, HTML), "is not the answer that was expected"),
        ],
    )
    def test_what_to_do_is_said(self, api: Api, answer: Answer, words: str) -> None:
        api.answers["*"] = answer
        with pytest.raises(AirflowUnavailable, match=words):
            said(api)

    def test_a_server_that_is_not_there(self, api: Api) -> None:
        port = api.url.rpartition(":")[2]
        with pytest.raises(AirflowUnavailable, match="did not answer"):
            Rest(f"http://127.0.0.2:{port}", deployment=DEPLOYMENT).owners([TI])

    def test_a_redirect_is_not_followed(self, api: Api) -> None:
        """It makes a GET of a POST, and may lead to another Airflow, which knows none of these tries."""
        api.answers[OWNERS] = (307, f"{api.url}/elsewhere")
        api.answers["POST /elsewhere"] = answered({str(TI): told("DELETED")})
        with pytest.raises(AirflowUnavailable, match="HTTP 307"):
            said(api)
        assert api.asked == [OWNERS]

    @pytest.mark.parametrize("url", ["", "airflow.example.com", "ftp://airflow.example.com"])
    def test_no_address(self, url: str) -> None:
        with pytest.raises(InvalidInput):
            Rest(url, deployment=DEPLOYMENT)


class TestCalls:
    def test_many_tries_a_call(self, api: Api) -> None:
        known = [uuid4() for _ in range(2500)]
        owners = {str(ti_id): told("ALIVE") for ti_id in known}
        api.owners(owners=owners)
        assert set(Rest(f"{api.url}/", deployment=DEPLOYMENT).owners(known)) == set(known)
        assert api.asked == [OWNERS] * 3
        asked = [json.loads(body)["ti_ids"] for body in api.bodies]
        assert [len(some) for some in asked] == [1000, 1000, 500]

    def test_a_server_below_a_path(self, api: Api) -> None:
        path = "POST /data/airflow/remote-jobs/v1/owners"
        api.answers[path] = answered({str(TI): told("SUCCEEDED")})
        assert Rest(f"{api.url}/data/airflow/", deployment=DEPLOYMENT).owners([TI])[TI].phase is S.SUCCEEDED

    def test_variables(self, api: Api) -> None:
        airflow = Rest(api.url, deployment=DEPLOYMENT)
        assert airflow.variable("any") is None
        api.answers[f"GET {VARIABLE}"] = (200, {"key": "any", "value": "old"})
        assert airflow.variable("any") == "old"
        api.answers["POST /api/v2/variables"] = (201, {"key": "any", "value": "new"})
        airflow.set_variable("any", "new")
        assert json.loads(api.bodies[-1]) == {"key": "any", "value": "new"}
        api.answers[f"PATCH {VARIABLE}"] = (200, {"key": "any", "value": "newer"})
        airflow.set_variable("any", "newer")
        assert api.asked[-1] == f"PATCH {VARIABLE}"
        airflow.set_variable("any", None)
        api.answers[f"DELETE {VARIABLE}"] = (204, "")
        airflow.set_variable("any", None)
        assert api.asked[-1] == f"DELETE {VARIABLE}"

    @pytest.mark.parametrize("value", [None, 7, {"a": 1}])
    def test_a_variable_without_a_value(self, api: Api, value: Any) -> None:
        api.answers[f"GET {VARIABLE}"] = (200, {"key": "any", "value": value})
        with pytest.raises(AirflowUnavailable):
            Rest(api.url, deployment=DEPLOYMENT).variable("any")

    def test_releases(self, api: Api) -> None:
        keys = [release_key(uuid4()) for _ in range(101)]
        path = "GET /api/v2/variables?variable_key_pattern=remote_jobs_released_%25&order_by=key"
        # A page may be shorter than it was asked for: [api] maximum_page_limit.
        pages = {0: [*keys[:49], "another"], 50: keys[49:99], 100: keys[99:], 102: []}
        for offset, keys_of_page in pages.items():
            variables = [{"key": key, "value": None if key == keys[1] else "{}"} for key in keys_of_page]
            api.answers[f"{path}&limit=100&offset={offset}"] = (200, {"variables": variables})
        found = Rest(api.url, deployment=DEPLOYMENT).releases(1000)
        assert list(found) == keys
        assert (found[keys[0]], found[keys[1]]) == ("{}", None)

    def test_a_server_that_always_has_another_page(self, api: Api) -> None:
        api.answers["*"] = (200, {"variables": [{"key": "any", "value": ""}] * 100})
        assert Rest(api.url, deployment=DEPLOYMENT).releases(1000) == {}
        assert len(api.asked) == 10


class TestLogin:
    @pytest.mark.parametrize(
        "refusal", [(401, {"detail": "Token Expired"}), (403, {"detail": "Invalid JWT token"})]
    )
    def test_a_token_that_is_no_good_any_more(self, api: Api, refusal: Answer) -> None:
        """A new secret of the API server's makes 403 of tokens, and expiry 401: a login mends both."""
        good, logins = "first", iter(["first", "second"])
        api.answers["POST /auth/token"] = lambda _: (201, {"access_token": next(logins)})
        running = answered({str(TI): told("ALIVE")})
        api.answers[OWNERS] = lambda token: running if token == good else refusal
        airflow = Rest(api.url, deployment=DEPLOYMENT, login="reaper", password="secret")
        assert airflow.owners([TI])[TI].phase is S.ALIVE
        good = "second"
        assert airflow.owners([TI])[TI].phase is S.ALIVE

    @pytest.mark.parametrize(
        "answer",
        [
            *((201, {"token": "x"}), (201, "<html>"), (401, {"detail": "wrong"}), (201, []), (500, "")),
            (302, "/elsewhere"),
        ],
    )
    def test_a_login_that_fails(self, api: Api, answer: Answer) -> None:
        api.answers = {"POST /auth/token": answer, "*": (401, {"detail": "Not authenticated"})}
        with pytest.raises(AirflowUnavailable) as refusal:
            said(api, login="reaper", password="hunter2")
        assert "hunter2" not in str(refusal.value)

    def test_another_login_in_netrc(self, api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """What a person keeps there for this host does not take the place of the connection's token."""
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password mine")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        alive = answered({str(TI): told("ALIVE")})
        api.answers[OWNERS] = lambda token: alive if token == "good" else (401, "")
        assert said(api, token="good").phase is S.ALIVE


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
mostly_told = st.fixed_dictionaries(
    {
        "phase": st.sampled_from([*S]) | json_values,
        "later": st.none() | st.just("ALIVE") | json_values,
        "task": st.just("task") | json_values,
        "state": st.just("failed") | json_values,
        "release": st.none() | json_values,
        "ended": st.none() | st.just("2026-11-20T12:00:00+00:00") | json_values,
    }
)
bodies = st.one_of(
    st.binary(max_size=50),
    json_values,
    st.fixed_dictionaries({"version": st.just(1) | json_values, "owners": json_values}),
    st.fixed_dictionaries(
        {"version": st.just(1), "owners": st.fixed_dictionaries({str(TI): mostly_told | json_values})}
    ),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
@given(status=st.sampled_from([200, 200, 200, 201, 204, 302, 404, 500]), body=bodies)
def test_whatever_is_answered(api: Api, status: int, body: Any) -> None:
    """Either it is our error, or every try that was asked for, and "deleted" only where it was said."""
    api.answers["*"] = (status, body)
    try:
        owner = said(api)
    except AirflowUnavailable:
        return
    assert status in (200, 201)
    assert isinstance(body, dict)
    assert owner.phase == body["owners"][str(TI)]["phase"]


def test_another_airflow_does_not_know_the_tries_and_nothing_is_cancelled(ground: Ground, api: Api) -> None:
    """The connection leads to a staging Airflow, say. Its answer on production's tries is "deleted"."""
    job = ground.start("batch", None)
    api.owners(owners={str(ground.owners[job]): told("DELETED")}, deployment=FOREIGN)
    api.answers["GET /api/v2/variables/remote_jobs_dead_letters"] = (404, GONE)
    reaper = ground.reaper(places=[BATCH])
    reaper.airflow = Rest(api.url, deployment=DEPLOYMENT)
    report = reaper.sweep()
    assert fates(report) == {}
    assert any("leads to another Airflow" in trouble for trouble in report.troubles)
    assert ground.lives(job)


def test_orphans_by_what_the_server_says(ground: Ground, api: Api) -> None:
    jobs = {name: ground.start("batch", None) for name in (S.FAILED, S.ALIVE, S.SUCCEEDED)}
    deleted = ground.start("batch", None)
    owners = {str(ground.owners[job]): told(phase) for phase, job in jobs.items()}
    api.owners(owners=owners | {str(ground.owners[deleted]): told("DELETED")})
    api.answers["GET /api/v2/variables/remote_jobs_dead_letters"] = (404, GONE)
    reaper = ground.reaper(places=[BATCH])
    reaper.airflow = Rest(api.url, deployment=DEPLOYMENT)
    assert fates(reaper.sweep()) == {jobs[S.FAILED]: "ended", deleted: "ended"}
    assert ground.lives(jobs[S.ALIVE], jobs[S.SUCCEEDED])
