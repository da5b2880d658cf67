"""Planted secrets: what a deferral, a reaper, the command line, the page and tracebacks write holds none.

A gateway refuses whatever ends a job, and repeats in its answer the request with all headers: so what is
written of a refusal is searched, too.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
import pytest
import requests

import airflow_cancel_provider
from airflow_cancel_provider.cli.command import WRONG_INPUT
from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.metrics import PlainStatsd
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.reaper.backends.rest import Rest
from airflow_cancel_provider.reaper.report import send
from airflow_cancel_provider.services.mrs.auth import TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.service import MrsJobService
from tests.cli_fixtures import Line, deployment, line
from tests.cloud.server import LocalCloud
from tests.gateway import Answer, Gateway, Seen
from tests.guard_fixtures import until
from tests.mrs_fixtures import define
from tests.page_fixtures import Page, api_server, memory, page, tables
from tests.reaper_fixtures import SERVICES, Ground, ground
from tests.security.places import PLACES, PLACES_IN_PROCESS, Echo, found
from tests.security.test_replies import AT_ONCE, opened
from tests.security.test_replies import SERVICES as AT_SERVICES
from tests.task_fixtures import MRS_KEYS, MRS_SECRET, connect_aws, connections, make_database
from tests.try_fixtures import CANCEL, Try, removed, variables

__all__ = [
    "api_server",
    "connections",
    "deployment",
    "ground",
    "line",
    "memory",
    "page",
    "removed",
    "tables",
    "variables",
]

SECRET, TOKEN = "PLANTED-secret-access-key", "PLANTED-session-token"
PASSWORD = "demo-password"
"""Of MRS, as the local cloud knows it; the same holds for :data:`MRS_SECRET`."""
PLANTED = (SECRET, TOKEN, PASSWORD, MRS_SECRET)
ENDS = ("delete", "cancel", "terminate", "stop", "kill")
LOGIN = "MRS with a password"
HASTE = ("--grace", "0.05", "--share", "1", "--at", "aws://aws_default", "--at", "mrs://mrs_default")
PACKAGE = str(Path(airflow_cancel_provider.__file__).parent)


class Refusing(Gateway):
    """Repeats each request that ends a job, and passes on the others."""

    def take(self, seen: Seen) -> Answer:
        super().take(seen)
        path = seen.target.partition("?")[0]
        call = f"{seen.method} {path} {seen.headers.get('X-Amz-Target', '')}".lower()
        if not any(word in call for word in ENDS):
            return None
        words = json.dumps([*seen.headers.items(), seen.body.decode(errors="replace")])
        answer = {"__type": "AccessDeniedException", "message": words, "error_code": "X", "error_msg": words}
        return 403, json.dumps(answer).encode()


@pytest.fixture(params=[{}, MRS_KEYS], ids=["password", "keys"])
def refusing(
    request: pytest.FixtureRequest, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Refusing]:
    """Between all services and their connections, whose secrets are planted; MRS with two ways to log in."""
    make_database()
    with Refusing(cloud.url) as gateway:
        gateway.passes_on = False
        connect_aws(monkeypatch, cloud, endpoint_url=gateway.url, password=SECRET, aws_session_token=TOKEN)
        define(monkeypatch, cloud, **request.param, endpoint=gateway.url, iam_endpoint=gateway.url)
        yield gateway


def search(written: Mapping[str, str]) -> None:
    """Fail if one of the places holds a secret; each has to be in the list, and to hold anything at all."""
    assert written.keys() <= set(PLACES_IN_PROCESS)
    assert [place for place, text in written.items() if not text] == []
    assert found(PLANTED, [(place, text.encode()) for place, text in written.items()]) == []


class Udp:
    """A StatsD server; its lines are text."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        host, port = self._socket.getsockname()
        self.stats = PlainStatsd({"host": host, "port": port, "prefix": "airflow"})

    def text(self) -> str:
        lines = []
        try:
            while True:
                lines.append(self._socket.recv(65536).decode())
        except TimeoutError:
            self._socket.close()
        return "\n".join(lines)


