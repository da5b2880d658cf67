"""One poll for many waits: what keeps a thousand deferred tasks within a service's quotas."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, ParamSpec, Self, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    CancelProviderError,
    ConnectionUnusable,
    ServiceError,
    ServiceUnavailable,
)
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.retry import Patience

P = ParamSpec("P")
T = TypeVar("T")
Key = tuple[str | None, ...]

# Not the loop's own few threads: a service that does not answer must not take them from other triggers.
_THREADS = ThreadPoolExecutor(32, thread_name_prefix="remote-jobs")
POLL_PATIENCE = Patience(seconds=10)
"""A poll that is not answered is made again at the next one."""

JITTER = 0.1
EARLY = 0.5
"""A wait joins a poll that comes up to this share of its delay early, rather than have one of its own."""


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run blocking code off the event loop.

    Not ``asyncio.to_thread``: hooks ask the triggerer for their connection, and its channel takes such
    requests only from asgiref's threads.
    """
    return await sync_to_async(function, thread_sensitive=False, executor=_THREADS)(*args, **kwargs)


@dataclass(slots=True, eq=False)
class _Wait:
    jobs: Sequence[RemoteJob]
    delay: float
    due: float
    seen: asyncio.Future[list[JobStatus]]


class _ServiceWaits:
    """One service over one access, connection and region: its client, and its rate limit."""

    def __init__(self, access: Access, job: RemoteJob) -> None:
        self._access, self._job = access, job
        self._service: JobService | None = None
        self._opening = asyncio.Lock()

    async def describe(self, jobs: Sequence[RemoteJob]) -> list[JobStatus]:
        """Look, in the service's own time; once more with fresh credentials where they are refused."""
        try:
            return await self._look(jobs)
        except AccessDenied:
            # A connection may have been mended since the client was made.
            self._service = None
            return await self._look(jobs)

    async def _look(self, jobs: Sequence[RemoteJob]) -> list[JobStatus]:
        opened = await self._open()
        service = await opened.look_turn()
        return await in_thread(service.describe, jobs)

    async def _open(self) -> JobService:
        async with self._opening:
            if self._service is None:
                job = self._job
                opened = await in_thread(self._access.service, *job.service_key)
                self._service = opened.with_patience(POLL_PATIENCE)
            return self._service


class _Poller:
    """The waits on one scope of one service.

    :param on_rest: called when nobody waits any more.
    """

    def __init__(self, service: _ServiceWaits, on_rest: Callable[[], None]) -> None:
        self.service = service
        self._on_rest = on_rest
        self._waits: list[_Wait] = []
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        return not self._waits and (self._task is None or self._task.done())

    async def look(self, jobs: Sequence[RemoteJob], delay: float) -> list[JobStatus]:
        loop = asyncio.get_running_loop()
        jittered = delay * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  no secret hangs on it
        wait = _Wait(jobs, delay, loop.time() + jittered, loop.create_future())
        self._waits.append(wait)
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())
            self._task.add_done_callback(lambda _: self._on_rest())
        try:
            return await wait.seen
        finally:
            self._leave(wait)

    def _leave(self, wait: _Wait) -> None:
        """Take a wait that was cancelled off the list, and wake up to see who is left."""
        if wait in self._waits:
            self._waits.remove(wait)
            self._changed.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waits:
            self._changed.clear()
            pause = min(wait.due for wait in self._waits) - loop.time()
            if pause > 0:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), pause)
                continue
            await self._poll(loop.time())

    async def _poll(self, now: float) -> None:
        ready = [wait for wait in self._waits if wait.due - now <= wait.delay * EARLY]
        self._waits = [wait for wait in self._waits if wait not in ready]
        ready = [wait for wait in ready if not wait.seen.done()]
        jobs = list(dict.fromkeys(job for wait in ready for job in wait.jobs))
        if not jobs:
            return
        seen = await self._seen(jobs)
        if isinstance(seen, ServiceError) and len(ready) > 1 and not _concerns_all(seen):
            # It may be about the jobs of one wait, which must not disturb the others.
            for wait in ready:
                _tell(wait, await self._seen(list(wait.jobs)))
            return
        for wait in ready:
            _tell(wait, seen)

    async def _seen(self, jobs: list[RemoteJob]) -> dict[RemoteJob, JobStatus] | CancelProviderError:
        try:
            return {status.job: status for status in await self.service.describe(jobs)}
        except CancelProviderError as error:
            return error
        except Exception as error:  # noqa: BLE001  a fault of ours; each wait raises it where it is awaited
            return ServiceError(f"Looking at {jobs[0]} and {len(jobs) - 1} others failed: {error!r}.")


