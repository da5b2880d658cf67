"""A kill at any place of a request to Airflow: the channel goes on, with the right answers."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import weakref
from asyncio import base_events, locks, selector_events, threads
from asyncio.futures import wrap_future
from collections.abc import Callable, Iterator
from concurrent.futures.thread import ThreadPoolExecutor
from contextlib import closing, contextmanager
from types import CodeType
from typing import Any
from uuid import uuid4

import lazy_object_proxy
import pytest
from airflow.sdk.execution_time.comms import CommsDecoder, GetVariable

from airflow_cancel_provider.guard import late_answers
from airflow_cancel_provider.guard.late_answers import LateAnswers
from tests.strikes import Striker
from tests.supervisor_fixtures import SLOW, Supervisor, connected, supervisor

__all__ = ["supervisor"]
pytestmark = pytest.mark.skipif(
    not hasattr(CommsDecoder, "asend"), reason="an event loop may ask from Airflow 3.2 on"
)


def drop() -> None:
    """Have the answers in order, as the guard does after a kill."""
    late = LateAnswers(uuid4(), lambda: True, logging.getLogger("task"))
    late.may_come = True
    late.drop()


@contextmanager
def closed_loop() -> Iterator[asyncio.AbstractEventLoop]:
    with closing(asyncio.new_event_loop()) as loop:
        yield loop


@contextmanager
def runner() -> Iterator[asyncio.AbstractEventLoop]:
    """As ``asyncio.run`` does: it cancels what the loop has begun, and waits for the threads of its pool."""
    with asyncio.Runner() as one:
        yield one.get_loop()


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
@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("is_used", [False, True], ids=["free", "used by another thread"])
@pytest.mark.parametrize("ask, event_loop", [(in_thread, None), (in_loop, closed_loop), (in_loop, runner)])
def test_a_kill_at_any_place_of_a_request(
    ask: Callable[..., None], event_loop: Any, monkeypatch: pytest.MonkeyPatch, every: int, *, is_used: bool
) -> None:
    monkeypatch.setattr(late_answers, "TRIED_SECONDS", 0.05)
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


def test_what_airflow_has_not_evaluated_yet_stays_so(supervisor: Supervisor) -> None:
    """A task's context has proxies that ask Airflow; so does any code that looks at their class."""
    evaluated: list[str] = []

    class Known:
        pass

    known = Known()
    proxies = [lazy_object_proxy.Proxy(lambda: evaluated.append("asks")), weakref.proxy(known)]
    del known

    async def ask() -> None:
        await supervisor.channel.asend(GetVariable(key=SLOW))

    async def interrupted() -> None:
        asked = asyncio.ensure_future(ask())
        while not supervisor.asked.is_set():  # noqa: ASYNC110  a thread sets it
            await asyncio.sleep(0.01)
        begun.append(asked)
        raise ValueError("as a kill")

    begun: list[Any] = []
    loop = asyncio.new_event_loop()
    with pytest.raises(ValueError, match="as a kill"):
        loop.run_until_complete(interrupted())
    supervisor.may_answer.set()
    drop()
    assert [supervisor.get(key) for key in ("first", "second")] == ["first", "second"]
    assert not evaluated
    assert len(proxies) == 2
    loop.close()
