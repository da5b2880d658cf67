"""A kill or a time-out in the middle of a request to Airflow waits for the answer."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.execution_time.comms import GetVariable

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard import signals
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowTaskTimeout, TaskDeferred
from tests.cloud.server import LocalCloud
from tests.supervisor_fixtures import SLOW, Supervisor, closed_loop, of_event_loops, runner, supervisor
from tests.try_fixtures import CANCEL, Never, Try, _guarded, cancelled, submit, variables

__all__ = ["_guarded", "supervisor", "variables"]
KEEP = Settings(on_retry="keep", sentinel=False, confirm_seconds=20, patience=30)
SIGNALS = {Killed: signal.SIGTERM, AirflowTaskTimeout: signal.SIGALRM}


@pytest.fixture(autouse=True)
def tried() -> Iterator[Try]:
    """A try, with the handlers that Airflow has for its signals."""

    def ring(*_: Any) -> None:
        raise AirflowTaskTimeout("Timeout")

    handlers: dict[int, Callable[..., None]] = {
        signal.SIGTERM: lambda *_: ti.task.on_kill(),
        signal.SIGALRM: ring,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    ti: Any = Try()
    ti.task.execution_timeout = timedelta(seconds=60)
    yield ti
    for number, handler in before.items():
        signal.signal(number, handler)


def strike(supervisor: Supervisor, end: type[BaseException], answer_after: float = 0.3) -> None:
    """End the task as soon as Airflow was asked, which answers later."""

    def send() -> None:
        supervisor.asked.wait(20)
        threading.Timer(answer_after, supervisor.may_answer.set).start()
        os.kill(os.getpid(), SIGNALS[end])

    threading.Thread(target=send).start()


def ended(ti: Try, work: Callable[[], Any], end: type[BaseException], settings: Settings = CANCEL) -> None:
    """Execute, which ends so."""
    ti.task.work = work
    ti.guarded(settings)
    with pytest.raises(end):
        ti.task.execute()


def are_in_order(supervisor: Supervisor) -> bool:
    return [supervisor.get(key) for key in ("first", "second")] == ["first", "second"]


@pytest.mark.parametrize(
    "end, settings, is_cancelled",
    [(Killed, CANCEL, True), (AirflowTaskTimeout, CANCEL, True), (AirflowTaskTimeout, KEEP, False)],
)
def test_a_callback_hears_what_it_asks_for(
    cloud: LocalCloud,
    supervisor: Supervisor,
    tried: Try,
    end: type[BaseException],
    settings: Settings,
    *,
    is_cancelled: bool,
) -> None:
    heard: list[str] = []

    def work() -> None:
        submit()
        strike(supervisor, end)
        heard.append(supervisor.get(SLOW))
        time.sleep(20)

    ended(tried, work, end, settings)
    assert heard == [SLOW]
    assert are_in_order(supervisor)
    assert cancelled(cloud) == [is_cancelled]


@pytest.mark.parametrize("end", [Killed, AirflowTaskTimeout])
def test_a_task_that_does_nothing_but_ask_ends(
    cloud: LocalCloud, supervisor: Supervisor, tried: Try, end: type[BaseException]
) -> None:
    """A thread would see it in the middle of a request, whenever it gets its turn."""
    began: list[float] = []

    def work() -> None:
        submit()
        strike(supervisor, end)
        began.append(time.monotonic())
        while True:
            supervisor.get(SLOW)
            sum(range(10_000))

    ended(tried, work, end)
    assert time.monotonic() - began[0] < signals.LONGEST_WAIT / 2
    assert are_in_order(supervisor)
    assert cancelled(cloud) == [True]


@contextmanager
def open_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """As Airflow's own, which it leaves open where Python has made it."""
    loop = asyncio.new_event_loop()
    loops.append(loop)
    yield loop


loops: list[asyncio.AbstractEventLoop] = []


@of_event_loops
@pytest.mark.parametrize("end", [Killed, AirflowTaskTimeout])
@pytest.mark.parametrize("event_loop", [closed_loop, runner])
def test_an_event_loop_that_does_nothing_but_ask_ends(
    cloud: LocalCloud, supervisor: Supervisor, tried: Try, event_loop: Any, end: type[BaseException]
) -> None:
    """It catches what its callbacks raise."""

    async def ask() -> None:
        strike(supervisor, end)
        while True:
            await supervisor.channel.asend(GetVariable(key=SLOW))

    def work() -> None:
        submit()
        with event_loop() as loop:
            loop.run_until_complete(ask())

    ended(tried, work, end)
    assert are_in_order(supervisor)
    assert cancelled(cloud) == [True]


@of_event_loops
@pytest.mark.parametrize("waits_for_another", [False, True])
@pytest.mark.parametrize("end", [Killed, AirflowTaskTimeout])
@pytest.mark.parametrize("event_loop", [closed_loop, open_loop, runner])
def test_an_event_loop_that_asks_lets_the_channel_go(
    cloud: LocalCloud,
    supervisor: Supervisor,
    tried: Try,
    event_loop: Any,
    end: type[BaseException],
    *,
    waits_for_another: bool,
) -> None:
    """Also where a thread of its pool is to take the channel for it when another thread has its answer."""
    asker = threading.Thread(target=supervisor.get, args=(SLOW,))

    async def ask() -> None:
        strike(supervisor, end)
        await supervisor.channel.asend(GetVariable(key="later" if waits_for_another else SLOW))
        await asyncio.sleep(20)

    def work() -> None:
        submit()
        if waits_for_another:
            asker.start()
        with event_loop() as loop:
            loop.run_until_complete(ask())

    ended(tried, work, end)
    assert are_in_order(supervisor)
    assert cancelled(cloud) == [True]
    if waits_for_another:
        asker.join()
    while loops:
        loops.pop().close()


@pytest.mark.parametrize("end", [Killed, AirflowTaskTimeout])
def test_a_task_that_airflow_does_not_answer_ends_all_the_same(
    cloud: LocalCloud,
    supervisor: Supervisor,
    tried: Try,
    monkeypatch: pytest.MonkeyPatch,
    end: type[BaseException],
) -> None:
    monkeypatch.setattr(signals, "LONGEST_WAIT", 0.5)

    def work() -> None:
        submit()
        strike(supervisor, end, answer_after=15)
        supervisor.get(SLOW)

    ended(tried, work, end)
    assert not supervisor.may_answer.is_set()
    assert cancelled(cloud) == [True]
    supervisor.may_answer.set()
    assert supervisor.get("later") == SLOW  # as without the guard
    assert supervisor.channel._read_frame().body["value"] == "later"


@pytest.mark.parametrize("deferral", [None, TaskDeferred(trigger=Never(), method_name="execute_complete")])
def test_a_kill_while_the_end_is_written_ends_the_task_after_that(
    cloud: LocalCloud, supervisor: Supervisor, tried: Try, deferral: BaseException | None
) -> None:
    heard: list[str] = []

    def work() -> None:
        submit()
        strike(supervisor, Killed)
        tried.on_push = lambda *_: heard.append(supervisor.get(SLOW))
        if deferral:
            raise deferral

    ended(tried, work, Killed)
    assert are_in_order(supervisor)
    assert cancelled(cloud) == [True]
