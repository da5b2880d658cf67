"""One poll for many waits: what keeps thousands of deferred tasks within a service's quotas.

The waits on one cluster or application share their polls. Polls of clusters that are reached over one
connection take turns, in the order in which they were due, and each waits for the quota on the event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TypeVar

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    CancelProviderError,
    ConnectionUnusable,
    ServiceError,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.polls import FULL_EVERY, PollMemory
from airflow_cancel_provider.services.pool import Opener, ServiceKey
from airflow_cancel_provider.triggers.event_loop import PerLoop, Schedule
from airflow_cancel_provider.triggers.shared_service import Demand, Question, SharedService
from airflow_cancel_provider.watch import is_of_scope

T = TypeVar("T")
Key = tuple[str | None, ...]
"""Key of an access, then service, connection and region, then, of a poll, its scope."""

JITTER = 0.1
EARLY = 0.5
"""A wait joins a poll that comes up to this share of its delay early, rather than have one of its own."""
TOLD_TOGETHER = 50
"""Waits that are told what was seen in one turn of the event loop."""
MOST_REQUESTS = 50
"""Requests of one poll: to find the wait with the job that the service does not accept."""


@dataclass(slots=True, eq=False)
class _Wait:
    jobs: Sequence[RemoteJob]
    delay: float
    due: float
    is_fresh: bool
    seen: asyncio.Future[list[JobStatus]]

    @property
    def joins_from(self) -> float:
        return self.due - self.delay * EARLY


class _ScopeWaits:
    """The waits on one scope of one service.

    :param on_rest: called when nobody waits any more.
    """

    def __init__(self, service: SharedService, demand: Demand, on_rest: Callable[[], None]) -> None:
        self._service, self._demand, self._on_rest = service, demand, on_rest
        self._waits: dict[_Wait, None] = {}
        self._schedule: Schedule[_Wait] = Schedule()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_idle(self) -> bool:
        return not self._waits and (self._task is None or self._task.done())

    async def seen(
        self, jobs: Sequence[RemoteJob], delay: float, after: float, *, is_fresh: bool
    ) -> list[JobStatus]:
        loop = asyncio.get_running_loop()
        jittered = after * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  no secret hangs on it
        wait = _Wait(jobs, delay, loop.time() + jittered, is_fresh, loop.create_future())
        self._waits[wait] = None
        self._schedule.add(wait, wait.due)
        if self._task is None or self._task.done():
            # In an empty context: what it logs is not of the trigger that came first.
            self._task = loop.create_task(self._run(), context=Context())
            self._task.add_done_callback(lambda _: self._on_rest())
        try:
            return await wait.seen
        finally:
            self._leave(wait)

    def _leave(self, wait: _Wait) -> None:
        """Take a wait that was cancelled off the list; if it was the last one, the poll ends."""
        self._waits.pop(wait, None)
        if not self._waits:
            self._schedule.wake()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waits:
            if not await self._schedule.wait():
                continue
            # Some that were due have joined an earlier poll, or were cancelled.
            due = [wait.due for wait in self._schedule.due(loop.time()) if wait in self._waits]
            if due:
                await self._poll(due[0])

    async def _poll(self, due: float) -> None:
        self._demand.delay = min(wait.delay for wait in self._waits)
        self._demand.due = due
        ready: list[_Wait] = []

        def question() -> Question:
            # Only now that it is this poll's turn: more waits may have come to be due.
            ready.extend(self._take())
            return _question(ready)

        seen = await self._seen(question)
        # Where the service could not even be opened, nobody has asked.
        groups = [ready or self._take()]
        for requests in count(1):
            waits = [wait for wait in groups.pop() if not wait.seen.done()]
            if isinstance(seen, ServiceError) and len(waits) > 1 and not _concerns_all(seen):
                # It may be about the jobs of one wait, which must not disturb the others.
                middle = len(waits) // 2
                groups += [waits[middle:], waits[:middle]]
            else:
                await _tell(waits, seen)
            if not groups:
                return
            asked = partial(_question, groups[-1])
            seen = await self._seen(asked) if requests < MOST_REQUESTS else _TOO_MANY

    def _take(self) -> list[_Wait]:
        """Take those off the list that are due, and those that can as well be told now."""
        now = asyncio.get_running_loop().time()
        ready = [wait for wait in self._waits if wait.joins_from <= now]
        self._demand.memory.keep({job.id for wait in self._waits for job in wait.jobs})
        for wait in ready:
            del self._waits[wait]
        return ready

    async def _seen(
        self, question: Callable[[], Question]
    ) -> dict[RemoteJob, JobStatus] | CancelProviderError:
        try:
            statuses = await self._service.poll(self._demand, question)
        except CancelProviderError as error:
            return error
        except Exception as error:  # noqa: BLE001  a fault of ours; each wait raises it where it is awaited
            return ServiceError(f"Polling {self._demand.scope or 'jobs'} failed: {error!r}.")
        return {status.job: status for status in statuses}


def _question(waits: Sequence[_Wait]) -> Question:
    waits = [wait for wait in waits if not wait.seen.done()]
    jobs = dict.fromkeys(job for wait in waits for job in wait.jobs)
    return list(jobs), {job for wait in waits if wait.is_fresh for job in wait.jobs}


_TOO_MANY = ServiceUnavailable(
    "The service refuses to show too many of the jobs that are asked for together."
)


def _concerns_all(error: ServiceError) -> bool:
    """Whether the same would be said of each job of the scope: to ask for each would only cost."""
    return isinstance(error, (AccessDenied, ConnectionUnusable, ServiceUnavailable, UnknownScope))


async def _tell(waits: Sequence[_Wait], seen: Mapping[RemoteJob, JobStatus] | CancelProviderError) -> None:
    """Tell waits what was seen, a few in each turn of the event loop: each then has something to do."""
    for number, wait in enumerate(waits, 1):
        _tell_one(wait, seen)
        if number % TOLD_TOGETHER == 0:
            await asyncio.sleep(0)


def _tell_one(wait: _Wait, seen: Mapping[RemoteJob, JobStatus] | CancelProviderError) -> None:
    if wait.seen.done():
        return
    if isinstance(seen, CancelProviderError):
        wait.seen.set_exception(seen)
        return
    missing = [job for job in wait.jobs if job not in seen]
    if missing:
        wait.seen.set_exception(ServiceUnavailable(f"A poll said nothing of {', '.join(missing)}."))
    else:
        wait.seen.set_result([seen[job] for job in wait.jobs])


Seen = tuple[list[JobStatus], dict[RemoteJob, Exception]]


async def _all(polls: Sequence[Awaitable[T]]) -> list[T | BaseException]:
    """Results, or errors, of all polls."""
    if len(polls) > 1:
        return await asyncio.gather(*polls, return_exceptions=True)
    # Mostly there is one; thousands of them are to take no task each.
    try:
        return [await polls[0]]
    except CancelProviderError as error:
        return [error]


class SharedWaits:
    """The polls in which one trigger takes part."""

    def __init__(self, board: Board, access_key: str) -> None:
        self._board, self._access_key = board, access_key

    async def poll(
        self,
        jobs: Sequence[RemoteJob],
        delay: float,
        *,
        after: float | None = None,
        is_fresh: bool = False,
    ) -> Seen:
        """State of jobs, at the next shared poll in about ``delay`` seconds; later where the quota forces it.

        :param after: seconds to this poll, where these are not the seconds between two polls.
        :param is_fresh: the jobs must not be reported as last seen.
        :return: states, and the errors for jobs of clusters and applications that are unknown or denied.
        :raises ServiceError: as :meth:`JobService.describe`.
        :raises InvalidInput: a connection is unusable.
        """
        groups: dict[Key, list[RemoteJob]] = {}
        for job in jobs:
            groups.setdefault((self._access_key, *job.service_key, job.scope), []).append(job)
        after = delay if after is None else after
        polls = [
            self._board.waits(key).seen(some, delay, after, is_fresh=is_fresh) for key, some in groups.items()
        ]
        found: list[JobStatus] = []
        errors: dict[RemoteJob, Exception] = {}
        answers = await _all(polls)
        for some, seen in zip(groups.values(), answers, strict=True):
            if isinstance(seen, UnknownScope) or (isinstance(seen, Exception) and is_of_scope(seen)):
                errors |= dict.fromkeys(some, seen)
            elif isinstance(seen, BaseException):
                raise seen
            else:
                found += seen
        return found, errors


class Board(PerLoop):
    """The polls of one event loop, and the services for them, each kept for as long as somebody needs it."""

    def __init__(self) -> None:
        super().__init__()
        self._services: dict[Key, SharedService] = {}
        self._waits_on: dict[Key, _ScopeWaits] = {}
        self._attended: Counter[Key] = Counter()

    @contextmanager
    def attended(self, access: Access, service_keys: Iterable[ServiceKey]) -> Iterator[SharedWaits]:
        """Take part in the polls of these services."""
        access_key = access.key
        keys = {(access_key, *service_key): service_key for service_key in service_keys}
        self._attended.update(keys.keys())
        for key, service_key in keys.items():
            if key not in self._services:
                self._services[key] = SharedService(access, service_key)
        try:
            yield SharedWaits(self, access_key)
        finally:
            self._attended.subtract(keys.keys())
            for key in keys:
                if self._attended[key] <= 0:
                    del self._attended[key], self._services[key]

    def waits(self, key: Key) -> _ScopeWaits:
        """The waits on a scope."""
        if key not in self._waits_on:
            service, scope = self._services[key[:-1]], key[-1]
            memory = PollMemory(offset=len(service.demands) % FULL_EVERY)
            demand = service.demands[scope] = Demand(scope, memory)

            def rest() -> None:
                if waits.is_idle:
                    del self._waits_on[key], service.demands[scope]

            waits = self._waits_on[key] = _ScopeWaits(service, demand, rest)
        return self._waits_on[key]

    def labelled(self, access: Access, jobs: Iterable[RemoteJob]) -> dict[RemoteJob, JobStatus]:
        """Those of jobs that polls here have seen alive with their label, as last seen."""
        access_key = access.key
        found: dict[RemoteJob, JobStatus] = {}
        for job in jobs:
            service = self._services.get((access_key, *job.service_key))
            demand = service.demands.get(job.scope) if service else None
            status = demand.memory.seen.get(job.id) if demand else None
            if status is not None and status.label is not None:
                found[job] = replace(status, job=job)
        return found

    def holds_back(self, key: Key) -> bool:
        """Whether calls of cancels wait for the quota of a service; as :meth:`is_open`."""
        service = self._services.get(key)
        return service is not None and service.opened is not None and service.opened.meter.holds_back

    def is_open(self, key: Key) -> bool:
        """Whether a service is open, by the key of the access and its own."""
        service = self._services.get(key)
        return service is not None and service.opened is not None

    async def open(self, key: Key) -> None:
        """Open a service that is attended to, if it is not open."""
        if service := self._services.get(key):
            await service.open()

    def opener(self, access: Access) -> Opener:
        """Gives services as they are open here; opens them anew, for all, for who had them, or if refused."""
        access_key = access.key
        here = {key[1:]: service for key, service in self._services.items() if key[0] == access_key}
        given: dict[ServiceKey, JobService] = {}

        def opened(*key: *ServiceKey) -> JobService:
            shared = here.get(key)
            service = shared.opened if shared else None
            if service is None or service is given.get(key) or service.identity_refused:
                service = access.service(*key)
                if shared:
                    shared.opened = service
            given[key] = service
            return service

        return opened
