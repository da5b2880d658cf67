"""The one deferred wait for all services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.clock import Clock
from airflow_cancel_provider.engine.recorded import CancelRequest
from airflow_cancel_provider.exceptions import (
    AccessDenied,
    AirflowUnavailable,
    CancelProviderError,
    ConnectionUnusable,
    IdentityError,
    InvalidInput,
    ServiceError,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.triggers.event_loop import in_thread
from airflow_cancel_provider.triggers.on_kill import InContext, KilledTrigger, cancel_if_dead
from airflow_cancel_provider.triggers.ownership import DeferredTry, may_be_killed
from airflow_cancel_provider.triggers.poller import Board, SharedWaits
from airflow_cancel_provider.triggers.readiness import Readiness
from airflow_cancel_provider.watch import Watch, report, report_lost, take_in

log = logging.getLogger(__name__)

SHORTEST = 0.05
"""Seconds from one poll to the next at least: a sensor's ``poke_interval`` may be 0."""
SOONEST, GROWTH = 2.0, 0.5
"""Seconds to the first poll after a cancel; how much longer each next one takes to come."""


class RemoteJobsTrigger(BaseTrigger):
    """Wait until remote jobs are settled; many such waits share one client and one poll.

    The event carries what was seen, :meth:`resumed` reads it back.

    :param watch: a :class:`Watch` or :class:`Cancellation`, as JSON.
    :param access: an :class:`Access`, as JSON.
    :param waiter_delay: seconds between two polls.
    :param waiter_max_attempts: polls at most, counted from ``started_at``, restarts of a triggerer included;
        None: no limit but the deferral's own timeout.
    :param started_at: epoch seconds at which the waiting began.
    :param cancel_reason: cancel the open jobs with these words if the task is killed; None never does.
    :param deployment: name in labels of the Airflow that defers the task; no other one cancels.
    """

    def __init__(
        self,
        watch: dict[str, Any],
        access: dict[str, Any],
        waiter_delay: float,
        waiter_max_attempts: int | None,
        started_at: float,
        cancel_reason: str | None = None,
        deployment: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        try:
            self.watch = watch_from_json(watch)
        except (AttributeError, KeyError, ValueError) as error:
            # Of an error of this type the one trigger dies, of any other the triggerer.
            raise TypeError(f"Another version of this package has written this trigger: {error!r}") from error
        self.access = Access(**access)
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self.started_at = started_at
        self._clock = Clock()
        self.cancel_reason = cancel_reason
        self.deployment = deployment
        self._is_dealt_with = False
        self._is_refused = False
        """Whether the service did not accept the credentials of the last poll."""
        self._has_polled = self._was_answered = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "watch": self.watch.as_json(),
                "access": self.access.as_json(),
                "waiter_delay": self.waiter_delay,
                "waiter_max_attempts": self.waiter_max_attempts,
                "started_at": self.started_at,
                "cancel_reason": self.cancel_reason,
                "deployment": self.deployment,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once: when all jobs are settled, attempts are used up, or the service refuses to be asked."""
        with Board.here().attended(self.access, {job.service_key for job in self.watch.open}) as waits:
            if self.cancel_reason is not None:
                Readiness.here().prepare(getattr(self, "task_instance", None), self.access, self.watch.open)
            try:
                event = await self._settle(waits)
            except asyncio.CancelledError as error:
                if may_be_killed(error):
                    await self.on_kill()
                raise
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel what is open, if asked to and if the task is really dead. May be called more than once."""
        if self.cancel_reason is None or self._is_dealt_with:
            return
        self._is_dealt_with = True
        # No record: a sensor's jobs were named by a person, and are mostly another try's.
        own_log = InContext(log, self)
        request = CancelRequest(tuple(self.watch.open), self.cancel_reason, own_log)
        deferred = DeferredTry.of(self.task_instance)
        await cancel_if_dead(KilledTrigger(deferred, [request], own_log, self.access, self.deployment))

    async def _settle(self, waits: SharedWaits) -> dict[str, Any]:
        error = None
        pool = self.access.pool()
        while not self.watch.is_decided and self._is_in_time() and error is None:
            try:
                await self._poll(waits, pool)
                self._is_refused = False
            except IdentityError as refused:
                error = self._refused(refused)
            except CancelProviderError as final:
                error = error_as_json(final)
        for denied in [] if error else self.watch.denied.values():
            error = error_as_json(denied)
        return {"watch": self.watch.as_json(), "error": error}

    def _refused(self, refused: IdentityError) -> dict[str, str | None] | None:
        """The error for the event; None: the next poll may show more.

        The quota may hold up a poll for longer than credentials are valid, also the new ones.
        """
        may_pass = self.watch.may_be_renewed() or not self._is_refused
        self._is_refused = True
        if not may_pass:
            return error_as_json(refused)
        log.warning("%s Looking again with new credentials.", refused)
        return None

    async def _poll(self, waits: SharedWaits, pool: ServicePool) -> None:
        """As :func:`~airflow_cancel_provider.watch.poll`, together with the others who wait.

        Of what the first poll here shows only ends are logged. While Airflow sends hundreds of triggers
        together, its supervisor takes no lines, and the triggerer stands still once their socket is full.
        """
        try:
            seen, errors = await waits.poll(
                self.watch.open, self._delay(), after=self._seconds_to_poll(), is_fresh=self._is_fresh
            )
            if not self._was_answered:
                self.watch.observe([status for status in seen if not status.state.is_terminal])
                self._was_answered = True
            take_in(self.watch, seen, log)
            report_lost(self.watch, errors, log)
        except (AirflowUnavailable, ServiceUnavailable) as error:
            log.warning("%s Looking again later.", error)
        if self.watch.is_due():
            report(await in_thread(self.watch.act, pool), log)

    def _seconds_to_poll(self) -> float:
        """Seconds to the next poll.

        The first one comes when it would have come without a restart of the triggerer: where these are more
        frequent than polls, there would be none.
        """
        delay, is_first = self._delay(), not self._has_polled
        self._has_polled = True
        return delay - (self._clock.now() - self.started_at) % delay if is_first else delay

    def _delay(self) -> float:
        """Seconds from one poll to the next: fewer after a cancel, because most jobs then end soon."""
        since = self._clock.now() - (getattr(self.watch, "requested_at", None) or 0.0)
        return max(SHORTEST, min(self.waiter_delay, max(SOONEST, since * GROWTH)))

    @property
    def _is_fresh(self) -> bool:
        """Whether the jobs must not be reported as last seen: more than their ends is waited for."""
        is_cancel = isinstance(self.watch, Cancellation)
        return is_cancel or not all(state.is_terminal for state in self.watch.target_states)

    def _is_in_time(self) -> bool:
        if self.waiter_max_attempts is None:
            return True
        return self._clock.now() - self.started_at < self.waiter_max_attempts * self.waiter_delay


def watch_from_json(values: dict[str, Any]) -> Watch:
    """A watch or a cancellation, whichever was written."""
    return (Cancellation if "requested_at" in values else Watch).from_json(values)


def error_as_json(error: CancelProviderError) -> dict[str, str | None]:
    """An error, for an event: :func:`raise_from_json` raises its like."""
    parts = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, ServiceError):
        return {**parts, "operation": error.operation, "code": error.code}
    return {**parts}


def raise_from_json(values: dict[str, str | None]) -> None:
    """Raise what a trigger met, as it would have been raised in the task.

    :raises CancelProviderError: always.
    """
    message = values["message"] or ""
    if values["type"] == InvalidInput.__name__:
        raise InvalidInput(message)
    kinds = {kind.__name__: kind for kind in (AccessDenied, ConnectionUnusable, IdentityError, UnknownScope)}
    kind = kinds.get(values["type"] or "", ServiceError)
    raise kind(message, values.get("operation"), values.get("code"))
