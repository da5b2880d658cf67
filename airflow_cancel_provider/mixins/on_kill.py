"""Cancel the jobs of an operator or sensor when its task is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from airflow_cancel_provider.exceptions import CancelProviderError, Killed
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from airflow_cancel_provider.services.submissions import current_recorder
from airflow_cancel_provider.version_compat import BaseOperator
from airflow_cancel_provider.watch import report

if TYPE_CHECKING:
    from airflow_cancel_provider.services.pool import ServicePool

Objection = Callable[[JobStatus], str | None]
GRACE = 4.0
"""Seconds for the request: Airflow kills a task five seconds after SIGTERM."""
_PACKAGE = __name__.partition(".")[0] + "."


class CancelsWhenKilled(BaseOperator):
    """A task that, once armed, cancels its jobs when it is killed, times out, or fails while deferred.

    The requests are sent by a thread, with clients that were made before: a signal handler must not ask
    Airflow's supervisor, as the interrupted code may hold the lock of its channel. Jobs of the task that the
    guard cancels are left to it: it has more patience, and sees their end. Not in a subclass of somebody
    else: its code may catch the error, and the task succeed.
    """

    starts_jobs: ClassVar[bool] = False
    """Whether the task submits the jobs: then they are in its record, which the guard writes if the task is
    guarded. Otherwise the record has no jobs, only the try that waits."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._killed = False
        self.is_the_task = False
        """Whether Airflow executes this operator itself, and not another task in its code."""
        self._armed: tuple[ServicePool, list[RemoteJob], str] | None = None
        self._objection: Objection = _none

    def arm(
        self,
        context: Any,
        pool: ServicePool,
        jobs: Iterable[RemoteJob],
        reason: str,
        objection: Objection | None = None,
    ) -> None:
        """Cancel these jobs from now on if the task is killed; at once, if it was killed already.

        :param objection: why a job is not to be cancelled, from how it is seen right before; for jobs that
            come from a record, where others can write.
        :raises Killed: it was.
        """
        jobs = list(jobs)
        pool.check(jobs)  # opens every service now: a signal handler can't
        self._armed, self._objection = (pool, jobs, reason), objection or _none
        self.is_the_task = getattr(context["ti"], "task", None) is self
        if self._killed:
            self.on_kill()
        self.keep_record(context, TryState.RUNNING)

    def disarm(self) -> None:
        """Leave the jobs alone from now on."""
        self._armed = None

    def keep_record(self, context: Any, state: TryState) -> None:
        """Write the record: who is responsible for the jobs, and which try waits for them in a triggerer.

        Not where the guard writes it, once the task has jobs: a task may execute a sensor in its own code.
        """
        recorder = current_recorder()
        if recorder and (self.starts_jobs or not recorder.is_empty):
            return
        from airflow_cancel_provider.settings import own_deployment

        ti: Any = context["ti"]
        jobs = self._armed[1] if self.starts_jobs and self._armed else []
        record = TryRecord(UUID(str(ti.id)), state, tuple(jobs), deployment=own_deployment())
        ti.xcom_push(key=RECORD_KEY, value=record.as_json())

    def on_kill(self) -> None:
        """Request the cancel of the jobs, and end the task, which Airflow 3 would continue.

        :raises Killed: the request was sent, or could not be sent within four seconds.
        """
        self._killed = True
        if self._armed is None:
            return
        pool, jobs, reason = self._armed
        thread = Thread(target=self._request, args=(pool, jobs, reason), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            self._request(pool, jobs, reason)
        else:
            thread.join(GRACE)
        raise Killed("The task was killed; its remote jobs are being cancelled.", jobs)

    def _are_guarded(self, jobs: Iterable[RemoteJob]) -> bool:
        """Whether the guard cancels these jobs with this task."""
        recorder = current_recorder()
        # The code of any other class may catch the error of this one.
        fails_with_task = self.is_the_task and type(self).__module__.startswith(_PACKAGE)
        return fails_with_task and recorder is not None and all(map(recorder.cancels, jobs))

    def cancel_armed(self) -> None:
        """Request the cancel of the jobs, in a task that fails."""
        if self._armed is not None:
            self._request(*self._armed)
            self.disarm()

    def _request(self, pool: ServicePool, jobs: list[RemoteJob], reason: str) -> None:
        if self._are_guarded(jobs):
            return
        hurried = pool.hurried(GRACE)
        report(hurried.cancel(self._own(hurried, jobs), reason), self.log)

    def _own(self, pool: ServicePool, jobs: list[RemoteJob]) -> list[RemoteJob]:
        if self._objection is _none:
            return jobs
        try:
            objections = {status.job: self._objection(status) for status in pool.describe(jobs)}
        except CancelProviderError as error:
            what = "Not cancelled, as their owner can't be read; may still be running: %s: %s"
            self.log.error(what, ", ".join(jobs), error)  # noqa: TRY400
            return []
        for job, objection in objections.items():
            if objection:
                self.log.warning("%s is in the record, but it is not cancelled: %s", job, objection)
        return [job for job in jobs if not objections[job]]


def _none(_: JobStatus) -> None:
    return None