def _concerns_all(error: ServiceError) -> bool:
    """Whether the same would be said of each job: to ask for each would only cost."""
    return isinstance(error, (AccessDenied, ConnectionUnusable, ServiceUnavailable))


def _tell(wait: _Wait, seen: dict[RemoteJob, JobStatus] | CancelProviderError) -> None:
    if wait.seen.done():
        return
    if isinstance(seen, CancelProviderError):
        wait.seen.set_exception(seen)
        return
    missing = [job for job in wait.jobs if job not in seen]
    if missing:
        wait.seen.set_exception(ServiceUnavailable(f"A look said nothing of {', '.join(missing)}."))
    else:
        wait.seen.set_result([seen[job] for job in wait.jobs])


class PerLoop:
    """What there is one of in each event loop."""

    _all: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[type, Any]]] = WeakKeyDictionary()

    @classmethod
    def here(cls) -> Self:
        """That of the running loop."""
        made = cls._all.setdefault(asyncio.get_running_loop(), {})
        if cls not in made:
            made[cls] = cls()
        found: Self = made[cls]
        return found


class Board(PerLoop):
    """The polls of one event loop. A client lives for as long as somebody attends to its jobs."""

    def __init__(self) -> None:
        self._services: dict[Key, _ServiceWaits] = {}
        self._pollers: dict[Key, _Poller] = {}
        self._attended: Counter[Key] = Counter()

    async def look(self, access: Access, jobs: Sequence[RemoteJob], delay: float) -> list[JobStatus]:
        """State of jobs, at the next shared poll in about ``delay`` seconds.

        :raises ServiceError: as :meth:`JobService.describe`.
        :raises InvalidInput: a connection is unusable.
        """
        groups: dict[Key, list[RemoteJob]] = {}
        for job in jobs:
            groups.setdefault((*_service_key(access, job), job.scope), []).append(job)
        looks = [self._poller(access, key, some[0]).look(some, delay) for key, some in groups.items()]
        return [status for statuses in await asyncio.gather(*looks) for status in statuses]

    @contextmanager
    def attended(self, access: Access, jobs: Sequence[RemoteJob]) -> Iterator[None]:
        """Keep the clients for these jobs, and their pace, from one look to the next."""
        keys = {_service_key(access, job) for job in jobs}
        self._attended.update(keys)
        try:
            yield
        finally:
            self._attended.subtract(keys)
            self._tidy()

    def _poller(self, access: Access, key: Key, job: RemoteJob) -> _Poller:
        service_key = key[:-1]
        if service_key not in self._services:
            self._services[service_key] = _ServiceWaits(access, job)
        if key not in self._pollers:
            self._pollers[key] = _Poller(self._services[service_key], self._tidy)
        return self._pollers[key]

    def _tidy(self) -> None:
        self._pollers = {key: poller for key, poller in self._pollers.items() if not poller.is_idle}
        self._attended = +self._attended
        used = {key[:-1] for key in self._pollers} | set(self._attended)
        self._services = {key: service for key, service in self._services.items() if key in used}


def _service_key(access: Access, job: RemoteJob) -> Key:
    return (access.key, *job.service_key)
