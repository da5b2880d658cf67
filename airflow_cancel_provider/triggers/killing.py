"""Cancel what a deferred task left behind when it was killed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_cancel_provider.cancelling import Log, report
from airflow_cancel_provider.jobs import CancelResult, RemoteJob
from airflow_cancel_provider.services.reach import Reach
from airflow_cancel_provider.triggers.ownership import is_dead, undisturbed
from airflow_cancel_provider.triggers.poller import in_thread

HURRY = 8.0
"""Seconds that the cancel is repeated: Airflow gives ``on_kill`` 30, finding out who lives takes up to 20."""


async def cancel_if_dead(ti: Any, reach: Reach, jobs: Sequence[RemoteJob], reason: str, log: Log) -> bool:
    """Cancel the jobs if the try of this task instance is over; whether it is.

    May be called more than once, and be cancelled again and again while it works.
    """
    return await undisturbed(_cancel_if_dead(ti, reach, list(jobs), reason, log))


async def _cancel_if_dead(ti: Any, reach: Reach, jobs: list[RemoteJob], reason: str, log: Log) -> bool:
    if not await is_dead(ti):
        log.info("The task lives on elsewhere; its %s jobs are left alone.", len(jobs))
        return False
    report(await in_thread(_cancel, reach, jobs, reason), log)
    return True


def _cancel(reach: Reach, jobs: list[RemoteJob], reason: str) -> list[CancelResult]:
    reach.check(jobs)
    return reach.hurried(HURRY).cancel(jobs, reason)