def test_a_reaper_that_is_refused(
    ground: Ground, refusing: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [ground.start(service, TryPhase.FAILED) for service in SERVICES]
    caplog.set_level("DEBUG", "airflow_cancel_provider")
    report = ground.reaper(confirm_seconds=0).sweep()
    assert set(report.letters) == set(map(str, jobs)), "all were refused"
    assert any("PLANTED" in str(seen.headers) for seen in refusing.seen)
    udp = Udp()
    send(report, lambda: udp.stats)
    search(
        {
            "the reaper's log": caplog.text,
            "the reaper's report": str(report),
            "the reaper's XCom": json.dumps(report.as_json()),
            "dead letters": json.dumps(ground.airflow.variables),
            "metrics over UDP": udp.text(),
        }
    )


@pytest.mark.parametrize("refusing", [{}], indirect=True, ids=["password"])
def test_the_command_line_and_its_log(
    line: Line, deployment: str, refusing: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [line.ground.start(service, TryPhase.FAILED, deployment=deployment) for service in SERVICES]
    commands = [
        ("cancel", *map(str, jobs), "--wait", "0"),
        ("describe", *map(str, jobs)),
        ("reap", *HASTE, "--confirm-seconds", "0"),
        ("dead-letters",),
        ("doctor", *HASTE[4:]),
    ]
    ends = [line(*command, "--verbose") for command in commands]
    assert all(each.code != WRONG_INPUT for each in ends)
    assert "AccessDenied" in ends[0].out + ends[0].err
    assert any("PLANTED" in str(seen.headers) for seen in refusing.seen)
    search(
        {
            "output of commands": "\n".join(each.out + each.err for each in ends),
            "the log of a command": caplog.text,
        }
    )


@pytest.mark.usefixtures("removed")
def test_a_deferral(
    cloud: LocalCloud,
    variables: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
    from airflow.sdk.exceptions import TaskDeferred

    connect_aws(monkeypatch, cloud)
    deferral: list[TaskDeferred] = []

    def work() -> None:
        session = boto3.session.Session("PLANTEDKEY", SECRET, TOKEN)
        batch: Any = session.client("batch", region_name="us-east-1", endpoint_url=cloud.url)
        batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
        deferral.append(TaskDeferred(trigger=TimeDeltaTrigger(timedelta(hours=1)), method_name="go_on"))
        raise deferral[0]

    caplog.set_level("DEBUG", "airflow_cancel_provider")
    caplog.set_level("DEBUG", "task")
    ti = Try(work=work)
    ti.guarded(CANCEL)
    with pytest.raises(TaskDeferred):
        ti.task.execute()
    path, arguments = deferral[0].trigger.serialize()
    assert path.endswith("GuardTrigger")
    search(
        {
            "the trigger's row": json.dumps(arguments, default=repr) + repr(deferral[0]),
            "XCom, task state store and Variables of a deferral": json.dumps(
                [ti.pushed, ti.store, variables]
            ),
            "the log of a deferral": caplog.text,
        }
    )


def test_the_page_its_states_and_the_event_log(
    page: Page, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "airflow_cancel_provider")
    with Echo() as server:
        config = {"retries": {"total_max_attempts": 1}}
        connect_aws(
            monkeypatch,
            cloud,
            endpoint_url=server.url,
            password=SECRET,
            aws_session_token=TOKEN,
            config_kwargs=config,
        )
        job = RemoteJob("batch://aws_default@us-east-1/5b1f0000-0000-0000-0000-000000000000")
        ti_id = page.put(job, ti_state="failed")
        states = page.post("op", "/states", job, role="op").text
        assert page.cancel("op", job).status_code == 202
        until(lambda: "AccessDenied" in caplog.text)
        shown = page.get("op", role="op").text
        headers = {"Authorization": f"Bearer {page.server.token('op', 'op')}"}
        owners = requests.post(
            f"{page.url}/v1/owners", json={"ti_ids": [str(ti_id)]}, headers=headers, timeout=60
        ).text
        assert server.seen
    search(
        {
            "the page": shown,
            "the states that the page asks for": states,
            "answers of the endpoint": owners,
            "Airflow's event log": json.dumps(page.events()),
            "the log of the API server": caplog.text,
        }
    )


def errors_of(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes."""
    trouble: BaseException | None = error
    while trouble is not None:
        yield trouble
        trouble = trouble.__cause__ or trouble.__context__


def locals_of(error: BaseException) -> Iterator[str]:
    """The variables in each of our functions on the way to an error, as a tool for error reports has them."""
    for each in errors_of(error):
        trace: TracebackType | None = each.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename.startswith(PACKAGE):
                for name, value in trace.tb_frame.f_locals.items():
                    yield f"{trace.tb_frame.f_code.co_qualname}: {name} = {value!r}"
            trace = trace.tb_next


def described(name: str, url: str) -> None:
    """Ask a service for jobs, MRS also with a password, or Airflow's API server for a Variable."""
    if name == "Airflow":
        Rest(url, deployment="", login="reaper", password=PASSWORD).variable("key")
        return
    service, jobs = opened("mrs" if name == LOGIN else name, url)
    if name == LOGIN:
        login = TokenAuth(url, "demo", PASSWORD, "demo-domain", project_id="0123456789abcdef")
        client = MrsClient(url, "0123456789abcdef", login)
        service = MrsJobService(client, conn_id="mrs_default", patience=AT_ONCE)
    service.describe(jobs)


@pytest.mark.parametrize("name", [*AT_SERVICES, LOGIN, "Airflow"])
def test_variables_in_a_traceback(name: str) -> None:
    with Echo() as server, pytest.raises(CancelProviderError) as raised:
        described(name, server.url)
    search(
        {
            "variables of our functions in a traceback": "\n".join(
                [*locals_of(raised.value), str(raised.value)]
            )
        }
    )


def test_the_search_of_a_place_finds_what_is_there() -> None:
    with pytest.raises(AssertionError, match="PLANTED"):
        search({"metrics over UDP": f"... {TOKEN} ..."})
    with pytest.raises(AssertionError):
        search({"metrics over UDP": ""})


def test_every_place_is_in_the_docs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.rst").read_text()
    listed = " ".join(text.split())
    assert [place for place in (*PLACES, *PLACES_IN_PROCESS) if place not in listed] == []
