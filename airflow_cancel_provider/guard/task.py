"""The guard in the task's own process: from before ``execute`` until the state is reported."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.guard.connecting import line_of
from airflow_cancel_provider.guard.inprocess import InProcess
from airflow_cancel_provider.guard.ledger import Ledger
from airflow_cancel_provider.guard.memory import Memory
from airflow_cancel_provider.guard.sentinel.link import Sentinel
from airflow_cancel_provider.guard.settings import Settings
from airflow_cancel_provider.guard.tries import Tries, end_earlier
from airflow_cancel_provider.guard.waiting import waits
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.services.lines import Line
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, RECORDERS, Intent

KILL_GRACE = 4.0
"""Seconds that a killed task waits for the word that the request was accepted; Airflow gives it five."""

HANDED_ON = ("TaskDeferred",)
GOES_ON = (
    "AirflowRescheduleException",
    "DagRunTriggerException",
    "DownstreamTasksSkipped",
    "TaskAwaitingInput",
)
"""What ``execute`` raises, by name, though the task has not failed: not every Airflow has each."""


class TaskGuard:
    """Guards one try: whatever it starts is cancelled unless it succeeds, defers, or lets it go."""

    def __init__(self, ti: Any, settings: Settings) -> None:
        self.ti = ti
        self.log = ti.task.log
        self.settings = settings
        self.owner = Owner.from_context({"ti": ti}, settings.deployment)
        self.tries = Tries(ti, settings)
        self.ledger = Ledger()
        self.sentinel = self._new_sentinel() if settings.sentinel else None
        self.in_process = InProcess(settings, self.owner.reason, self.log)
        self.memory = Memory(ti, self.log, self.owner if settings.owner_variables else None)
        self.killed = False
        self.finished = False
        self._pid = os.getpid()
        self._original_on_kill: Callable[[], None] = ti.task.on_kill

    @property
    def worker(self) -> Sentinel | InProcess:
        """Who cancels: the sentinel, or this process where there is none or it could not be started."""
        return self.sentinel if self.sentinel is not None and self.sentinel.is_running else self.in_process

    def install(self) -> None:
        """See submissions from now on, and stand between Airflow and the operator."""
        self.ledger.readers = [self.in_process.read, self.memory.read]
        if self.sentinel is not None:
            self.ledger.readers.insert(0, self.sentinel.read)
        RECORDERS[:] = [self]
        capture.install()
        if self.tries.is_resumed:
            self.ledger.inherit(self.memory.jobs_before_deferral())
        else:
            self._see_to_earlier_tries()
        task = self.ti.task
        for name in ("execute", "resume_execution"):
            object.__setattr__(task, name, self._guarded(getattr(task, name)))
        object.__setattr__(task, "on_kill", self.on_kill)

    # What the capture asks and tells.

    def label(self) -> Label | None:
        """What to write on a job.

        :raises SubmissionRefused: the task was told to end.
        """
        if self.killed:
            raise SubmissionRefused("This task was told to end; it may not start more remote jobs.")
        return self._label

    def carrier(self, service: str) -> str | None:
        """What of a service's jobs carries the label, where there is a choice."""
        return self.settings.emr_label if service == "emr" else None

    def tags(self) -> dict[str, str]:
        """Tags to put on a job, if they are wanted."""
        label = {LABEL_PARAMETER: str(self._label)} if self._label else {}
        return self.owner.tags | label if self.settings.tags else {}

    def intend(self, line: Line, scope: str | None, unlabelled: tuple[str, ...]) -> Intent:
        """A submission is about to be sent; jobs of these names go without the label."""
        return self.ledger.intend(line, scope, self._label, unlabelled)

    def started(self, intent: Intent, jobs: Sequence[tuple[str | None, str]]) -> None:
        """It was taken.

        :raises Killed: the task was told to end meanwhile.
        """
        addresses = [intent.line.address(scope, job_id) for scope, job_id in jobs]
        self.ledger.started(intent, addresses)
        if self.killed:
            # The sentinel has heard of it by now; the task must not go on with it.
            raise Killed("The task was killed while it started a job; its end was requested.", addresses)

    def placed(self, intent: Intent, scope: str) -> None:
        """It was taken, and its jobs are in this scope, under the label."""
        self.ledger.placed(intent, scope)
        if intent.unlabelled:
            self.unguarded(f"jobs that are in {scope} without a label: {', '.join(intent.unlabelled)}")

    def refused(self, intent: Intent) -> None:
        """It was not taken."""
        self.ledger.refused(intent)

    def unguarded(self, why: str) -> None:
        """Say that the guard has a hole."""
        self.log.warning("Not guarded: %s", why)

    # What the task's own code may ask for.

    def track(self, job: RemoteJob) -> None:
        """Guard a job that was started out of sight."""
        self.ledger.track(line_of(job), [job])

    def release(self, job: RemoteJob) -> None:
        """Let a job live on."""
        self.ledger.release([job])

    # What Airflow calls.

    def on_kill(self) -> None:
        """Have the jobs cancelled, let the operator do its own, and end the task.

        Runs in a signal handler: nothing here may ask Airflow for anything.

        :raises Killed: jobs had been started, and ``raise_on_sigterm`` is set.
        """
        again, self.killed = self.killed, True
        if self.finished or self.ledger.is_empty:
            self._original_on_kill()
            return
        self.worker.killed()
        with suppress(Killed):
            self._original_on_kill()
        # With a call under way its answer is worth more: the task ends when it is in.
        if not self.ledger.is_submitting:
            self.worker.wait_for("accepted", 0.0 if again else KILL_GRACE)
            if self.settings.raise_on_sigterm:
                raise Killed(
                    "The task was killed; the end of its remote jobs was requested.", self.ledger.jobs
                )

    def succeeded(self) -> None:
        """The state was reported: nothing is left to do."""
        self.worker.done()

    def failed(self) -> None:
        """The task failed after ``execute`` had returned, or for a reason the guard did not see."""
        if self.finished:
            return
        if self.tries.will_follow:
            self._leave()
        else:
            self._cancel()

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                result = method(*args, **kwargs)
            except BaseException as end:  # whatever ends the task, the jobs end with it
                self._ended(end)
                raise
            self.worker.returned()
            self.memory.settle()
            return result

        return guarded

    def _ended(self, end: BaseException) -> None:
        if os.getpid() != self._pid:
            return  # a forked child of the task, not the task
        name = type(end).__name__
        if name in HANDED_ON:
            self._hand_on(end)
        elif name in GOES_ON:
            self._leave()
        elif not self.killed and self.tries.may_follow(end):
            # Airflow may decide otherwise (a retry policy): failed() is told then.
            self.memory.flush()
            self.worker.returned()
        else:
            self._cancel()

    def _leave(self) -> None:
        """Leave the jobs to whoever goes on with them."""
        self.finished = True
        self.memory.flush()
        self.worker.done()

    def _cancel(self) -> None:
        """Cancel, and see it end before the state is reported: no retry overlaps with what it retries."""
        self.finished = True
        if self.ledger.is_empty:
            self.memory.flush()
            return
        jobs = self.ledger.jobs
        self._tell_inherited()
        self.log.info("Cancelling %d remote jobs of this try", len(jobs))
        self.worker.cancel()
        self.memory.flush()
        if self.worker.wait_for("ended", KILL_GRACE if self.killed else self.settings.confirm_seconds):
            self.log.info("Ended: %s", ", ".join(jobs))
            self.memory.forget_owner()
        else:
            self.log.warning(
                "Not seen to end yet; it is tried for up to %s s: %s",
                self.settings.patience,
                ", ".join(jobs),
            )

    def _hand_on(self, deferred: Any) -> None:
        from airflow_cancel_provider.guard.deferred import GuardTrigger, bounded

        self.finished = True
        jobs = self.ledger.jobs
        if jobs:
            self.memory.mark_owner()
            deferred.trigger = GuardTrigger.around(deferred.trigger, jobs, self.owner.reason)
            deferred.timeout = bounded(deferred.timeout, self.ti)
        self.worker.done()

    def _see_to_earlier_tries(self) -> None:
        """Take over what earlier tries left alive, or cancel it before this one starts anything."""
        left = self.memory.jobs_of_earlier_tries()
        if left and self.tries.go_on:
            self.memory.inherit(left)
            self.ledger.inherit(left)
            if not self.tries.is_followed:
                # The last try: if it dies, they end with it.
                self._tell_inherited()
        elif left:
            end_earlier(left, self.owner.reason, self.settings, self.log)

    def _tell_inherited(self) -> None:
        for job in self.ledger.untold:
            try:
                self.ledger.retell(line_of(job), [job])
            except Exception as error:  # noqa: BLE001  what can't be reached must not keep the rest from it
                self.log.error("%s can't be reached, and may run on: %s", job, error)  # noqa: TRY400

    def _new_sentinel(self) -> Sentinel:
        # What the next try takes over must outlive this one's crash; only being told to end ends it.
        return Sentinel(
            self.settings, self.owner.reason, _log_file(), self.log, is_armed=not self.tries.is_followed
        )

    @property
    def _label(self) -> Label | None:
        if not self.settings.labels:
            return None
        return replace(self.owner.label, reconnects=self.tries.go_on, waits=waits(self.ti.task))


def _log_file() -> str | None:
    from airflow.providers.common.compat.sdk import conf

    folder = Path(conf.get("logging", "base_log_folder", fallback=""))
    return str(folder / "remote_jobs_sentinel.log") if folder.is_dir() else None
