"""Cancel what a task started or waits for when the task itself is killed while it waits."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Thread
from typing import Any

from airflow_cancel_provider.cancelling import report
from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import XCOM_KEY as MARKER
from airflow_cancel_provider.services.reach import Reach
from airflow_cancel_provider.version_compat import BaseOperator

GRACE = 4.0
"""Seconds for the request: Airflow kills a task five seconds after it told it to end."""


class CancelsWhenKilled(BaseOperator):
    """A task that, once armed, cancels its jobs when it is killed, times out, or fails while deferred.

    Requests go out from a thread with clients that were made before: in a signal handler nothing may ask
    Airflow for anything (its channel's lock may be held by the code that was interrupted).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._killed = False
        self._armed: tuple[Reach, list[RemoteJob], str] | None = None

    def arm(self, context: Any, reach: Reach, jobs: Iterable[RemoteJob], reason: str) -> None:
        """Cancel these jobs from now on if the task is killed; at once, if it was killed already.

        :raises Killed: it was.
        """
        jobs = list(jobs)
        reach.check(jobs)  # opens every service now: a signal handler can't
        self._armed = (reach, jobs, reason)
        if self._killed:
            self.on_kill()
        # Only the try that wrote this last may wait for the jobs in a triggerer.
        context["ti"].xcom_push(key=MARKER, value=str(context["ti"].id))

    def disarm(self) -> None:
        """From now on leave the jobs alone."""
        self._armed = None

    def on_kill(self) -> None:
        """Request the end of the jobs, and end the task: Airflow 3 goes on with it otherwise.

        :raises Killed: the request was sent, or could not be within four seconds.
        """
        self._killed = True
        if self._armed is None:
            return
        reach, jobs, reason = self._armed
        thread = Thread(target=self._request, args=(reach, jobs, reason), daemon=True)
        thread.start()
        thread.join(GRACE)
        raise Killed("The task was killed; the end of its remote jobs was requested.", jobs)

    def cancel_armed(self) -> None:
        """Request the end of the jobs, in a task that fails on its own account."""
        if self._armed is not None:
            self._request(*self._armed)
            self.disarm()

    def _request(self, reach: Reach, jobs: list[RemoteJob], reason: str) -> None:
        report(reach.hurried(GRACE).cancel(jobs, reason), self.log)
