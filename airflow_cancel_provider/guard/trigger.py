"""The guard of a deferred task: a trigger around the operator's own."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_cancel_provider.engine.recorded import cancel_requests
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.connections import unlocked
from airflow_cancel_provider.hooks.variables import read_release, write_release
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.triggers.answers import with_answers
from airflow_cancel_provider.triggers.event_loop import ask_airflow, in_thread
from airflow_cancel_provider.triggers.on_kill import InContext, KilledTrigger, cancel_if_dead
from airflow_cancel_provider.triggers.ownership import HAS_ON_KILL, DeferredTry, is_stopping, may_be_killed
from airflow_cancel_provider.triggers.poller import Board
from airflow_cancel_provider.triggers.readiness import Readiness
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.version_compat import request_xcom

log = logging.getLogger(__name__)
FROM_CONNECTIONS = Access()
"""The connections say all."""
AMAZON = "airflow.providers.amazon."
OWN_SECONDS = 30.0
"""Longest time for ``on_kill`` of the operator's own trigger; Airflow gives it as much."""
RECORDED_SECONDS = 60.0
"""Longest wait until Airflow has recorded the end of a task that its trigger has ended."""


class GuardTrigger(BaseTrigger):
    """Runs the operator's own trigger, and cancels the jobs if the task is killed meanwhile.

    It holds addresses only; the triggerer reaches the services over the connections that they name, and with
    what the operator sets beside its own.

    :param classpath: the operator's own trigger.
    :param kwargs: its arguments.
    :param record: the try's jobs, as :meth:`TryRecord.as_json`. Not read from XCom, where others can write.
    :param reason: the reason that services keep with a cancelled job.
    :param deployment: this Airflow's name in labels.
    :param access: an :class:`Access`, as JSON; None: the connections say all. Where it has no
        ``botocore_config``, that of the operator's own trigger counts.
    """

    def __init__(
        self,
        classpath: str,
        kwargs: dict[str, Any],
        record: dict[str, Any],
        reason: str,
        deployment: str,
        access: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.classpath = classpath
        self.kwargs = kwargs
        self.record = record
        self.reason = reason
        self.deployment = deployment
        self.access = access
        self._is_handled = False

    @unlocked
    def inner(self) -> BaseTrigger:
        """The operator's own trigger.

        Made in ``run``: an error fails this one trigger there; in ``__init__`` it would end the triggerer.
        """
        module, _, name = self.classpath.rpartition(".")
        inner: BaseTrigger = getattr(import_module(module), name)(**self.kwargs)
        if _cancels_its_job(inner) and any(job.id in str(self.kwargs) for job in self._jobs()):
            inner.cancel_on_kill = False  # type: ignore[attr-defined]
        return inner

    @classmethod
    def around(
        cls,
        inner: BaseTrigger,
        record: TryRecord,
        reason: str,
        deployment: str,
        access: Access = FROM_CONNECTIONS,
    ) -> GuardTrigger:
        """Wrap a trigger; one that is wrapped already gets the new record."""
        if isinstance(inner, GuardTrigger):
            classpath, kwargs = inner.classpath, inner.kwargs
        else:
            classpath, kwargs = inner.serialize()
        if isinstance(inner, RemoteJobsTrigger) and set(inner.watch.jobs) <= set(record.jobs):
            kwargs = {**kwargs, "cancel_reason": None}  # only one of the two is to cancel
        guarded = cls(classpath, kwargs, record.as_json(), reason, deployment, _stored(access, kwargs))
        # From Airflow 3.2 on it decides on the queue of triggerers that the trigger is put into.
        guarded.supports_triggerer_queue = getattr(inner, "supports_triggerer_queue", True)
        return guarded

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "classpath": self.classpath,
                "kwargs": self.kwargs,
                "record": self.record,
                "reason": self.reason,
                "deployment": self.deployment,
                "access": self.access,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The events of the operator's own trigger."""
        for shared in ("task_instance", "trigger_id", "triggerer_job_id", "timeout_after"):
            if hasattr(self, shared):
                setattr(self.inner, shared, getattr(self, shared))
        jobs = self._jobs()
        with Board.here().attended(self._access(), {job.service_key for job in jobs}):
            Readiness.here().prepare(getattr(self, "task_instance", None), self._access(), jobs)
            try:
                async for event in with_answers(self._events()):
                    yield event
                    if _ends_the_task(event, "failed", "skipped"):
                        # The triggerer cancels this trigger once Airflow has recorded the end of its task.
                        await asyncio.sleep(RECORDED_SECONDS)
            except asyncio.CancelledError as error:
                if may_be_killed(error):
                    await self.on_kill()
                raise
            except Exception:
                if was_cancelled():  # and what the operator's own trigger did about it has failed
                    await self.on_kill()
                raise
            if was_cancelled():  # and the operator's own trigger has swallowed the CancelledError
                await self.on_kill()

    async def _events(self) -> AsyncIterator[TriggerEvent]:
        async for event in self.inner.run():
            if _ends_the_task(event, "success"):
                await self._release()
            yield event

    async def _release(self) -> None:
        """Leave the jobs running that the try has not seen to end: it is about to succeed."""
        # In ``dags test`` a trigger has none: the task goes on in its own process, whatever the event says.
        if not (ti := getattr(self, "task_instance", None)):
            return
        task = TaskKey.of(ti)
        try:
            await ask_airflow(release_record, task, TryRecord.from_json(self.record))
        except Exception as error:  # noqa: BLE001  reported; the task succeeds all the same
            log.warning(
                "[remote jobs] The release of the remote jobs of %s could not be written: %s A later try, or "
                "the reaper once the Dag run is deleted, may cancel them: %s",
                *(task, error, ", ".join(self._jobs())),
            )

    def _jobs(self) -> list[RemoteJob]:
        """Jobs that a kill would cancel."""
        with suppress(InvalidInput):
            record = TryRecord.from_json(self.record)
            return [job for one in (record, *record.earlier) for job in one.jobs]
        return []

    async def on_kill(self) -> None:
        """Cancel the jobs if the try is over, then call ``on_kill`` of the operator's own trigger.

        Further calls do nothing.
        """
        if self._is_handled:
            return
        self._is_handled = True
        try:
            record = TryRecord.from_json(self.record)
        except InvalidInput as error:
            # It was written by another version of this package.
            log.error("[remote jobs] %s Its jobs are left alone: %s", error, self.record)  # noqa: TRY400
            return
        access = self._access()
        shown = Board.here().labelled(access, self._jobs())
        own_log, deferred = InContext(log, self), DeferredTry.of(self.task_instance)
        requests = cancel_requests(record, self.reason, own_log, deferred.task)
        killed = KilledTrigger(
            deferred, requests, own_log, access, self.deployment, then=self._end_inner, shown=shown
        )
        await cancel_if_dead(killed)

    def _access(self) -> Access:
        """Further settings to reach the jobs: a trigger of this package has those of the task."""
        if self.classpath.endswith(f".{RemoteJobsTrigger.__name__}"):
            return Access(**self.kwargs["access"])
        given = Access(**(self.access or {}))
        own = self.kwargs.get("botocore_config") if self.access else None
        return replace(given, botocore_config=given.botocore_config or own)

    async def _end_inner(self) -> None:
        if HAS_ON_KILL:
            # In a loop of its own: some call a hook on the triggerer's loop, which can then wait for a lock
            # that a thread holds while it waits for that loop.
            await in_thread(lambda: asyncio.run(asyncio.wait_for(self.inner.on_kill(), OWN_SECONDS)))

    async def cleanup(self) -> None:
        """Clean up after the operator's own trigger."""
        await self.inner.cleanup()


def _stored(access: Access, kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """An access as a trigger's argument; None where it says nothing, or something that can't be stored.

    :param kwargs: arguments of the operator's own trigger: what they hold is not stored again.
    """
    config, kept = access.botocore_config, access.without_login()
    if config and kwargs.get("botocore_config") == config:
        kept = replace(access, botocore_config=None)
    elif kept != access:
        log.warning(
            "[remote jobs] The proxies in the task's botocore_config are not stored with its trigger: one "
            "holds a login. If the task is killed while it is deferred, its jobs are cancelled without them."
        )
    plain = kept.as_json()
    try:
        json.dumps(plain)
    except (TypeError, ValueError):
        return None
    return plain if access != FROM_CONNECTIONS else None


def _cancels_its_job(inner: BaseTrigger) -> bool:
    """Whether a trigger would cancel its job itself, and do nothing else: some of the Amazon provider's.

    They would ask the service once more, and one does that on the event loop: with Python 3.11, the triggerer
    then stands still for ever if another trigger asks for its connection at that time.
    """
    own = [getattr(type(inner), name, None) for name in ("run", "on_kill")]
    is_stock = all(getattr(each, "__module__", "").startswith(AMAZON) for each in own)
    return is_stock and hasattr(inner, "cancel_on_kill")


def _ends_the_task(event: TriggerEvent, *states: str) -> bool:
    """Whether an event ends the task so, without a worker that could see to its jobs."""
    return getattr(event, "task_instance_state", None) in states


def release_record(task: TaskKey, record: TryRecord) -> None:
    """Release what is on record of a try that succeeds, and close its record. Asks Airflow.

    :raises Exception: Airflow did not answer.
    """
    from airflow.sdk.execution_time.xcom import XCom

    for one in (record, *record.earlier):
        before = read_release(one.ti_id) or Release(all=False)
        is_all = one.ti_id == record.ti_id or bool(one.intents)
        write_release(one.ti_id, before.with_jobs(one.jobs, one.intents, is_all=is_all), str(task))
    closed = replace(record, state=TryState.RETURNED).as_json()
    request_xcom(XCom.set, asdict(task), key=RECORD_KEY, value=closed)


def was_cancelled() -> bool:
    """Whether the running asyncio task was cancelled, and not because the triggerer ends."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0 and not is_stopping()


def bounded(timeout: timedelta | None, ti: Any) -> timedelta | None:
    """The timeout of a deferral: at most the rest of ``execution_timeout``, which Airflow 3 ignores.

    https://github.com/apache/airflow/issues/69678
    """
    limit: timedelta | None = ti.task.execution_timeout
    if limit is None or ti.start_date is None:
        return timeout
    spent: timedelta = datetime.now(UTC) - ti.start_date
    left = max(limit - spent, timedelta(seconds=1))
    return left if timeout is None else min(left, timeout)
