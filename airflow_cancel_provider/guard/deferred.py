"""The guard of a deferred task: a trigger around the operator's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib import import_module
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.triggers.killing import cancel_if_dead
from airflow_cancel_provider.triggers.ownership import HAS_ON_KILL, may_be_killed, undisturbed
from airflow_cancel_provider.triggers.poller import in_thread

log = logging.getLogger(__name__)


class GuardTrigger(BaseTrigger):
    """Does what the operator's own trigger does, and cancels its jobs if the task is killed meanwhile.

    It holds addresses only; the triggerer reaches the services over the connections they name.

    :param classpath: the operator's own trigger.
    :param kwargs: its arguments.
    :param jobs: addresses of what the task has started.
    :param reason: words for the services.
    """

    def __init__(self, classpath: str, kwargs: dict[str, Any], jobs: Sequence[str], reason: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.classpath = classpath
        self.kwargs = kwargs
        self.jobs = list(jobs)
        self.reason = reason
        self._is_dealt_with = False

    @cached_property
    def inner(self) -> BaseTrigger:
        """The operator's own trigger.

        Made when it is run: an error fails this one trigger then; in ``__init__`` it would end the triggerer.
        """
        module, _, name = self.classpath.rpartition(".")
        inner: BaseTrigger = getattr(import_module(module), name)(**self.kwargs)
        return inner

    @classmethod
    def around(cls, inner: BaseTrigger, jobs: Sequence[RemoteJob], reason: str) -> GuardTrigger:
        """Guard a trigger; one that is guarded already gets the new list of jobs."""
        if isinstance(inner, GuardTrigger):
            return cls(inner.classpath, inner.kwargs, [*map(str, jobs)], reason)
        classpath, kwargs = inner.serialize()
        return cls(classpath, kwargs, [*map(str, jobs)], reason)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"classpath": self.classpath, "kwargs": self.kwargs, "jobs": self.jobs, "reason": self.reason},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The events of the operator's own trigger."""
        for shared in ("task_instance", "trigger_id", "timeout_after"):
            if hasattr(self, shared):
                setattr(self.inner, shared, getattr(self, shared))
        try:
            async for event in self.inner.run():
                yield event
        except asyncio.CancelledError as error:
            if may_be_killed(error):
                await self.on_kill()
            raise

    async def on_kill(self) -> None:
        """Cancel the jobs if the task is really dead, then let the operator's own trigger do its part."""
        if self._is_dealt_with:
            return
        self._is_dealt_with = True
        is_dead = await cancel_if_dead(
            self.task_instance, Access().reach(), [RemoteJob(job) for job in self.jobs], self.reason, log
        )
        if is_dead and HAS_ON_KILL:
            try:
                # In a loop of its own: some triggers of the Amazon provider call their hook on the
                # triggerer's loop, which can then wait for a lock that a thread holds while it waits for
                # that loop.
                await undisturbed(in_thread(lambda: asyncio.run(self.inner.on_kill())))
            except Exception:
                log.exception("on_kill of the operator's own trigger (%s) failed", self.classpath)

    async def cleanup(self) -> None:
        """Clean up after the operator's own trigger."""
        await self.inner.cleanup()


def bounded(timeout: timedelta | None, ti: Any) -> timedelta | None:
    """A deferral's timeout, cut to what is left of ``execution_timeout``, which Airflow 3 forgets there.

    https://github.com/apache/airflow/issues/69678
    """
    limit: timedelta | None = ti.task.execution_timeout
    if limit is None or ti.start_date is None:
        return timeout
    spent: timedelta = datetime.now(UTC) - ti.start_date
    left = max(limit - spent, timedelta(seconds=1))
    return left if timeout is None else min(left, timeout)
