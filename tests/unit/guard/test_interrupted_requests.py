"""A kill at any place of a request to Airflow: the channel goes on, with the right answers."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from asyncio import base_events, locks, selector_events, threads
from asyncio.futures import wrap_future
from collections.abc import Callable, Iterator
from concurrent.futures.thread import ThreadPoolExecutor
from types import CodeType
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.execution_time.comms import CommsDecoder, GetVariable, _RequestFrame

from airflow_cancel_provider.guard import late_answers
from airflow_cancel_provider.guard.late_answers import LateAnswers
from tests.strikes import Striker
from tests.supervisor_fixtures import SLOW, Supervisor, closed_loop, connected, of_event_loops, runner

pytestmark = of_event_loops


def drop() -> None:
    """Have the answers in order, as the guard does after a kill."""
    late = LateAnswers(uuid4(), lambda: True, logging.getLogger("task"))
    late.may_come = True
    late.drop()


def in_loop(event_loop: Any, supervisor: Supervisor, key: str) -> None:
    async def ask() -> None:
        await supervisor.channel.asend(GetVariable(key=key))

    asking = ask()
    try:
        with event_loop() as loop:
            loop.run_until_complete(asking)
    finally:
        if inspect.getcoroutinestate(asking) == inspect.CORO_CREATED:
            asking.close()


def in_thread(_: Any, supervisor: Supervisor, key: str) -> None:
    supervisor.get(key)


def code(function: Any) -> CodeType:
    found: CodeType = function.__code__
    return found


PLACES = {
    code(each)
    for each in (
        *(getattr(CommsDecoder, name, drop) for name in ("send", "asend")),
        base_events.BaseEventLoop.run_in_executor,
        selector_events.BaseSelectorEventLoop.sock_sendall,
        locks.Lock.acquire,
        threads.to_thread,
        wrap_future,
        ThreadPoolExecutor.submit,
        ThreadPoolExecutor._adjust_thread_count,
    )
}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
@pytest.mark.parametrize("is_used", [False, True], ids=["free", "used by another thread"])
@pytest.mark.parametrize("ask, event_loop", [(in_thread, None), (in_loop, closed_loop), (in_loop, runner)])
def test_a_kill_at_any_place_of_a_request(
    ask: Callable[..., None], event_loop: Any, monkeypatch: pytest.MonkeyPatch, every: int, *, is_used: bool
) -> None:
    monkeypatch.setattr(late_answers, "LOOK_SECONDS", 0.05)
    number, missed = 2 - every, 0
    # Python 3.13 does not trace all of them at the first time.
    while missed < 2:
        number += every
        striker = Striker(number, PLACES)
        with connected(monkeypatch) as supervisor:
            other = threading.Thread(target=supervisor.get, args=(SLOW,))
            if is_used:
                other.start()
                supervisor.asked.wait(20)
            answering = threading.Timer(0.05, supervisor.may_answer.set)
            answering.start()
            striker.run(lambda: ask(event_loop, supervisor, "later" if is_used else SLOW))
            drop()
            answers = [supervisor.get(key) for key in ("first", "second")]
            assert answers == ["first", "second"], striker.place
            answering.join()
            if is_used:
                other.join()
        missed = 0 if striker.place else missed + 1
    print(f"{number} places")
    assert number > 5


def test_a_request_that_another_thread_is_sending_is_not_cut_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a large XCom, while the supervisor is busy and does not read."""
    with connected(monkeypatch) as supervisor:
        channel = supervisor.channel
        question = GetVariable(key=SLOW).model_dump()  # as one that was interrupted
        channel.socket.sendall(_RequestFrame(id=next(channel.id_counter), body=question).as_bytes())
        supervisor.asked.wait(20)
        other = threading.Thread(target=supervisor.get, args=("large" * 1_000_000,), daemon=True)
        other.start()
        time.sleep(0.2)
        threading.Timer(1.5, supervisor.may_answer.set).start()
        drop()
        assert [supervisor.get(key) for key in ("first", "second")] == ["first", "second"]
        other.join()


@pytest.fixture
def other_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop of another thread, as libraries have them."""
    with closed_loop() as loop:
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        yield loop
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@pytest.mark.usefixtures("other_loop")
def test_a_channel_that_is_taken_for_a_loop_that_runs_no_more_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever other event loops run."""
    with connected(monkeypatch) as supervisor, closed_loop() as loop:
        lock = supervisor.channel._thread_lock
        lock.acquire()
        with pytest.raises(TimeoutError):
            loop.run_until_complete(asyncio.wait_for(supervisor.channel.asend(GetVariable(key="x")), 0.3))
        late_answers._pass_on(lock)
        lock.release()
        time.sleep(0.3)  # the thread takes it
        assert lock.acquire(timeout=10)
        lock.release()


def test_a_channel_that_is_taken_for_a_loop_that_runs_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, other_loop: asyncio.AbstractEventLoop
) -> None:
    with connected(monkeypatch) as supervisor:
        lock = supervisor.channel._thread_lock
        lock.acquire()
        asks = supervisor.channel.asend(GetVariable(key="later"))
        asked = asyncio.run_coroutine_threadsafe(asks, other_loop)
        time.sleep(0.3)
        late_answers._pass_on(lock)
        lock.release()
        assert asked.result(10).value == "later"
        assert supervisor.get("first") == "first"
