"""XComs of Dags, runs and tasks whose names have letters of every language, as a triggerer asks for them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict
from typing import Any
from uuid import uuid4

import httpx
import pytest
from a2wsgi import ASGIMiddleware
from airflow.sdk.api.client import Client
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, SetXCom, XComResult
from airflow.sdk.execution_time.xcom import XCom

from airflow_cancel_provider import version_compat
from airflow_cancel_provider.ends_on_record import OF_TRIGGER, write_over_supervisor
from airflow_cancel_provider.guard import trigger as guard_trigger
from airflow_cancel_provider.guard.trigger import release_record
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import RECORD_KEY, Actor, JobEnd, TryRecord
from airflow_cancel_provider.triggers.ownership import recorded
from airflow_cancel_provider.version_compat import request_xcom

JOB = RemoteJob("batch://aws_default@us-east-1/882f7885-6f8f-4c1b-9d36-3a2f0a6c1b11")
TASKS = [
    TaskKey("nightly", "manual__2026-11-30T00:00:00+00:00", "load", -1),
    TaskKey("données", "manual__2026", "prüfen", 3),
    TaskKey("日報", "manual__2026", "作業", -1),
    TaskKey("nightly", "manual__2026", "Ночь.load", -1),
    TaskKey("a", "manual-ü", "b", -1),
]
Message = dict[str, Any]


class Api:
    """Airflow's API in the process, with XComs alone."""

    def __init__(self) -> None:
        self.xcoms: dict[str, Any] = {}

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        path, status, body = scope["path"], 200, b"null"
        if scope["method"] == "POST":
            self.xcoms[path] = json.loads((await receive())["body"])
            status = 201
        elif path in self.xcoms:
            body = json.dumps({"key": path.rpartition("/")[2], "value": self.xcoms[path]}).encode()
        else:
            status = 404
            body = json.dumps({"detail": {"reason": "not_found", "message": path}}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class TriggerCommsDecoder:
    """A triggerer's channel: its supervisor asks with Airflow's own client, over httpx and a2wsgi."""

    def __init__(self, api: Api) -> None:
        self.failures = 0
        transport: Any = httpx.WSGITransport(app=ASGIMiddleware(api))
        self._client = Client(base_url=None, token="", dry_run=True, transport=transport)
        self._client.base_url = "http://in-process.invalid./"

    def send(self, message: Any) -> Any:
        try:
            return self._answered(message)
        except (UnicodeEncodeError, UnicodeDecodeError) as error:
            self.failures += 1
            self.fail(error)

    def _answered(self, message: Any) -> Any:
        names = (message.dag_id, message.run_id, message.task_id, message.key)
        if isinstance(message, SetXCom):
            self._client.xcoms.set(*names, message.value, message.map_index)
            return None
        return XComResult.from_xcom_response(self._client.xcoms.get(*names, message.map_index))

    def fail(self, error: UnicodeError) -> None:
        """Before Airflow 3.2 the triggerer ends."""
        raise EOFError("the triggerer has ended") from error


class Answering(TriggerCommsDecoder):
    """One of Airflow 3.2 and later."""

    _thread_lock = None

    def fail(self, error: UnicodeError) -> None:
        detail = {"status_code": None, "message": str(error), "exception_type": type(error).__name__}
        raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setattr(version_compat, "_is_misread", False)
    yield Api()
    version_compat._is_misread = False


@pytest.fixture(params=[TriggerCommsDecoder, Answering], ids=["before 3.2", "from 3.2"])
def channel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, api: Api) -> TriggerCommsDecoder:
    made: TriggerCommsDecoder = request.param(api)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", made, raising=False)
    return made


def path_of(task: TaskKey, key: str) -> str:
    return f"/xcoms/{task.dag_id}/{task.run_id}/{task.task_id}/{key}"


each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.dag_id} {task.run_id}")


@each_task
def test_the_record_is_read(task: TaskKey, api: Api, channel: TriggerCommsDecoder) -> None:
    api.xcoms[path_of(task, RECORD_KEY)] = {"state": "deferred"}
    for _ in range(3):
        assert recorded(task) == {"state": "deferred"}
    # Each failure is a traceback in the triggerer's log.
    assert channel.failures <= 1


@each_task
@pytest.mark.usefixtures("channel")
def test_ends_are_written(task: TaskKey, api: Api) -> None:
    write_over_supervisor(task, {JOB: JobEnd(JobState.CANCELLED, Actor.TRIGGER, "marked", 0.0)})
    assert set(api.xcoms) == {path_of(task, OF_TRIGGER.format("batch"))}


@each_task
@pytest.mark.usefixtures("channel")
def test_a_success_closes_the_record(task: TaskKey, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_trigger, "read_release", lambda _: None)
    monkeypatch.setattr(guard_trigger, "write_release", lambda *_: None)
    release_record(task, TryRecord(uuid4(), jobs=(JOB,)))
    assert api.xcoms[path_of(task, RECORD_KEY)]["state"] == "returned"


def test_other_failures_are_raised(channel: TriggerCommsDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def send(message: Any) -> None:
        asked.append(message.dag_id)
        raise AirflowRuntimeError(
            ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500})
        )

    monkeypatch.setattr(channel, "send", send)
    with pytest.raises(AirflowRuntimeError):
        recorded(TASKS[1])
    assert len(asked) == 1


def test_where_names_are_read_right_they_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch, channel: TriggerCommsDecoder
) -> None:
    """In the process of a task, and in a triggerer of a later Airflow or httpx."""
    monkeypatch.setattr(version_compat, "_does_httpx_misencode", lambda: False)
    asked: list[Any] = []

    def send(message: Any) -> XComResult:
        asked.append((message.dag_id, message.task_id))
        return XComResult(key=message.key, value=None)

    monkeypatch.setattr(channel, "send", send)
    assert recorded(TASKS[2]) is None
    assert asked == [("日報", "作業")]


def test_a_value_that_cannot_be_encoded_is_no_misread_name(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """From then on, each record would be looked for under a name that is read as another's."""
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Answering(api), raising=False)
    with pytest.raises(AirflowRuntimeError):
        request_xcom(XCom.set, asdict(TASKS[1]), key="any", value="\ud800")
    assert not version_compat._is_misread
