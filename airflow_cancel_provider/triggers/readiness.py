"""Build what a kill needs before there is one: a task that is marked has a second or two.

The first request to Airflow, and the first client of a service, take seconds on a busy machine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextvars import Context
from typing import Any

from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.pool import ServiceKey
from airflow_cancel_provider.triggers.event_loop import PerLoop
from airflow_cancel_provider.triggers.ownership import DeferredTry, ask
from airflow_cancel_provider.triggers.poller import Board

log = logging.getLogger(__name__)


class Readiness(PerLoop):
    """What was built in this event loop; in threads, one thing after the other."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._has_asked = False
        self._tasks: set[asyncio.Task[None]] = set()
        """The event loop itself keeps no task alive."""

    def prepare(self, ti: Any, access: Access, jobs: Iterable[RemoteJob]) -> None:
        """Ask Airflow once, and open the services of jobs that are attended to; returns at once."""
        service_keys = dict.fromkeys(job.service_key for job in jobs)
        task = asyncio.get_running_loop().create_task(
            self._build(ti, access, list(service_keys)), context=Context()
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _build(self, ti: Any, access: Access, service_keys: list[ServiceKey]) -> None:
        async with self._turn:
            if not self._has_asked and ti is not None:
                self._has_asked = True
                await ask([DeferredTry.of(ti)], is_first=True)
            for service_key in service_keys:
                try:
                    await Board.here().open(access, service_key)
                except Exception as error:  # noqa: BLE001  whoever needs it meets the same, and reports it
                    log.debug("%s can't be opened yet: %r", service_key, error)
