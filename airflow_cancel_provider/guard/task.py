"""The guard in the task's own process, from before ``execute`` until the task's state is reported."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.guard.attach import attach, detach
from airflow_cancel_provider.guard.callers import is_called_by
from airflow_cancel_provider.guard.canceller import Canceller
from airflow_cancel_provider.guard.end_reports import EndReports
from airflow_cancel_provider.guard.events import JobsEnded
from airflow_cancel_provider.guard.inherited import end_earlier, inherited, reached
from airflow_cancel_provider.guard.label_lookups import LabelLookups
from airflow_cancel_provider.guard.late_answers import drop_late_answers
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.guard.releases import Releases
from airflow_cancel_provider.guard.retries import Tries
from airflow_cancel_provider.guard.sentinel.log_file import log_file_in
from airflow_cancel_provider.guard.sentinel.process import is_in_process
from airflow_cancel_provider.guard.store import RecordStore
from airflow_cancel_provider.guard.submission_log import SubmissionLog
from airflow_cancel_provider.guard.task_ends import (
    CONTINUED,
    DEFERRED,
    SUCCEEDED,
    TIMED_OUT,
    is_one_of,
    why_of,
)
from airflow_cancel_provider.guard.timeouts import raised_again
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.record import JobEnd, TryRecord, TryState
from airflow_cancel_provider.services.submissions import set_recorder
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.task_log import PrefixedLog, log_file_of, named

KILL_GRACE = 4.0
"""Seconds for which a killed task waits until its cancel requests are accepted; Airflow gives it five."""

SIGTERM_RECEIVED = "Task received SIGTERM (marked, cleared, Dag run timed out, or its worker stops)"
"""Airflow does not tell a task which of these is the reason."""

KILLED = "The task was killed; its remote jobs are being cancelled."

ENDED_BEFORE = "Airflow has ended the task before it was told that the task succeeds or waits"
"""Nobody tells the task: Airflow refuses what it reports."""

GOES_ON = frozenset({None, "running", "success"})
"""States in which a running task goes on; None: Airflow has not said."""

FAILED = frozenset({"failed", "skipped", "upstream_failed", "restarting", "removed"})
"""States of a try that Airflow has ended; ``removed``: it was deleted, or another has taken its place."""

REPORTED = ("success", "failed", "skipped", "up_for_retry")
"""States of a task instance whose end Airflow has recorded. What it has before differs: see ``dags test``."""


class TaskGuard:
    """Guards one try: cancels its remote jobs unless the task succeeds, defers or releases them."""

    def __init__(self, ti: Any, settings: Settings) -> None:
        self.ti = ti
        self.task = ti.task
        self.log = PrefixedLog(log_of(ti.task))
        self.settings = settings
        self.owner = Owner.from_context({"ti": ti}, settings.deployment)
        self.tries = Tries(ti, settings)
        self.ledger = TryLedger()
        self.ends_of_earlier: Mapping[RemoteJob, JobEnd] = {}
        """How jobs of earlier tries have ended that this one has cancelled."""
        reports = EndReports.of(self.owner.ti_id)
        begun_as = _state_of(ti)
        self.recorder = TryRecorder(
            self.owner,
            settings,
            self.log,
            self.ledger,
            goes_on=self.tries.go_on,
            is_reported=lambda: _state_of(ti) in REPORTED and _state_of(ti) != begun_as,
        )
        self.canceller = Canceller(
            self.ledger,
            self.owner,
            settings,
            self.log,
            self.recorder.unguarded,
            log_file=_log_file(),
            task_log=log_file_of(ti),
            reports=reports,
            # Jobs that the next try takes over must survive a crash of this one; only SIGTERM cancels them.
            is_armed=not self.tries.is_followed,
        )
        self.store = RecordStore(ti, self.log, self.owner, self.ledger, proof=reports.proof)
        self.releases = Releases(self.owner, self.ledger, self.store, self.log)
        self.lookups = LabelLookups(self.ledger, self.recorder, self.log)
        self.submission_log = SubmissionLog(self.log, goes_on=self.tries.go_on)
        self._is_handled = False
        """Whether the jobs were cancelled, or handed over to a trigger or a later process."""
        self._is_left = False
        self.waits_here = False
        """Whether the try waits in this process, which is to go on with it: its sentinel stays."""
        self._is_timed_out = False
        self._is_executing = False
        self._is_to_end = False
        """Whether the task received SIGTERM, and its jobs are being cancelled."""
        self._handler = signal.getsignal(signal.SIGTERM)
        """As Airflow has set it."""
        self._has_late_answers = False
        """Whether a signal may have interrupted a request to Airflow."""
        self._pid = os.getpid()

    def install(self) -> None:
        """Start to record submissions, and wrap the operator's methods."""
        # The store comes late: it writes over a channel that may be slow.
        self.recorder.readers = [
            self.canceller.hear,
            self.submission_log.hear,
            self.store.hear,
            self.releases.hear,
        ]
        capture.install()
        self._take_over_or_cancel()
        attach(self)
        # Last: a guard that is only half installed would not report the task's success to the sentinel.
        set_recorder(self.recorder)

    def go_on_after(self, before: TaskGuard) -> None:
        """Go on with the try for which another guard has waited in this process."""
        self.canceller.go_on_with(before.canceller)

    def run(self, method: Callable[[], Any]) -> Any:
        """Run ``execute`` or ``resume_execution``, then cancel, keep or hand over the jobs."""
        if self._is_executing:  # resume_execution() goes on with execute()
            return method()
        self._is_executing = True
        try:
            result = self._executed(method)
        except Killed as killed:
            self._handle_end(killed)
            # A traceback of where SIGTERM interrupted the task is of no use in its log.
            raise killed.with_traceback(None) from killed.__cause__
        except BaseException as end:  # also SystemExit and KeyboardInterrupt end the task
            self._handle_end(end)
            raise
        finally:
            self._is_executing = False
        try:
            self._handle_end(None)
        except Killed as killed:  # SIGTERM came while the success was being recorded
            self._handle_end(killed)
            raise
        return result

    def _executed(self, method: Callable[[], Any]) -> Any:
        """The result of the task's own method.

        :raises Killed: as :meth:`_end_if_killed`, where the method did not fail.
        """
        try:
            with raised_again(lambda ignored: is_one_of(ignored, TIMED_OUT)):
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

        :raises Killed: jobs were started, and ``raise_on_sigterm`` is set.
        """
        if is_called_by(self.task):  # to clean up: nobody has told the task to end
            with self.recorder.clean_up():
                return original()
        self._on_sigterm(original)
        return None

    def _on_sigterm(self, original: Callable[[], Any]) -> None:
        if self._is_timed_out:
            # Airflow calls it after execution_timeout, too: _ended() has cancelled the jobs by then.
            self._is_timed_out = False
            original()
            return
        again, self.recorder.is_killed = self.recorder.is_killed, True
        if self._is_handled or self._has_succeeded or self._has_nothing:
            with self.recorder.clean_up():
                original()
            return
        if is_open := not self._is_settled:
            self.canceller.killed(SIGTERM_RECEIVED)
        failed: Exception | None = None
        try:
            with suppress(Killed), self.recorder.clean_up():
                original()
        except Exception as error:  # noqa: BLE001  what it has interrupted may swallow it, and go on
            failed = error
        self._is_to_end = True
        # A submission is under way: the task goes on until the answer has named the job.
        if self.ledger.is_submitting:
            return
        if is_open:
            self.canceller.wait_for("accepted", 0.0 if again else KILL_GRACE)
        if self.settings.raise_on_sigterm:
            raise Killed(KILLED, self.ledger.jobs) from failed
        if failed is not None:
            raise failed

    def _end_if_killed(self) -> None:
        """Fail a task that goes on though it received SIGTERM.

        That came during a submission, or its own code has caught the exception, or has handled the signal.

        :raises Killed: it received SIGTERM, and ``raise_on_sigterm`` is set.
        """
        if not self.settings.raise_on_sigterm:
            return
        handles_it = signal.getsignal(signal.SIGTERM) is not self._handler
        if handles_it and not self._has_nothing and self._asked(lambda state: state not in GOES_ON):
            self._is_to_end = self.recorder.is_killed = True
        if self._is_to_end:
            raise Killed(KILLED, self.ledger.jobs)

    def _asked(self, is_so: Callable[[str | None], bool]) -> bool:
        """Whether Airflow's state of the task is so; False where it can't be asked, or does not answer."""
        # ``tasks test`` does not keep the state of a try.
        if not self.store.may_write() or is_in_process():
            return False
        from airflow_cancel_provider.triggers.ownership import state_of

        try:
            return is_so(state_of(self.owner.key, self.owner.ti_id))
        except Exception as error:  # noqa: BLE001  reported; in doubt it goes on
            words = "Airflow does not say whether it has ended the task: %r. Left as they are: %s"
            self.log.info(words, error, named(self.ledger.jobs))
            return False

    def succeeded(self) -> None:
        """The task's success was reported: end the sentinel, and unwrap the operator.

        That of one that was to be continued elsewhere comes as a surprise: ``TriggerDagRunOperator`` ends so.
        """
        if self._is_left:
            self._settle()
        # Callbacks of a success have run by now: they may have cleared the task.
        if self._is_refused(FAILED - {"removed"}):
            self.failed(ENDED_BEFORE)
            return
        self._is_handled, self._is_left = True, False
        self.canceller.done()
        detach()

    def stops(self) -> None:
        """The task's process ends. Airflow may have refused to let it wait: then nobody goes on with it."""
        if self.ti.state == "skipped":  # Airflow 3.0 does not report that a task has skipped itself
            self.failed()
        elif not self._is_left or self.waits_here:
            return
        # A next try may have taken the jobs over by now.
        elif self._is_refused(FAILED - {"removed"} if self.tries.is_followed else FAILED):
            self.failed(ENDED_BEFORE)
        else:
            self.canceller.done()

    def _is_refused(self, states: Collection[str | None]) -> bool:
        """Whether Airflow has put the try into one of these states before it was told how the try ends."""
        return not self._is_settled and self._asked(states.__contains__)

    def failed(self, why: str = "Task ended without success, before or after its execute") -> None:
        """Handle an end without success that did not come from ``execute``.

        As of ``pre_execute`` or ``post_execute``, or of a result that can't be written.

        :param why: as the beginning of a sentence.
        """
        if self._is_handled and not self._is_left:
            detach()
            return
        self.releases.withdraw()
        if self.tries.will_follow:
            self._leave(TryState.RUNNING)
        else:
            self._cancel(why)
        detach()

    def _handle_end(self, end: BaseException | None) -> None:
        """Handle the end of ``execute``; Airflow still gets the exception of ``execute`` itself."""
        try:
            self._ended(end)
        except Exception:
            self.log.exception("Failed to finish cancelling: %s", named(self.ledger.jobs))
        except BaseException as late:
            if not is_one_of(late, TIMED_OUT):
                raise
            self.log.warning("execution_timeout passed while the task's remote jobs were being cancelled")

    def _ended(self, end: BaseException | None) -> None:
        if os.getpid() != self._pid:
            return  # this is a forked child of the task
        self._has_late_answers = self.recorder.is_killed or is_one_of(end, TIMED_OUT)
        self.recorder.tell_again()
        self.recorder.end(is_successful=end is None or is_one_of(end, SUCCEEDED))
        self.submission_log.close()
        self._is_timed_out = bool(self.task.execution_timeout) and is_one_of(end, TIMED_OUT)
        if end is None or is_one_of(end, SUCCEEDED):
            self._settle()
        elif is_one_of(end, DEFERRED):
            self._defer(end)
        elif is_one_of(end, CONTINUED):
            self._leave(TryState.DEFERRED)
        elif not self.recorder.is_killed and self.tries.may_follow(end):
            # Airflow may decide otherwise (a retry policy): then failed() cancels.
            self._drop_late_answers()
            self.store.flush()
            self.canceller.returned()
            self._log_running("%s; the next try takes over %s.", self._why(end))
        else:
            if self.recorder.is_killed:  # and its cancel is on its way
                self._drop_late_answers()
            self.releases.withdraw()
            self._cancel(self._why(end))

    def _drop_late_answers(self) -> None:
        """Have Airflow's answers in order again. May take as long as Airflow does."""
        if self._has_late_answers and self.store.may_write():
            self._has_late_answers = False
            try:
                drop_late_answers(self.owner.ti_id)
            except Exception as error:  # noqa: BLE001  reported; the jobs are cancelled all the same
                self.log.warning("Airflow's answers to this task may be mixed up: %r", error)

    def _why(self, end: BaseException | None) -> str:
        """Why the task ended, without the message of its exception, which may hold secrets."""
        if self.recorder.is_killed:
            return SIGTERM_RECEIVED
        if self._is_timed_out:
            return "Task ran longer than its execution_timeout"
        return why_of(end)

    def _log_running(self, words: str, *before: str) -> None:
        if running := self.ledger.started:
            self.log.info(words, *before, named(running))

    def _settle(self) -> None:
        """Release the jobs that still run, before the task's success is reported."""
        # Jobs released in an event loop have left the ledger, but their release is not written yet.
        has_more = self.canceller.knows_more
        if not self.ledger.is_empty or self.ledger.released or has_more:
            self.lookups.find_placed("They are left running, as the task has succeeded.")
            self.releases.succeeded(self.lookups.duplicates(), has_more=has_more)
            self.store.close()
            self._log_running("Task succeeded; left running: %s.")
        self.canceller.returned()

    def _leave(self, state: TryState) -> None:
        """Hand the jobs over to the trigger or the process that continues the task."""
        if self.canceller.knows_more:
            self.recorder.unguarded("from now on, jobs of forked children, which are on no record")
        self.store.flush(state)
        self.releases.flush()
        self._is_handled = True
        self._is_left = state is TryState.DEFERRED
        self.waits_here = self._is_left and is_in_process()
        if not self._is_left:
            self.canceller.done()
        elif not self.waits_here:
            self.canceller.returned()  # it stays until Airflow has taken the task: see stops()

    def _cancel(self, why: str) -> None:
        """Cancel the jobs, and wait for their end: a retry must not overlap with them.

        :param why: why the task ended, as the beginning of a sentence.
        """
        self._is_handled, self._is_left = True, False
        self.recorder.is_failed = True
        self.canceller.relay()
        if self._is_settled:
            self._drop_late_answers()
            self._write_ends()
            self.canceller.done()
            return
        if not self.ledger.is_reached:
            self._drop_late_answers()
            for event in reached(self.ledger, self.log):
                self.recorder.tell(event)
        started = list(self.ledger.started)
        self.canceller.cancel(why)
        self._drop_late_answers()
        self.store.flush(TryState.RUNNING)
        seconds = KILL_GRACE if self.recorder.is_killed else self.settings.confirm_seconds
        is_over = self.canceller.wait_for("ended", seconds)
        self.canceller.relay()
        self._write_ends()
        if not is_over:
            self._say_what_lives(why, started)

    def _say_what_lives(self, why: str, started: Sequence[RemoteJob]) -> None:
        """Log which jobs were not seen to end.

        :param started: those that lived when the cancel began. The ledger may have closed them since.
        """
        ends = self.canceller.ends
        jobs = [job for job in dict.fromkeys([*started, *self.ledger.started]) if job not in ends]
        living = named(jobs) or "jobs of submissions without an answer"
        if self.canceller.has_failed:
            self.log.error("%s: the cancel has failed; these jobs may still be running: %s", why, living)
            return
        words = "%s: the jobs have not ended yet; cancelling continues for up to %s s: %s"
        self.log.warning(words, why, self.settings.patience, living)

    def _write_ends(self) -> None:
        """Put on record how the jobs have ended, as far as that is known."""
        if ends := self.canceller.ends:
            self.ledger.apply(JobsEnded(tuple(ends), ends))
        self.store.flush(TryState.RUNNING)

    def _defer(self, deferred: Any) -> None:
        from airflow_cancel_provider.guard.trigger import GuardTrigger, bounded

        self.lookups.find_placed("The trigger looks for them by label.")
        jobs = self.ledger.jobs
        if not self.ledger.is_settled:
            try:
                self.store.flush(TryState.DEFERRED)
                self.store.check_written()
                record = self.store.record()
                deferred.trigger = GuardTrigger.around(
                    deferred.trigger, record, self.owner.reason, self.settings.deployment
                )
                deferred.timeout = bounded(deferred.timeout, self.ti)
                self._log_running("Task is deferred; its trigger guards %s.")
            except Exception as error:  # noqa: BLE001  reported; the guard must not break a deferral
                self.recorder.unguarded(f"the task while it is deferred, with {named(jobs)}: {error!r}")
        self._leave(TryState.DEFERRED)

    def _take_over_or_cancel(self) -> None:
        """Take over the recorded jobs of this try or of earlier ones, or cancel those of earlier ones."""
        if self.tries.is_resumed:
            self._inherit(self.store.before_deferral())
            # From now on a trigger that is moved, or fires late, leaves the jobs to this process.
            self.store.flush(TryState.RUNNING)
            return
        if self.tries.is_first and not self.tries.is_rescheduled:
            return
        left = self.store.of_earlier()
        if left is None:
            return
        # Airflow also reschedules a try whose Dag it can't read yet: then the record is an earlier try's.
        if self.tries.is_rescheduled and left.ti_id == self.owner.ti_id:
            self._inherit(left)
            return
        if self.tries.go_on or left.state is not TryState.DEFERRED:
            left = left.without(self.owner.ti_id)  # this try has not started anything yet
        if self.tries.go_on:
            self._inherit(left)
            if not self.tries.is_followed:
                # The last try: its jobs are cancelled if it fails.
                for event in reached(self.ledger, self.log):
                    self.recorder.tell(event)
        else:
            self.ends_of_earlier = end_earlier(left, self.owner, self.settings, self.log)
            self.store.close_earlier(left, self.ends_of_earlier)

    def _inherit(self, record: TryRecord | None) -> None:
        if record is not None:
            for event in inherited(record, self.owner, self.log):
                self.ledger.apply(event)

    @property
    def _has_nothing(self) -> bool:
        """Whether nothing was started or taken over."""
        return self.ledger.is_empty and not self.canceller.knows_more

    @property
    def _is_settled(self) -> bool:
        """Whether there is nothing left to cancel, not even jobs of forked children."""
        return self.ledger.is_settled and not self.canceller.knows_more

    @property
    def _has_succeeded(self) -> bool:
        """Whether Airflow has recorded the task's success; callbacks may still run."""
        return _state_of(self.ti) == "success"


def _state_of(ti: Any) -> str:
    return str(getattr(ti, "state", None) or "")


def log_of(task: Any) -> Any:
    """The task's logger; attributes that the first access caches on the task are removed again."""
    own = getattr(task, "__dict__", {})
    before = set(own)
    log = task.log
    for name in own.keys() - before:
        del own[name]
    return log


def _log_file() -> str | None:
    from airflow_cancel_provider.version_compat import conf

    folder = Path(conf.get("logging", "base_log_folder", fallback=""))
    return str(log_file_in(folder)) if folder.is_dir() else None
