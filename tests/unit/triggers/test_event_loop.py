"""Threads that the waits of an event loop use for blocking calls."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from airflow_cancel_provider.exceptions import ServiceError
from airflow_cancel_provider.triggers import event_loop
from airflow_cancel_provider.triggers.event_loop import in_thread

CALLS = 12
ROOT = Path(__file__).parents[3]


async def meet() -> None:
    """Calls that are all under way at a time."""
    barrier = threading.Barrier(CALLS, timeout=10)
    await asyncio.gather(*(in_thread(barrier.wait) for _ in range(CALLS)))


def test_as_many_threads_as_before_are_left_after_many_calls_at_once() -> None:
    before = set(threading.enumerate())
    asyncio.run(meet())
    until = time.monotonic() + 10
    while (more := set(threading.enumerate()) - before) and time.monotonic() < until:
        time.sleep(0.01)
    assert not more


def test_so_many_calls_are_under_way_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loop, "THREADS_AT_ONCE", CALLS - 1)
    with pytest.raises(threading.BrokenBarrierError):
        asyncio.run(asyncio.wait_for(meet(), 20))


def test_an_error_is_raised_where_the_call_is_awaited() -> None:
    def refuse() -> None:
        raise ServiceError("no", "ListJobs")

    with pytest.raises(ServiceError, match="no"):
        asyncio.run(in_thread(refuse))


HANGS = """
import asyncio, time
from airflow_cancel_provider.triggers.event_loop import in_thread

async def hang():
    call = asyncio.ensure_future(in_thread(time.sleep, 60))
    await asyncio.sleep(0.5)
    call.cancel()

asyncio.run(hang())
"""


def test_a_process_ends_while_a_service_does_not_answer() -> None:
    subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, check=True, timeout=30)
