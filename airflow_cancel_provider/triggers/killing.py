"""Cancel what a deferred task left behind when it was killed."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread
from typing import Any

from airflow_cancel_provider.cancelling import Cancellation, Log, report, wait
from airflow_cancel_provider.exceptions import AirflowUnavailable, CancelProviderError
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.reach import Reach
from airflow_cancel_provider.triggers.ownership import is_dead, undisturbed
from airflow_cancel_provider.triggers.poller import in_thread

HURRY = 8.0
"""Seconds that the first request is repeated: Airflow gives ``on_kill`` 30, and who lives may take 20."""
ESCALATE_AFTER = 60.0
LOOK_EVERY = 10.0
LOOKS = 90
"""A quarter of an hour for the rest: repeat what was not answered, escalate, see the end."""


async def cancel_if_dead(ti: Any, reach: Reach, jobs: Sequence[RemoteJob], reason: str, log: Log) -> bool:
    """Cancel the jobs if the try of this task instance is over; whether it is.

    Returns when the request was sent; a thread sees to the end. May be called more than once, and be
    cancelled again and again while it works. What goes wrong is logged, not raised: Airflow would take it for
    the trigger's own error, and fail a task by it that lives on elsewhere.
    """
    return await undisturbed(_cancel_if_dead(ti, reach, list(jobs), reason, log))


async def _cancel_if_dead(ti: Any, reach: Reach, jobs: list[RemoteJob], reason: str, log: Log) -> bool:
    try:
        if not await is_dead(ti):
            log.info(
                "The task lives on, as far as Airflow tells; its jobs are left alone: %s", ", ".join(jobs)
            )
            return False
    except AirflowUnavailable as error:
        log.error("%s Its jobs are left alone: %s", error, ", ".join(jobs))  # noqa: TRY400  the words say it all
        return False
    cancellation = Cancellation(jobs, reason, escalate_after=ESCALATE_AFTER)
    hurried = await in_thread(_request, cancellation, reach, log)
    rest = Thread(
        target=_see_to_the_end, args=(cancellation, hurried, log), name="remote-jobs-end", daemon=True
    )
    rest.start()
    return True


def _request(cancellation: Cancellation, reach: Reach, log: Log) -> Reach:
    cancellation.jobs = [job for job in cancellation.jobs if _is_in_reach(job, reach, log)]
    hurried = reach.hurried(HURRY)
    report(cancellation.request(hurried), log)
    return hurried


def _is_in_reach(job: RemoteJob, reach: Reach, log: Log) -> bool:
    try:
        reach.check([job])  # asks the triggerer for the connection, as only this kind of thread may
    except Exception as error:  # noqa: BLE001  of one connection; it must not keep the other jobs from it
        log.error("%s can't be reached, and may run on: %s", job, error)  # noqa: TRY400
        return False
    return True


def _see_to_the_end(cancellation: Cancellation, reach: Reach, log: Log) -> None:
    try:
        wait(cancellation, reach, log, delay=LOOK_EVERY, max_attempts=LOOKS)
        cancellation.verdict()
    except CancelProviderError as error:
        log.error("%s", error)  # noqa: TRY400  the words say it all
