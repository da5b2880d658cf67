"""Cancel what a deferred task left behind when it was killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from glob import escape
from math import inf
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger

from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.engine.recorded import CancelRequest
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.record import Actor
from airflow_cancel_provider.settings import own_deployment
from airflow_cancel_provider.task_log import (
    PREFIX,
    Log,
    PrefixedLog,
    TryLogFile,
    log_file_of,
    log_line,
)
from airflow_cancel_provider.triggers.event_loop import ask_airflow
from airflow_cancel_provider.triggers.gathered_cancels import GatheredCancels, GatheredRequests
from airflow_cancel_provider.triggers.ownership import (
    DeferredStanding,
    DeferredTry,
    Verdict,
    ask_first,
    undisturbed,
    without_released,
)
from airflow_cancel_provider.triggers.recheck import Rechecks

REASON = "Task was ended by Airflow while it was deferred"
"""Why, for people."""
CONFIRM_SECONDS = 20.0
"""Longest time for which a trigger stays to log the ends: with it goes its way to the try's log."""
CLOSED_AFTER = 3.0
"""Seconds after which Airflow has closed the log file of a trigger that has gone."""


async def nothing_more() -> None:
    """Whoever has no part of his own in a kill."""


@dataclass(frozen=True, eq=False)
class KilledTrigger:
    """A trigger that was told to end, and what is to be done if its task is dead.

    :param requests: the jobs.
    :param access: how to reach their services.
    :param deployment: name in labels of the Airflow that deferred the task: a database may be copied.
    :param then: what else is to be done if the task is dead.
    :param shown: jobs as polls have shown them, with their labels: these are not described again.
    :param since: when it was told, in epoch seconds.
    """

    deferred: DeferredTry
    requests: Sequence[CancelRequest]
    log: InContext
    access: Access
    deployment: str
    then: Callable[[], Awaitable[None]] = nothing_more
    shown: Mapping[RemoteJob, JobStatus] = field(default_factory=dict)
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
            await ask_airflow(without_released, each)
            if each.record and each.record.ti_id != self.deferred.ti_id
            else each
            for each in self.requests
        ]
        requests = [each.without(standing.kept, is_followed=standing.is_followed) for each in heeded]
        cancel_log = CancelLog(self.log, Actor.TRIGGER, lambda: REASON)
        gathered = GatheredRequests(tuple(requests), self.deferred.task, self.since, cancel_log, self.shown)
        seen = await GatheredCancels.here().request(gathered, self.access, self.deployment)
        try:
            await self.then()
        except Exception as error:  # noqa: BLE001  the operator's own; the jobs were seen to
            # Most say that the job is cancelled already: it is no error for those who read the task's log.
            self.log.info("The operator's own on_kill failed, after the guard has acted: %r", error)
        if seen:
            await asyncio.wait(seen, timeout=CONFIRM_SECONDS)
        self.log.leave()

    @property
    def jobs(self) -> str:
        """Their addresses."""
        jobs = [str(job) for request in self.requests for job in request.jobs]
        intents = [intent for request in self.requests for intent in request.intents]
        return ", ".join([*jobs, *(f"those of {each.service} in {each.scope}" for each in intents)])


class InContext(PrefixedLog):
    """The log of a try, from any thread: a triggerer keeps apart by contexts what its triggers log.

    When the trigger has gone, Airflow puts what comes into the log of the triggerer alone. Then it is also
    added to the file of the trigger on this host. With remote logging, Airflow has uploaded the file by then.

    :param trigger: whose log it is.
    """

    def __init__(self, log: Log, trigger: BaseTrigger) -> None:
        super().__init__(log)
        self._context = copy_context()
        self._trigger = trigger
        self._left_at = inf

    def leave(self) -> None:
        """The trigger goes."""
        self._left_at = time.monotonic()

    def _write(self, write: Callable[..., Any], message: str, args: tuple[Any, ...]) -> None:
        self._context.copy().run(super()._write, write, message, args)
        if time.monotonic() > self._left_at + CLOSED_AFTER and (file := _file_of(self._trigger)):
            text = message % args if args else message
            file.write(log_line(getattr(write, "__name__", "info"), f"{PREFIX} {text}", time.time()))


def _file_of(trigger: BaseTrigger) -> TryLogFile | None:
    """Where Airflow keeps what a trigger logs; None where that is not known."""
    path = log_file_of(trigger.task_instance)
    # Airflow puts the number of the triggerer behind it, which triggers are not told.
    found = Path(path).parent.glob(f"{escape(Path(path).name)}.trigger.*.log") if path else ()
    latest = max(found, key=lambda file: file.stat().st_mtime, default=None)
    return TryLogFile(str(latest)) if latest else None


async def cancel_if_dead(killed: KilledTrigger) -> None:
    """Cancel the jobs of a trigger that was told to end if the try of its task is over.

    Returns when the jobs have ended, or a while after that was requested, or when it is clear that they are
    to be left alone; where neither is clear yet, Airflow is asked again in the background. May be cancelled
    again and again while it works. What goes wrong is logged, not raised: Airflow would take it for the
    trigger's own error, and fail a task by it that lives on elsewhere.
    """
    await undisturbed(_cancel_if_dead(killed))


async def _cancel_if_dead(killed: KilledTrigger) -> None:
    deferred, own = killed.deferred, own_deployment()
    if killed.deployment != own:
        # Whatever its record is: a next try may have deleted it, here where the database was copied to.
        words = "%s was deferred by another Airflow (deployment %s, not %s); its jobs are left alone: %s"
        killed.log.warning(words, deferred, killed.deployment, own, killed.jobs)
        return
    standing = await ask_first(deferred)
    if standing.verdict is not Verdict.UNCLEAR:
        await killed.settle(standing)
        return
    if standing.trouble:
        killed.log.warning("Airflow does not say how %s stands: %s", deferred, standing.trouble)
    Rechecks.here().add(deferred, killed.settle, killed.jobs, killed.log)
    killed.log.leave()
