"""A kill in the middle of a request to Airflow: its answer comes later, and is not taken for another's."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    CommsDecoder,
    GetVariable,
    TaskStatesResult,
    VariableResult,
    _ResponseFrame,
)

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowTaskTimeout
from tests.cloud.server import LocalCloud
from tests.try_fixtures import CANCEL, Try, _guarded, cancelled, submit, variables

__all__ = ["_guarded", "variables"]
SLOW = "slow"
KEEP = Settings(on_retry="keep")


class Supervisor:
    """Answers each question for a Variable with its name; the first one for ``slow`` late."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        ours, self._socket = socket.socketpair()
        self.channel: Any = CommsDecoder(socket=ours)
        self.thread = threading.Thread(target=self._answer, daemon=True)
        self.thread.start()

    def get(self, key: str) -> str:
        """Ask as a task does."""
        return str(self.channel.send(GetVariable(key=key)).value)

    def _answer(self) -> None:
        with self._socket, self._socket.makefile("rb") as requests:
            while length := requests.read(4):
                number, body, *_ = msgspec.msgpack.decode(requests.read(int.from_bytes(length, "big")))
                if body.get("key") == SLOW:
                    self.asked.set()
                    self.may_answer.wait(20)
                self._socket.sendall(_ResponseFrame(number, self._answer_to(body).model_dump()).as_bytes())

    @staticmethod
    def _answer_to(body: dict[str, Any]) -> Any:
        if body["type"] == "GetTaskStates":
            return TaskStatesResult(task_states={"manual__2026": {"stop": "running"}})
        return VariableResult(key=body["key"], value=body["key"])


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    one = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", one.channel, raising=False)
    before = signal.getsignal(signal.SIGALRM)
    yield one
    signal.signal(signal.SIGALRM, before)
    one.channel.socket.close()
    one.thread.join()


@pytest.mark.parametrize(
    "end, settings, is_cancelled",
    [(Killed, CANCEL, True), (AirflowTaskTimeout, CANCEL, True), (AirflowTaskTimeout, KEEP, False)],
)
def test_a_callback_hears_what_it_asks_for(
    cloud: LocalCloud,
    supervisor: Supervisor,
    end: type[BaseException],
    settings: Settings,
    *,
    is_cancelled: bool,
) -> None:
    def interrupt(*_: Any) -> None:
        supervisor.may_answer.set()
        if end is Killed:
            ti.task.on_kill()
        raise end("Timeout")

    def work() -> None:
        submit()
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        supervisor.get(SLOW)

    ti = Try(work=work)
    ti.guarded(settings)
    with pytest.raises(end):
        ti.task.execute()
    assert [supervisor.get(key) for key in ("first", "second")] == ["first", "second"]
    assert cancelled(cloud) == [is_cancelled]


def test_a_time_out_while_the_guard_itself_asks(supervisor: Supervisor) -> None:
    """It comes when the task has returned. Its success stands, and what it asks then is answered in order."""

    def ask(_: str, value: Any) -> None:
        if value["state"] == "returned":
            signal.signal(signal.SIGALRM, interrupt)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            supervisor.get(SLOW)

    def interrupt(*_: Any) -> None:
        supervisor.may_answer.set()
        raise AirflowTaskTimeout("Timeout")

    ti = Try(work=submit, on_push=ask)
    ti.guarded(CANCEL)
    assert ti.task.execute()
    assert [supervisor.get(key) for key in ("first", "second")] == ["first", "second"]
