"""A kill at any place of a request to Airflow: the channel goes on, with the right answers."""

from __future__ import annotations

import inspect
import threading
from asyncio import base_events, events, locks, selector_events, threads
from asyncio.futures import _chain_future, wrap_future  # type: ignore[attr-defined]
from collections.abc import Callable
from concurrent.futures.thread import ThreadPoolExecutor
from types import CodeType
from typing import Any

import pytest
from airflow.sdk.execution_time.comms import CommsDecoder, GetVariable

from airflow_cancel_provider.guard.signals import Interruption
from tests.strikes import Striker
from tests.supervisor_fixtures import SLOW, Supervisor, closed_loop, connected, of_event_loops, runner

pytestmark = of_event_loops


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
        *(getattr(CommsDecoder, name, closed_loop) for name in ("send", "asend", "_read_frame")),
        Supervisor.get,
        base_events.BaseEventLoop.run_in_executor,
        events.Handle._run,
        selector_events.BaseSelectorEventLoop.sock_sendall,
        locks.Lock.acquire,
        locks.Lock.release,
        threads.to_thread,
        wrap_future,
        ThreadPoolExecutor.submit,
        ThreadPoolExecutor._adjust_thread_count,
    )
} | {each for each in code(_chain_future).co_consts if isinstance(each, CodeType)}


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("is_used", [False, True], ids=["free", "used by another thread"])
@pytest.mark.parametrize("ask, event_loop", [(in_thread, None), (in_loop, closed_loop), (in_loop, runner)])
def test_a_kill_at_any_place_of_a_request(
    ask: Callable[..., None], event_loop: Any, monkeypatch: pytest.MonkeyPatch, *, is_used: bool
) -> None:
    number, missed, struck = 0, 0, set[str]()
    # Python 3.13 does not trace all of them at the first time.
    while missed < 2:
        number += 1
        striker = Striker(number, PLACES, unless=Interruption().must_wait)
        with connected(monkeypatch) as supervisor:
            other = threading.Thread(target=supervisor.get, args=(SLOW,))
            if is_used:
                other.start()
                supervisor.asked.wait(20)
            answering = threading.Timer(0.05, supervisor.may_answer.set)
            answering.start()
            striker.run(lambda: ask(event_loop, supervisor, "later" if is_used else SLOW))
            answers = [supervisor.get(key) for key in ("first", "second")]
            assert answers == ["first", "second"], striker.place
            assert not striker.was_caught, striker.place
            answering.join()
            if is_used:
                other.join()
        missed = 0 if striker.has_come else missed + 1
        struck.add(striker.place)
    print(f"{number} places, of them {sorted(struck)}")
    assert number > 5
    assert len(struck) > 1
