"""Triggers that were told to end before it was clear why: Airflow is asked again until it is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass

from airflow_cancel_provider.task_log import Log
from airflow_cancel_provider.triggers.event_loop import PerLoop, Schedule
from airflow_cancel_provider.triggers.ownership import DeferredStanding, DeferredTry, Verdict, ask

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 15.0
GROWTH = 1.5
TOGETHER = 1.0
"""Seconds: who is due so soon is asked about, too."""
PATIENCE = 24 * 3600.0
"""Seconds: a task may stay queued for as long as its pool is full."""
MOST = 10_000
"""Waits: a bound to what a triggerer holds in memory."""


@dataclass(slots=True, eq=False)
class _Wait:
    deferred: DeferredTry
    settle: Callable[[DeferredStanding], Awaitable[None]]
    jobs: str
    log: Log
    given_up_at: float
    pause: float = FIRST_PAUSE


class Rechecks(PerLoop):
    """The tries of one event loop about which Airflow has to be asked again.

    One task asks for all of them, one request at a time: a triggerer has one channel to Airflow, and its
    triggers need it, too. A restart of the triggerer forgets them; the reaper does not.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waits: dict[_Wait, None] = {}
        self._schedule: Schedule[_Wait] = Schedule()
        self._asking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waits)

    def add(
        self,
        deferred: DeferredTry,
        settle: Callable[[DeferredStanding], Awaitable[None]],
        jobs: str,
        log: Log,
    ) -> None:
        """Ask again and again, and then settle it.

        :param settle: told how the try stands, as soon as that is clear.
        :param jobs: for the log.
        """
        if len(self._waits) >= MOST:
            log.error("Too many tasks are unclear at once; jobs of %s may run on: %s", deferred, jobs)
            return
        words = "It is not clear yet whether %s is over. Airflow is asked again; if it is over, cancelled: %s"
        log.info(words, deferred, jobs)
        loop = asyncio.get_running_loop()
        now = loop.time()
        wait = _Wait(deferred, settle, jobs, log, now + PATIENCE)
        self._waits[wait] = None
        self._schedule.add(wait, now + FIRST_PAUSE)
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask_on(), context=Context())

    async def _ask_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waits:
            if await self._schedule.wait():
                for some in self._due(loop.time() + TOGETHER):
                    await self._ask_about(some)

    def _due(self, at: float) -> list[list[_Wait]]:
        """Those whose turn it is, task by task."""
        tasks: dict[tuple[str, str], list[_Wait]] = {}
        for wait in self._schedule.due(at):
            tasks.setdefault((wait.deferred.task.dag_id, wait.deferred.task.task_id), []).append(wait)
        return list(tasks.values())

    async def _ask_about(self, some: Sequence[_Wait]) -> None:
        standings = await ask([wait.deferred for wait in some])
        now = asyncio.get_running_loop().time()
        for wait in some:
            standing = standings[wait.deferred]
            if standing.verdict is not Verdict.UNCLEAR:
                self._settle(wait, standing)
            elif now > wait.given_up_at:
                del self._waits[wait]
                trouble = f" Airflow did not say: {standing.trouble}." if standing.trouble else ""
                words = "Whether %s is over was not clear for a day.%s Its jobs are left alone: %s"
                wait.log.error(words, wait.deferred, trouble, wait.jobs)
            else:
                wait.pause = min(wait.pause * GROWTH, LONGEST_PAUSE)
                jitter = random.uniform(0.9, 1.1)  # noqa: S311  no secret hangs on it
                self._schedule.add(wait, now + wait.pause * jitter)

    def _settle(self, wait: _Wait, standing: DeferredStanding) -> None:
        del self._waits[wait]
        self.begin(_settled(wait, standing))


async def _settled(wait: _Wait, standing: DeferredStanding) -> None:
    try:
        await wait.settle(standing)
    except Exception as error:  # noqa: BLE001  one of many; whatever it was, nobody else will say it
        wait.log.error("Jobs of %s may run on: %s: %r", wait.deferred, wait.jobs, error)  # noqa: TRY400
