"""One service over one connection, for all waits of an event loop: opened once, and polled in turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

from airflow_cancel_provider.exceptions import AccessDenied
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.polls import PollMemory
from airflow_cancel_provider.services.pool import ServiceKey
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.triggers.event_loop import PerLoop, in_thread

log = logging.getLogger(__name__)

POLL_PATIENCE = Patience(seconds=10)
"""A poll that is not answered is made again at the next one."""
POLLS_AT_ONCE = 2
"""Polls over one connection that are under way at a time; one may be at a cluster that does not answer."""
SHORT = 0.5
"""Polls leave out what has not changed where full ones would use more than this share of the quota."""
MOST_PAID = 20
"""Calls of a look for which it waits on the event loop; for the others it waits in its thread."""
AT_ONCE = 0.05
"""Seconds: who gets his turn so soon did not wait for the quota."""
CHANGED = 2.0
"""Factor by which a period differs from the one that was logged last, to be logged."""


class _Threads(PerLoop):
    """How many polls may wait for a quota in a thread: nobody else can use it meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = asyncio.Semaphore(2)


Question = tuple[list[RemoteJob], set[RemoteJob]]
"""Jobs to poll, and those of them that must not be reported as last seen."""


@dataclass(slots=True, eq=False)
class Demand:
    """The polls that are wanted at one cluster or application.

    :param delay: seconds from one poll to the next that somebody asks for.
    :param due: when the next one is due, in the loop's time.
    """

    scope: str | None
    memory: PollMemory = field(default_factory=PollMemory)
    delay: float = 1.0
    due: float = 0.0


class SharedService:
    """One service over one access, connection and region.

    :ivar demands: by scope.
    :ivar opened: the service, once it is open.
    """

    def __init__(self, access: Access, service_key: ServiceKey) -> None:
        self.demands: dict[str | None, Demand] = {}
        self.opened: JobService | None = None
        self._access, self._service_key = access, service_key
        self._opening = asyncio.Lock()
        self._turns = asyncio.Semaphore(POLLS_AT_ONCE)
        self._told: float | None = None
        """The period that was logged last."""

    async def open(self) -> JobService:
        """The service, opened at the first call.

        :raises CancelProviderError: as :meth:`Access.service`.
        """
        async with self._opening:
            if self.opened is None:
                self.opened = await in_thread(self._access.service, *self._service_key)
            return self.opened

    async def poll(self, demand: Demand, question: Callable[[], Question]) -> list[JobStatus]:
        """Poll when it is this poll's turn; once more with fresh credentials where they are refused.

        Clusters and applications take turns in the order in which they come.

        :param question: what is to be polled; called when it is this poll's turn.
        """
        async with self._turns:
            opened = await self.open()
            service = await self._turn(demand, opened)
            if self.opened is not opened:
                # Others have opened it anew meanwhile.
                service.meter.give_back()
                service = await self._turn(demand, await self.open(), at_once=True)
            asked = question()
            try:
                return await self._poll(demand, service, asked)
            except AccessDenied:
                # A connection may have been mended since the client was made; and since another poll has
                # opened it anew, too.
                self.opened = None
                service = await self._turn(demand, await self.open(), at_once=True)
                return await self._poll(demand, service, asked)

    async def _turn(self, demand: Demand, opened: JobService, *, at_once: bool = False) -> JobService:
        """The service, once the quota lets this poll go.

        :param at_once: the poll had its turn. To wait once more may take longer than credentials are valid.
        """
        loop = asyncio.get_running_loop()
        came = loop.time()
        service = await opened.poll_turn(min(demand.memory.calls, MOST_PAID), at_once=at_once)
        if loop.time() - came > AT_ONCE:
            self._tell_period(opened, demand, loop.time())
        return service.with_patience(POLL_PATIENCE)

    async def _poll(self, demand: Demand, service: JobService, question: Question) -> list[JobStatus]:
        (jobs, fresh), memory = question, demand.memory
        if not jobs:
            service.meter.give_back()
            return []
        is_short = self._is_short(service)
        may_wait = _Threads.here().waiting if memory.calls > MOST_PAID else nullcontext()
        try:
            async with may_wait:
                return await in_thread(service.poll, jobs, memory, fresh=fresh, may_leave_out=is_short)
        finally:
            service.meter.give_back()

    def _is_short(self, service: JobService) -> bool:
        """Whether the quota is too small for full polls everywhere within the delays asked for."""
        demanded = sum(demand.memory.full_calls / demand.delay for demand in self.demands.values())
        return demanded > SHORT * service.poll_rate

    def _tell_period(self, service: JobService, demand: Demand, now: float) -> None:
        """Log that the quota makes polls rarer than asked for: once, and when that changes."""
        told, period = self._told or demand.delay, demand.delay + max(0.0, now - demand.due)
        if max(period / told, told / period) < CHANGED:
            return
        self._told = period
        log.warning(
            "The quota of %s (%s, %.3g calls a minute) stretches the poll from %.3g s to %.3g s.",
            *(service.name, service.poll_operation, service.poll_rate * 60, demand.delay, period),
        )
