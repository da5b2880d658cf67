"""Airflow's supervisor, at the other end of the channel of a task's process."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
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

SLOW = "slow"
of_event_loops = pytest.mark.skipif(
    not hasattr(CommsDecoder(socket=None), "_async_lock"), reason="an event loop may ask from Airflow 3.2 on"
)


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
        channel: Any = task_runner.SUPERVISOR_COMMS
        return str(channel.send(GetVariable(key=key)).value)

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


@contextmanager
def connected(patch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    """Have a channel to Airflow in this process."""
    one = Supervisor()
    patch.setattr(task_runner, "SUPERVISOR_COMMS", one.channel, raising=False)
    yield one
    one.channel.socket.close()
    one.thread.join()


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    before = signal.getsignal(signal.SIGALRM)
    with connected(monkeypatch) as one:
        yield one
        signal.signal(signal.SIGALRM, before)


@contextmanager
def closed_loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(asyncio.new_event_loop()) as loop:
        yield loop


@contextmanager
def runner() -> Iterator[asyncio.AbstractEventLoop]:
    """As ``asyncio.run`` does: it cancels what the loop has begun, and waits for the threads of its pool."""
    with asyncio.Runner() as one:
        yield one.get_loop()
