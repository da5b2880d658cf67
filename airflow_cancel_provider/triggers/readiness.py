"""Build what a kill needs before there is one: a task that is marked has a second or two.

The first request to Airflow, and the first client of a service, take seconds on a busy machine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.triggers.event_loop import Turns
from airflow_cancel_provider.triggers.ownership import DeferredTry, ask_first
from airflow_cancel_provider.triggers.poller import Board, Key

log = logging.getLogger(__name__)


class Readiness(Turns):
    """What was built in this event loop; in threads, one thing after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._has_asked = False
        self._opening: set[Key] = set()

    def prepare(self, ti: Any, access: Access, jobs: Iterable[RemoteJob]) -> None:
        """Ask Airflow once, and open the services of jobs that are attended to; returns at once."""
        access_key = access.key
        for service_key in dict.fromkeys(job.service_key for job in jobs):
            key = (access_key, *service_key)
            if key not in self._opening and not Board.here().is_open(key):
                self._opening.add(key)
                self.begin(self._open(key))
        if not self._has_asked and ti is not None:
            self._has_asked = True
            self.begin(self._ask(ti))

    async def _ask(self, ti: Any) -> None:
        async with self.turn():
            await ask_first(DeferredTry.of(ti))

    async def _open(self, key: Key) -> None:
        try:
            async with self.turn():
                await Board.here().open(key)
        except Exception as error:  # noqa: BLE001  whoever needs it meets the same, and reports it
            log.debug("%s can't be opened yet: %r", key[1:], error)
        finally:
            self._opening.discard(key)
