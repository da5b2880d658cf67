"""The guard in the task's own process: from before ``execute`` until the state is reported."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.guard.connecting import line_of
from airflow_cancel_provider.guard.inprocess import InProcess
from airflow_cancel_provider.guard.ledger import Ledger
from airflow_cancel_provider.guard.memory import Memory
from airflow_cancel_provider.guard.reaching import labelled
from airflow_cancel_provider.guard.recording import TryRecorder
from airflow_cancel_provider.guard.sentinel.link import Sentinel
from airflow_cancel_provider.guard.settings import Settings
from airflow_cancel_provider.guard.tries import Tries, end_earlier
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.services.submissions import RECORDERS

KILL_GRACE = 4.0
"""Seconds that a killed task waits for the word that the request was accepted; Airflow gives it five."""

HANDED_ON = ("TaskDeferred",)
GOES_ON = ("AirflowRescheduleException", "DagRunTriggerException", "TaskAwaitingInput")
SUCCEEDED = ("DownstreamTasksSkipped",)
"""What ``execute`` raises, by name, though the task has not failed: not every Airflow has each."""
TIMED_OUT = ("AirflowTaskTimeout",)


class TaskGuard:
    """Guards one try: whatever it starts is cancelled unless it succeeds, defers, or lets it go."""

    def __init__(self, ti: Any, settings: Settings) -> None:
        self.ti = ti
        self.log = ti.task.log
        self.settings = settings
        self.owner = Owner.from_context({"ti": ti}, settings.deployment)
        self.tries = Tries(ti, settings)
        self.ledger = Ledger()
        self.recorder = TryRecorder(ti, self.owner, self.tries, settings, self.ledger)
        self.sentinel = self._new_sentinel() if settings.sentinel else None
        self.in_process = InProcess(settings, self.owner.reason, self.log)
        self.memory = Memory(ti, self.log, self.owner if settings.owner_variables else None)
        self._is_left = False
        """Whether the jobs were left to a trigger or a later process: the sentinel is gone then."""
        self._is_timed_out = False
        self._is_executing = False
        self._pid = os.getpid()
        self._original_on_kill: Callable[[], None] = ti.task.on_kill

    @property
    def worker(self) -> Sentinel | InProcess:
        """Who cancels: the sentinel, or this process where there is none (any more)."""
        sentinel = None if self._is_left else self.sentinel
        return sentinel if sentinel is not None and sentinel.is_running else self.in_process

    def install(self) -> None:
        """See submissions from now on, and stand between Airflow and the operator."""
        self.ledger.readers = [self.in_process.read, self.memory.read]
        if self.sentinel is not None:
            self.ledger.readers.insert(0, self.sentinel.read)
        capture.install()
        if self.tries.is_resumed:
            self.ledger.inherit(self.memory.jobs_before_deferral())
        elif self.tries.is_rescheduled:
            self._go_on_with(self.memory.jobs_on_record())
        else:
            self._see_to_earlier_tries()
        task = self.ti.task
        for name in ("execute", "resume_execution"):
            object.__setattr__(task, name, self._guarded(getattr(task, name)))
        object.__setattr__(task, "on_kill", self.on_kill)
        # Last: a guard that is not whole must not record, or nobody tells the sentinel of a success.
        RECORDERS[:] = [self.recorder]

    def on_kill(self) -> None:
        """Have the jobs cancelled, let the operator do its own, and end the task.

        Runs in a signal handler: nothing here may ask Airflow for anything.

        :raises Killed: jobs had been started, and ``raise_on_sigterm`` is set.
        """
        if self._is_timed_out:
            # Airflow's own call after execution_timeout: _ended() has seen to the jobs.
            self._is_timed_out = False
            self._original_on_kill()
            return
        again, self.recorder.is_killed = self.recorder.is_killed, True
        if self.recorder.is_over or self._has_succeeded or self.ledger.is_empty:
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
        self.recorder.is_over = True
        self.memory.settle()
        self.worker.done()

    def failed(self) -> None:
        """The task failed after ``execute`` had returned, or for a reason the guard did not see."""
        if self.recorder.is_over and not self._is_left:
            return
        if self.tries.will_follow:
            self.recorder.is_over = True  # what was reported counts, should a signal come now
            self._leave()
        else:
            self._cancel()

    def _guarded(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if self._is_executing:  # resume_execution() goes on with execute()
                return method(*args, **kwargs)
            self._is_executing = True
            try:
                result = method(*args, **kwargs)
            except BaseException as end:  # whatever ends the task, the jobs end with it
                self._see_to_end(end)
                raise
            finally:
                self._is_executing = False
            self._see_to_end(None)
            return result

        return guarded

    def _see_to_end(self, end: BaseException | None) -> None:
        """Do what the end of ``execute`` asks for; what it ended with is what Airflow gets to see."""
        try:
            self._ended(end)
        except Killed:
            raise
        except Exception:
            self.log.exception("The end of the task's remote jobs was disturbed")
        except BaseException as late:
            if not _is(late, TIMED_OUT):
                raise
            self.log.warning("execution_timeout passed while the task's remote jobs were seen to")

    def _ended(self, end: BaseException | None) -> None:
        if os.getpid() != self._pid:
            return  # a forked child of the task, not the task
        self._is_timed_out = bool(self.ti.task.execution_timeout) and _is(end, TIMED_OUT)
        if end is None or _is(end, SUCCEEDED):
            self.worker.returned()
            self.memory.settle()
        elif _is(end, HANDED_ON):
            self._hand_on(end)
        elif _is(end, GOES_ON):
            self._leave()
        elif not self.recorder.is_killed and self.tries.may_follow(end):
            # Airflow may decide otherwise (a retry policy): failed() is told then.
            self.memory.flush()
            self.worker.returned()
        else:
            self._cancel()

    def _leave(self) -> None:
        """Leave the jobs to whoever goes on with them."""
        self.memory.flush()
        self._leave_off()

    def _leave_off(self) -> None:
        self.worker.done()
        self.recorder.is_over = self._is_left = True

    def _cancel(self) -> None:
        """Cancel, and see it end before the state is reported: no retry overlaps with what it retries."""
        self.recorder.is_over = True
        if self.ledger.is_empty:
            self.memory.flush()
            return
        jobs = self.ledger.jobs
        self._tell_inherited()
        self.log.info("Cancelling %d remote jobs of this try", len(jobs))
        if self._see_jobs_end():
            self.log.info("Ended: %s", ", ".join(jobs))
            self.memory.forget_owner()
        else:
            self.log.warning(
                "Not seen to end yet; it is tried for up to %s s: %s",
                self.settings.patience,
                ", ".join(jobs),
            )

    def _see_jobs_end(self) -> bool:
        worker = self.worker
        seconds = KILL_GRACE if self.recorder.is_killed else self.settings.confirm_seconds
        worker.cancel()
        self.memory.flush()
        if worker.wait_for("ended", seconds):
            return True
        if self.worker is worker:
            return False
        self.log.warning("The sentinel has died over it (its log: %s)", _log_file())
        self.worker.cancel()
        return self.worker.wait_for("ended", seconds)

    def _hand_on(self, deferred: Any) -> None:
        from airflow_cancel_provider.guard.deferred import GuardTrigger, bounded

        self._find_placed()
        jobs = self.ledger.jobs
        if jobs:
            try:
                self.memory.mark_owner()
                deferred.trigger = GuardTrigger.around(deferred.trigger, jobs, self.owner.reason)
                deferred.timeout = bounded(deferred.timeout, self.ti)
            except Killed:
                raise
            except Exception as error:  # noqa: BLE001  a deferral that would have worked must work
                self.recorder.unguarded(f"the task while it is deferred, with {', '.join(jobs)}: {error!r}")
        self._leave_off()

    def _find_placed(self) -> None:
        """Learn the addresses of what a trigger could not look for by its label."""
        for place in self.ledger.places:
            try:
                self.ledger.started(place, labelled(place))
            except Killed:
                raise
            except Exception as error:  # noqa: BLE001  a deferral that would have worked must work
                self.recorder.unguarded(f"the jobs in {place.scope} while the task is deferred: {error!r}")

    def _see_to_earlier_tries(self) -> None:
        """Take over what earlier tries left alive, or cancel it before this one starts anything."""
        left = self.memory.jobs_of_earlier_tries()
        if left and self.tries.go_on:
            self._go_on_with(left)
            if not self.tries.is_followed:
                # The last try: if it dies, they end with it.
                self._tell_inherited()
        elif left:
            end_earlier(left, self.owner.reason, self.settings, self.log)

    def _go_on_with(self, left: Sequence[RemoteJob]) -> None:
        self.memory.inherit(left)
        self.ledger.inherit(left)

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
    def _has_succeeded(self) -> bool:
        """Whether Airflow has taken the task's success down; callbacks may still run."""
        return bool(getattr(self.ti, "state", None) == "success")


def _is(end: BaseException | None, names: Sequence[str]) -> bool:
    return any(cls.__name__ in names for cls in type(end).__mro__)


def _log_file() -> str | None:
    from airflow_cancel_provider.version_compat import conf

    folder = Path(conf.get("logging", "base_log_folder", fallback=""))
    return str(folder / "remote_jobs_sentinel.log") if folder.is_dir() else None
