"""What the waits of one event loop share: threads for blocking calls, and an order of who is due."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from functools import partial
from itertools import count
from threading import Thread
from typing import Any, ClassVar, Generic, ParamSpec, Self, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from airflow_cancel_provider.services.threads import fulfil

P = ParamSpec("P")
T = TypeVar("T")

THREADS_AT_ONCE = 256
"""Many, as some may wait for a service that does not answer."""
REQUESTS_AT_ONCE = 2
"""While one is answered, the next one is on its way."""
LONGEST_TURN = 5.0
"""Seconds after which others ask beside a request: the storage of an XCom backend may be slow. In a storm, on
a busy machine, a request has taken a second."""


class PerLoop:
    """What there is one of in each event loop, with what it does there in the background."""

    _all: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[type, Any]]] = WeakKeyDictionary()

    @classmethod
    def here(cls) -> Self:
        """That of the running loop."""
        made = cls._all.setdefault(asyncio.get_running_loop(), {})
        if cls not in made:
            made[cls] = cls()
        found: Self = made[cls]
        return found

    def __init__(self) -> None:
        self._begun: set[asyncio.Task[None]] = set()
        """The event loop itself keeps no task alive."""

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work in the background, in an empty context: what it logs is not of the trigger at work here."""
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)


class _ThreadOfItsOwn(Executor):
    """Makes each call in a new thread, which ends with it. A pool would keep as many as it once needed.

    The process does not wait for them when it ends, as it does for those of a pool.
    """

    def submit(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Start a thread.

        :raises RuntimeError: a limit of threads is reached.
        """
        future: Future[T] = Future()
        work = partial(fulfil, future, function, *args, **kwargs)
        Thread(target=work, name="remote-jobs", daemon=True).start()
        return future


class _BlockingCalls(PerLoop):
    """The threads of blocking calls.

    Not the loop's own few: a service that does not answer must not take them from other triggers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Semaphore(THREADS_AT_ONCE)
        # asgiref names a pool in its annotation; it needs no more than an executor.
        self.executor: Any = _ThreadOfItsOwn()


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking code off the event loop.

    Not ``asyncio.to_thread``: hooks ask the triggerer for their connection, and its channel takes such
    requests only from asgiref's threads.
    """
    threads = _BlockingCalls.here()
    async with threads.free:
        work = sync_to_async(function, thread_sensitive=False, executor=threads.executor)
        return await work(*args, **kwargs)


class Turns(PerLoop):
    """What only so many do at a time, unless it takes long."""

    at_once = 1

    def __init__(self) -> None:
        super().__init__()
        self._turns = asyncio.Semaphore(self.at_once)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it for :data:`LONGEST_TURN` seconds at most."""
        await self._turns.acquire()
        held = [self._turns]
        timer = asyncio.get_running_loop().call_later(LONGEST_TURN, lambda: held.pop().release())
        try:
            yield
        finally:
            timer.cancel()
            for each in held:
                each.release()


class AirflowRequests(Turns):
    """The way to Airflow, which is narrow: a triggerer answers one request in each turn of its supervisor.

    With thousands of triggers a turn takes a tenth of a second or more. What the triggerer itself has to tell
    waits in the same queue: events, new triggers, ended ones. So a storm of kills must not fill it.
    """

    at_once = REQUESTS_AT_ONCE


async def ask_airflow(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run code in a thread that asks the triggerer's supervisor, when it is its turn."""
    async with AirflowRequests.here().turn():
        return await in_thread(function, *args, **kwargs)


class Schedule(Generic[T]):
    """Items, each due at a time of the running loop. To add one costs little, also among thousands."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = count()
        self._changed = asyncio.Event()

    def add(self, item: T, due: float) -> None:
        """Have an item come up at ``due``."""
        heapq.heappush(self._heap, (due, next(self._numbers), item))
        if self._heap[0][-1] is item:
            self._changed.set()

    def wake(self) -> None:
        """Let who waits look around."""
        self._changed.set()

    async def wait(self) -> bool:
        """Wait until the first item is due, or somebody calls :meth:`wake`; whether one is due."""
        self._changed.clear()
        pause = self._heap[0][0] - asyncio.get_running_loop().time() if self._heap else None
        if pause is None or pause > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)
            return False
        return True

    def due(self, until: float) -> Iterator[T]:
        """Take off what is due by then, in order."""
        while self._heap and self._heap[0][0] <= until:
            yield heapq.heappop(self._heap)[-1]
