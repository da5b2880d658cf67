"""A kill in the middle of a request to Airflow: its answer comes later, and is not taken for another's."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from airflow.sdk.execution_time.comms import GetVariable

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowTaskTimeout
from tests.cloud.server import LocalCloud
from tests.supervisor_fixtures import SLOW, Supervisor, closed_loop, of_event_loops, runner, supervisor
from tests.try_fixtures import CANCEL, Try, _guarded, cancelled, submit, variables

__all__ = ["_guarded", "supervisor", "variables"]
KEEP = Settings(on_retry="keep")


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


@contextmanager
def open_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """As Airflow's own, which it leaves open where Python has made it."""
    loop = asyncio.new_event_loop()
    loops.append(loop)
    yield loop


loops: list[asyncio.AbstractEventLoop] = []


@of_event_loops
@pytest.mark.parametrize("end", [Killed, AirflowTaskTimeout])
@pytest.mark.parametrize("event_loop", [closed_loop, open_loop, runner])
def test_an_event_loop_that_is_interrupted_while_it_asks_lets_the_channel_go(
    cloud: LocalCloud, supervisor: Supervisor, event_loop: Any, end: type[BaseException]
) -> None:
    """What it has asked is answered later, to a thread of its pool."""

    def interrupt(*_: Any) -> None:
        threading.Timer(1, supervisor.may_answer.set).start()
        if end is Killed:
            ti.task.on_kill()
        raise end("Timeout")

    def alarm() -> None:
        supervisor.asked.wait(60)
        os.kill(os.getpid(), signal.SIGALRM)

    async def ask() -> None:
        threading.Thread(target=alarm).start()
        await supervisor.channel.asend(GetVariable(key=SLOW))

    def work() -> None:
        submit()
        signal.signal(signal.SIGALRM, interrupt)
        with event_loop() as loop:
            loop.run_until_complete(ask())

    ti = Try(work=work, on_push=lambda *_: supervisor.get("xcom") and None)
    ti.guarded(CANCEL)
    with pytest.raises(end):
        ti.task.execute()
    assert [supervisor.get(key) for key in ("first", "second")] == ["first", "second"]
    assert cancelled(cloud) == [True]
    while loops:
        loops.pop().close()


@of_event_loops
@pytest.mark.parametrize("event_loop", [closed_loop, open_loop, runner])
def test_an_event_loop_that_is_interrupted_while_it_waits_for_the_channel_lets_it_go(
    cloud: LocalCloud, supervisor: Supervisor, event_loop: Any
) -> None:
    """A thread of its pool takes the channel for it when another thread has its answer."""

    def interrupt(*_: Any) -> None:
        threading.Timer(1, supervisor.may_answer.set).start()
        ti.task.on_kill()
        raise Killed("Timeout")

    async def ask() -> None:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGALRM)).start()
        await supervisor.channel.asend(GetVariable(key="later"))

    def work() -> None:
        submit()
        signal.signal(signal.SIGALRM, interrupt)
        asker.start()
        supervisor.asked.wait(20)
        with event_loop() as loop:
            loop.run_until_complete(ask())

    asker = threading.Thread(target=supervisor.get, args=(SLOW,))
    ti = Try(work=work)
    ti.guarded(CANCEL)
    with pytest.raises(Killed):
        ti.task.execute()
    asker.join()
    assert [supervisor.get(key) for key in ("first", "second")] == ["first", "second"]
    assert cancelled(cloud) == [True]
    while loops:
        loops.pop().close()
