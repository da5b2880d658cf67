"""The guard in the task's own process, from before ``execute`` until the task's state is reported.

What happens, in this order:

1. :meth:`TaskGuard.install`: what was left before this process is taken over or cancelled (``inherited.py``).
2. :meth:`TaskGuard.run`: the task's method runs. Each submission is captured, recorded and told to the
   sentinel (``capture.py``, ``recorder.py``).
3. :meth:`TaskGuard.on_kill`, if the task is told to end: the cancel is requested, and an exception ends it.
4. The method has ended: the jobs are released, handed over, kept or cancelled (``at_end.py``).
5. :meth:`TaskGuard.succeeded`, :meth:`TaskGuard.failed` or :meth:`TaskGuard.stops`, when Airflow was told of
   that end, and may have refused it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard import at_end, capture
from airflow_cancel_provider.guard.at_end import AtEnd, Care
from airflow_cancel_provider.guard.attach import attach, detach
from airflow_cancel_provider.guard.idempotency import remember_of_operator
from airflow_cancel_provider.guard.inherited import take_over_or_cancel
from airflow_cancel_provider.guard.parts import TryParts
from airflow_cancel_provider.guard.retries import (
    CONTINUED,
    DEFERRED,
    SUCCEEDED,
    TIMED_OUT,
    is_one_of,
    why_of,
)
from airflow_cancel_provider.guard.sentinel.process import is_in_process
from airflow_cancel_provider.guard.signals import Interruption, alarm_soon, is_called_by, timed
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import JobEnd, TryState
from airflow_cancel_provider.services.submissions import set_recorder
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.task_log import named

SIGTERM_RECEIVED = "Task received SIGTERM (marked, cleared, Dag run timed out, or its worker stops)"
"""Airflow does not tell a task which of these is the reason."""

ENDED_BEFORE = "Airflow has ended the task before it was told that the task succeeds"
"""Nobody tells the task: Airflow refuses what it reports."""

ENDED_OTHERWISE = "Task ended without success outside execute (pre_execute, post_execute, result)"

GOES_ON = frozenset({None, "running", "success"})
"""States in which a running task goes on; None: Airflow has not said."""

FAILED = frozenset({"failed", "skipped", "upstream_failed", "restarting"})
"""States of a try that Airflow has ended; not of one that was deleted or replaced: in doubt its jobs live."""

KILLED = "The task was killed; its remote jobs are being cancelled."


class TaskGuard:
    """Guards one try: cancels its remote jobs unless the task succeeds, defers or releases them."""

    def __init__(self, ti: Any, settings: Settings) -> None:
        self.ti = ti
        self.task = ti.task
        self.parts = TryParts(ti, settings)
        self.at_end = AtEnd(self.parts)
        self.ends_of_earlier: Mapping[RemoteJob, JobEnd] = {}
        """How jobs of earlier tries have ended that this one has cancelled."""
        self._is_timed_out = False
        self._is_executing = False
        self._handler = signal.getsignal(signal.SIGTERM)
        """As Airflow has set it."""
        self._pid = os.getpid()

    def install(self) -> None:
        """Start to record submissions, and wrap the operator's methods."""
        capture.install()
        remember_of_operator(self.task)
        self.ends_of_earlier = take_over_or_cancel(self.parts)
        attach(self.task, run=self.run, on_kill=self.on_kill)
        # Last: a guard that is only half installed would not report the task's success to the sentinel.
        set_recorder(self.parts.recorder)

    def go_on_after(self, before: TaskGuard) -> None:
        """Go on with what another guard has waited for in this process: the try, or the next one."""
        self.parts.canceller.go_on_with(before.parts.canceller)

    def run(self, method: Callable[[], Any]) -> Any:
        """Run ``execute`` or ``resume_execution``, then cancel, keep or hand over the jobs."""
        if self._is_executing:  # resume_execution() goes on with execute()
            return method()
        self._is_executing = True
        try:
            return self._run_to_end(method)
        except Killed as killed:
            # It may have been raised before the alarm of _end_after() rang.
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._handle_end(killed)
            # A traceback of where SIGTERM interrupted the task is of no use in its log.
            raise killed.with_traceback(None) from killed.__cause__
        finally:
            self._is_executing = False

    def _run_to_end(self, method: Callable[[], Any]) -> Any:
        """Run the task's own method, and handle its end.

        :raises Killed: SIGTERM came, also while the end was being handled.
        """
        try:
            result = self._executed(method)
        except Killed:
            raise
        except BaseException as end:  # also SystemExit and KeyboardInterrupt end the task
            self._handle_end(end)
            if self.at_end.care is not Care.OVER:
                self._raise_if_killed()
            raise
        self._handle_end(None)
        self._raise_if_killed()
        return result

    def _executed(self, method: Callable[[], Any]) -> Any:
        """The result of the task's own method.

        :raises Killed: as :meth:`_end_if_killed`, where the method did not fail.
        """
        try:
            with timed(
                lambda raised: is_one_of(raised, TIMED_OUT), has_limit=bool(self.task.execution_timeout)
            ):
                result = method()
        except BaseException as end:
            if is_one_of(end, (*SUCCEEDED, *DEFERRED, *CONTINUED)):
                self._end_if_killed()
            raise
        self._end_if_killed()
        return result

    def on_kill(self, original: Callable[[], Any]) -> Any:
        """Cancel the jobs, run the operator's own ``on_kill``, and end the task.

        Runs in a signal handler: nothing here may send a request to Airflow's supervisor.

        :raises Killed: jobs were started.
        """
        if is_called_by(self.task):  # to clean up: nobody has told the task to end
            with self.parts.recorder.clean_up():
                return original()
        self._on_sigterm(original)
        return None

    def _on_sigterm(self, original: Callable[[], Any]) -> None:
        if self._is_timed_out:
            # Airflow calls it after execution_timeout, too: _ended() has cancelled the jobs by then.
            self._is_timed_out = False
            self._on_timeout(original)
            return
        recorder, canceller = self.parts.recorder, self.parts.canceller
        again = bool(recorder.is_killed)
        recorder.is_killed.set()
        if not self._may_end:
            with recorder.clean_up():
                original()
            return
        if is_open := not self.parts.is_settled:
            canceller.cancel(SIGTERM_RECEIVED)
        failed: Exception | None = None
        try:
            with suppress(Killed), recorder.clean_up():
                original()
        except Exception as error:  # noqa: BLE001  what it has interrupted may swallow it, and go on
            failed = error
        # The task goes on until the answer has named the job; where another thread waits for it, that thread.
        if recorder.is_submitting_here:
            return
        if is_open:
            canceller.wait_for("accepted", 0.0 if again else at_end.KILL_GRACE)
        self._end_after(Interruption(), failed)

    def _end_after(self, interruption: Interruption, failed: Exception | None) -> None:
        """End what the handler has interrupted, as soon as that may be.

        :raises Killed: it may be now.
        """
        if not self._may_end:
            return
        if interruption.must_wait():
            alarm_soon(partial(self._end_after, interruption, failed))
            return
        raise Killed(KILLED, self.parts.ledger.jobs) from failed

    @property
    def _may_end(self) -> bool:
        """Whether a kill may end the task. After a success is reported, callbacks may still run."""
        return self.at_end.care is Care.HERE and self.parts.state != "success" and not self.parts.has_nothing

    def _on_timeout(self, original: Callable[[], Any]) -> None:
        """Run the operator's own ``on_kill``: once the jobs were seen to, the timeout stays the error."""
        try:
            original()
        except Exception as error:
            if self.parts.has_nothing:
                raise
            self.parts.log.info("The operator's own on_kill failed, after the guard has acted: %r", error)

    def _end_if_killed(self) -> None:
        """Fail a task that goes on though it received SIGTERM.

        That came during a submission, or its own code has caught the exception, or has handled the signal.

        :raises Killed: there are jobs to be cancelled.
        """
        parts = self.parts
        handles_it = signal.getsignal(signal.SIGTERM) is not self._handler
        if handles_it and not parts.has_nothing and self._asked(lambda state: state not in GOES_ON):
            parts.recorder.is_killed.set()
        self._raise_if_killed()

    def _raise_if_killed(self) -> None:
        parts = self.parts
        if parts.recorder.is_killed and (parts.canceller.is_told or not parts.has_nothing):
            raise Killed(KILLED, parts.ledger.jobs)

    def _asked(self, is_so: Callable[[str | None], bool]) -> bool:
        """Whether Airflow's state of the task is so; False where it can't be asked, or does not answer."""
        # ``tasks test`` does not keep the state of a try.
        if not self.parts.store.may_write() or is_in_process():
            return False
        from airflow_cancel_provider.triggers.ownership import state_of

        owner = self.parts.owner
        try:
            return is_so(state_of(owner.key, owner.ti_id))
        except Exception as error:  # noqa: BLE001  reported; in doubt it goes on
            words = "Airflow does not say whether it has ended the task: %r. Left as they are: %s"
            self.parts.log.info(words, error, named(self.parts.ledger.jobs))
            return False

    def _is_refused(self, states: Collection[str | None]) -> bool:
        """Whether Airflow has put the try into one of these states before it was told how the try ends."""
        return not self.parts.is_settled and self._asked(states.__contains__)

    def succeeded(self) -> None:
        """The task's success was reported: end the sentinel, and unwrap the operator.

        That of one that was to be continued elsewhere comes as a surprise: ``TriggerDagRunOperator`` ends so.
        """
        if self.at_end.care is Care.HANDED_OVER:
            self.at_end.release()
        # Callbacks of a success have run by now: they may have cleared the task.
        if self._is_refused(FAILED):
            self.failed(ENDED_BEFORE)
            return
        self.at_end.care = Care.OVER
        self.parts.canceller.done()
        detach()

    def failed(self, why: str = "") -> None:
        """Handle an end without success that did not come from ``execute``, or that Airflow does not retry.

        As of ``pre_execute`` or ``post_execute``, or of a result that can't be written.

        :param why: as the beginning of a sentence.
        """
        if self.at_end.care is not Care.OVER:
            if self.parts.tries.will_follow and not self._is_refused(FAILED):
                self.parts.releases.withdraw()
                self.at_end.hand_over(TryState.RUNNING)
            else:
                self.at_end.cancel(why or self.at_end.why_kept or ENDED_OTHERWISE)
        detach()

    def stops(self) -> None:
        """The task's process ends.

        Whether Airflow has refused to let the task wait is not asked: a process that ends late, when its task
        was resumed already, makes Airflow's executor fail that task. So the end of the sentinel is not waited
        for, either.
        """
        if self.ti.state == "skipped":  # Airflow 3.0 does not report that a task has skipped itself
            self.failed()
        elif self.at_end.care is Care.HANDED_OVER and not self.at_end.waits_here:
            self.parts.canceller.done(seconds=0.0)

    def _handle_end(self, end: BaseException | None) -> None:
        """Handle the end of ``execute``; Airflow still gets the exception of ``execute`` itself."""
        try:
            self._ended(end)
        except Exception:
            self.parts.log.exception("Failed to finish cancelling: %s", named(self.parts.ledger.jobs))

    def _ended(self, end: BaseException | None) -> None:
        if os.getpid() != self._pid:
            return  # this is a forked child of the task
        parts, is_success = self.parts, end is None or is_one_of(end, SUCCEEDED)
        parts.recorder.tell_again()
        parts.recorder.end(is_successful=is_success)
        parts.submission_log.close()
        self._is_timed_out = bool(self.task.execution_timeout) and is_one_of(end, TIMED_OUT)
        if end is None or is_success:
            self.at_end.release()
        elif is_one_of(end, DEFERRED):
            self.at_end.defer(end)
        elif is_one_of(end, CONTINUED):
            self.at_end.hand_over(TryState.DEFERRED)
        elif not parts.recorder.is_killed and parts.tries.may_follow(end):
            # Airflow may decide otherwise (a retry policy): then failed() cancels.
            self.at_end.keep(self._why(end))
        else:
            self.at_end.cancel(self._why(end))

    def _why(self, end: BaseException | None) -> str:
        """Why the task ended, without the message of its exception, which may hold secrets."""
        if self.parts.recorder.is_killed:
            return SIGTERM_RECEIVED
        if self._is_timed_out:
            return "Task ran longer than its execution_timeout"
        return why_of(end)
