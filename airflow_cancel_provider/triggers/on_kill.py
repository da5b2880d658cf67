"""Cancel what a deferred task left behind when it was killed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_cancel_provider.ends_on_record import ends_seen, write_over_supervisor
from airflow_cancel_provider.engine.cancel import CancelEngine
from airflow_cancel_provider.engine.recorded import CancelRequest, by_service, cancel_over_connections
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.metrics import Layer, send_cancel, stats_of_server
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import Actor
from airflow_cancel_provider.task_log import Log, PrefixedLog, TaskLogger
from airflow_cancel_provider.triggers.event_loop import PerLoop, in_thread
from airflow_cancel_provider.triggers.ownership import (
    DeferredStanding,
    DeferredTry,
    Verdict,
    ask,
    undisturbed,
    without_released,
)
from airflow_cancel_provider.triggers.poller import Board
from airflow_cancel_provider.triggers.recheck import Rechecks

log = logging.getLogger(__name__)
REASON = "Task was ended by Airflow while it was deferred"
"""Why, for people."""
TOGETHER = 0.2
"""Seconds in which kills are gathered: hundreds of tasks may be marked with one click."""
CALL_SECONDS = 8.0
"""Patience of one round of calls: Airflow gives ``on_kill`` 30 seconds."""
ESCALATE_AFTER = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0
PATIENCE = 900.0
"""Seconds for the rest: repeat what was not answered, escalate, see the end."""


async def nothing_more() -> None:
    """Whoever has no part of his own in a kill."""


@dataclass(frozen=True, eq=False)
class KilledTrigger:
    """A trigger that was told to end, and what is to be done if its task is dead.

    :param requests: the jobs.
    :param access: how to reach their services.
    :param deployment: this Airflow's name in labels.
    :param then: what else is to be done if the task is dead.
    :param since: when it was told, in epoch seconds.
    """

    deferred: DeferredTry
    requests: Sequence[CancelRequest]
    log: Log
    access: Access
    deployment: str = ""
    then: Callable[[], Awaitable[None]] = nothing_more
    since: float = field(default_factory=time.time)

    async def settle(self, standing: DeferredStanding) -> None:
        """Do what is right for a try that stands so, now that it is clear."""
        if standing.verdict is not Verdict.DEAD:
            words = "%s goes on elsewhere or has succeeded, as far as Airflow tells; left running: %s"
            self.log.info(words, self.deferred, self.jobs)
            return
        self.log.info(
            "%s was ended by Airflow while it was deferred: cancelling %s.", self.deferred, self.jobs
        )
        # What the deferred try itself has released is among what is kept.
        heeded = [
            await in_thread(without_released, each)
            if each.record and each.record.ti_id != self.deferred.ti_id
            else each
            for each in self.requests
        ]
        requests = [each.without(standing.kept, is_followed=standing.is_followed) for each in heeded]
        gathered = GatheredRequests(tuple(requests), self.deferred.task, self.since)
        await GatheredCancels.here().request(gathered, self.access, self.deployment)
        try:
            await self.then()
        except Exception as error:  # noqa: BLE001  the operator's own; the jobs were seen to
            # Most say that the job is cancelled already: it is no error for those who read the task's log.
            self.log.warning(
                "on_kill of the operator's own trigger failed; the guard had requested the cancel before: %r",
                error,
            )

    @property
    def jobs(self) -> str:
        """Their addresses."""
        jobs = [str(job) for request in self.requests for job in request.jobs]
        intents = [intent for request in self.requests for intent in request.intents]
        return ", ".join([*jobs, *(f"those of {each.service} in {each.scope}" for each in intents)])


class InContext(PrefixedLog):
    """The log of a try, from any thread: a triggerer keeps apart by contexts what its triggers log."""

    def __init__(self, log: TaskLogger) -> None:
        super().__init__(log)
        self._context = copy_context()

    def _write(self, write: Callable[..., Any], message: str, args: tuple[Any, ...]) -> None:
        self._context.copy().run(super()._write, write, message, args)


async def cancel_if_dead(killed: KilledTrigger) -> None:
    """Cancel the jobs of a trigger that was told to end if the try of its task is over.

    Returns when the end of the jobs was requested, or when it is clear that they are to be left alone; where
    neither is clear yet, Airflow is asked again in the background. May be cancelled again and again while it
    works. What goes wrong is logged, not raised: Airflow would take it for the trigger's own error, and
    fail a task by it that lives on elsewhere.
    """
    await undisturbed(_cancel_if_dead(killed))


async def _cancel_if_dead(killed: KilledTrigger) -> None:
    deferred = killed.deferred
    standing = (await ask([deferred], is_first=True))[deferred]
    if standing.trouble:
        killed.log.warning("Airflow does not say how %s stands: %s", deferred, standing.trouble)
    if standing.verdict is Verdict.UNCLEAR:
        Rechecks.here().add(deferred, killed.settle, killed.jobs, killed.log)
    else:
        await killed.settle(standing)


@dataclass(frozen=True, eq=False)
class GatheredRequests:
    """What one kill leaves to be cancelled.

    :param since: when it was known, in epoch seconds.
    """

    requests: tuple[CancelRequest, ...]
    task: TaskKey
    since: float
    sent: asyncio.Future[None] | None = None
    """Done after the first request."""

    @property
    def jobs(self) -> set[RemoteJob]:
        """The jobs."""
        return {job for request in self.requests for job in request.jobs}


class GatheredCancels(PerLoop):
    """What a triggerer still has to cancel: kills that come together go out together.

    Of each service, one batch is requested at a time. What comes meanwhile makes the next batch, so that a
    storm of kills takes few calls, in the order in which they came.
    """

    def __init__(self) -> None:
        self._gathered: dict[tuple[str | None, ...], list[GatheredRequests]] = {}
        self._requesting: dict[tuple[str | None, ...], asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        """The event loop itself keeps no task alive."""

    async def request(self, killed: GatheredRequests, access: Access, deployment: str) -> None:
        """Have the end of jobs requested, and seen to in the background; returns after the first request."""
        loop = asyncio.get_running_loop()
        sent: list[asyncio.Future[None]] = []
        for service, parts in by_service(killed.requests).items():
            key = (access.key, deployment, *service)
            if key not in self._gathered:
                self._gathered[key] = []
                # In an empty context: it is for many triggers, and what it says is not of the first of them.
                task = loop.create_task(self._go_out(key, access, deployment), context=Context())
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            sent.append(loop.create_future())
            self._gathered[key].append(replace(killed, requests=tuple(parts), sent=sent[-1]))
        await asyncio.gather(*sent)

    async def _go_out(self, key: tuple[str | None, ...], access: Access, deployment: str) -> None:
        await asyncio.sleep(TOGETHER)
        async with self._requesting.setdefault(key, asyncio.Lock()):
            gathered = self._gathered.pop(key)
            cancellation = cancel_over_connections(
                Board.here().opener(access),
                [request for each in gathered for request in each.requests],
                deployment,
                call_seconds=CALL_SECONDS,
                escalate_after=ESCALATE_AFTER,
            )
            try:
                await in_thread(cancellation.step)
            finally:
                for each in gathered:
                    if each.sent and not each.sent.done():
                        each.sent.set_result(None)
        given_up_at, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while not cancellation.is_done and time.monotonic() < given_up_at:
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
            await in_thread(cancellation.step)
        cancellation.close()
        await in_thread(_write_down, gathered, cancellation)


def _write_down(gathered: Sequence[GatheredRequests], engine: CancelEngine) -> None:
    """Put on record how the jobs have ended, and send the metrics."""
    cancellation = engine.cancellation
    ends = ends_seen(cancellation.statuses.values(), Actor.TRIGGER, REASON)
    for each in gathered:
        write_over_supervisor(each.task, {job: ends[job] for job in each.jobs if job in ends})
    send_cancel(
        engine.outcomes(),
        Layer.TRIGGER,
        stats_of_server,
        log,
        since=min(each.since for each in gathered),
        requested_at=cancellation.requested_at,
    )
