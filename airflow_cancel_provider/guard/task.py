"""The guard in the task's own process: from before ``execute`` until the state is reported."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

from airflow_cancel_provider.cancellation import UNSEEN_SECONDS
from airflow_cancel_provider.engine.label_search import labelled
from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard import capture
from airflow_cancel_provider.guard.attach import attach, detach
from airflow_cancel_provider.guard.canceller import Canceller
from airflow_cancel_provider.guard.events import JobsEnded, JobsStarted, TryLedger
from airflow_cancel_provider.guard.inherited import end_earlier, inherited, reached
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.guard.releases import LOOK_SECONDS, Releases
from airflow_cancel_provider.guard.retries import Tries
from airflow_cancel_provider.guard.sentinel.log_file import log_file_in
from airflow_cancel_provider.guard.store import RecordStore
from airflow_cancel_provider.guard.submission_log import SubmissionLog
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.services.registry import open_service
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.services.submissions import RECORDERS
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.task_log import PrefixedLog, log_file_of, named

KILL_GRACE = 4.0
"""Seconds that a killed task waits for the word that the request was accepted; Airflow gives it five."""

TOLD_TO_END = "Task was told to end (SIGTERM: marked, cleared, Dag run timed out, or its worker stops)"
"""Airflow does not tell a task which of these it was."""

HANDED_ON = ("TaskDeferred",)
GOES_ON = ("AirflowRescheduleException", "DagRunTriggerException", "TaskAwaitingInput")
SUCCEEDED = ("DownstreamTasksSkipped",)
"""What ``execute`` raises, by name, though the task has not failed: not every Airflow has each."""
TIMED_OUT = ("AirflowTaskTimeout",)


class TaskGuard:
    """Guards one try: whatever it starts is cancelled unless it succeeds, defers, or lets it go."""

    def __init__(self, ti: Any, settings: Settings) -> None:
        self.ti = ti
        self.task = ti.task
        self.log = PrefixedLog(log_of(ti.task))
        self.settings = settings
        self.owner = Owner.from_context({"ti": ti}, settings.deployment)
        self.tries = Tries(ti, settings)
        self.ledger = TryLedger()
        self.recorder = TryRecorder(self.owner, settings, self.log, self.ledger, goes_on=self.tries.go_on)
        self.canceller = Canceller(
            self.ledger,
            self.owner,
            settings,
            self.log,
            self.recorder.unguarded,
            log_file=_log_file(),
            task_log=log_file_of(ti),
            # What the next try takes over must outlive this one's crash; only being told to end ends it.
            is_armed=not self.tries.is_followed,
        )
        self.store = RecordStore(ti, self.log, self.owner, self.ledger)
        self.releases = Releases(self.owner, self.ledger, self.store, self.log)
        self.submission_log = SubmissionLog(self.log, goes_on=self.tries.go_on)
        self._is_seen_to = False
        """Whether the jobs were cancelled, or left to a trigger or a later process."""
        self._is_left = False
        self._is_timed_out = False
        self._is_executing = False
        self._pid = os.getpid()

    def install(self) -> None:
        """See submissions from now on, and stand between Airflow and the operator."""
        # The record comes last: it is written over a channel that may be slow.
        self.recorder.readers = [
            self.canceller.hear,
            self.submission_log.hear,
            self.store.hear,
            self.releases.hear,
        ]
        capture.install()
        self._see_to_the_past()
        attach(self)
        # Last: a guard that is not whole must not record, or nobody tells the sentinel of a success.
        RECORDERS[:] = [self.recorder]

    def run(self, method: Callable[[], Any]) -> Any:
        """Run ``execute`` or ``resume_execution``, and see to the jobs when it ends."""
        if self._is_executing:  # resume_execution() goes on with execute()
            return method()
        self._is_executing = True
        try:
            result = method()
        except Killed as killed:
            self._see_to_end(killed)
            # The log of a task that was told to end needs no traceback of where it was.
            raise killed.with_traceback(None) from None
        except BaseException as end:  # whatever ends the task, the jobs end with it
            self._see_to_end(end)
            raise
        finally:
            self._is_executing = False
        try:
            self._see_to_end(None)
        except Killed as killed:  # it came while success was being recorded
            self._see_to_end(killed)
            raise
        return result

    def on_kill(self, original: Callable[[], Any]) -> None:
        """Have the jobs cancelled, let the operator do its own, and end the task.

        Runs in a signal handler: nothing here may ask Airflow for anything.

        :raises Killed: jobs had been started, and ``raise_on_sigterm`` is set.
        """
        if self._is_timed_out:
            # Airflow's own call after execution_timeout: _ended() has seen to the jobs.
            self._is_timed_out = False
            original()
            return
        again, self.recorder.is_killed = self.recorder.is_killed, True
        has_nothing = self.ledger.is_empty and not self.canceller.knows_more
        if self._is_seen_to or self._has_succeeded or has_nothing:
            with self.recorder.clean_up():
                original()
            return
        if is_open := not self._is_settled:
            self.canceller.killed(TOLD_TO_END)
        with suppress(Killed), self.recorder.clean_up():
            original()
        # With a call under way its answer is worth more: the task ends when it is in.
        if self.ledger.is_submitting:
            return
        if is_open:
            self.canceller.wait_for("accepted", 0.0 if again else KILL_GRACE)
        if self.settings.raise_on_sigterm:
            raise Killed("The task was killed; the end of its remote jobs was requested.", self.ledger.jobs)

    def succeeded(self) -> None:
        """The state was reported: nothing is left to do."""
        self._is_seen_to = True
        self.canceller.done()
        detach()

    def failed(self) -> None:
        """The task failed after ``execute`` had returned, or for a reason the guard did not see."""
        if self._is_seen_to and not self._is_left:
            detach()
            return
        self.releases.withdraw()
        if self.tries.will_follow:
            self._leave(TryState.RUNNING)
        else:
            self._cancel("Task was failed by Airflow after its work was done")
        detach()

    def _see_to_end(self, end: BaseException | None) -> None:
        """Do what the end of ``execute`` asks for; its own exception is what Airflow sees."""
        try:
            self._ended(end)
        except Exception:
            self.log.exception("Failed to finish cancelling: %s", named(self.ledger.jobs))
        except BaseException as late:
            if not _is(late, TIMED_OUT):
                raise
            self.log.warning("execution_timeout passed while the task's remote jobs were being cancelled")

    def _ended(self, end: BaseException | None) -> None:
        if os.getpid() != self._pid:
            return  # a forked child of the task, not the task
        self.recorder.is_over = True
        self.submission_log.close()
        self._is_timed_out = bool(self.task.execution_timeout) and _is(end, TIMED_OUT)
        if end is None or _is(end, SUCCEEDED):
            self._settle()
        elif _is(end, HANDED_ON):
            self._hand_on(end)
        elif _is(end, GOES_ON):
            self._leave(TryState.DEFERRED)
        elif not self.recorder.is_killed and self.tries.may_follow(end):
            # Airflow may decide otherwise (a retry policy): failed() is told then.
            self.store.flush()
            self.canceller.returned()
            self._log_living("%s; the next try takes over %s.", self._why(end))
        else:
            self.releases.withdraw()
            self._cancel(self._why(end))

    def _why(self, end: BaseException | None) -> str:
        """What has ended the task, without the words of its exception: they may hold secrets."""
        if self.recorder.is_killed:
            return TOLD_TO_END
        if self._is_timed_out:
            return "Task ran longer than its execution_timeout"
        if type(end).__name__ == "AirflowSkipException":
            return "Task was skipped"
        return f"Task failed ({type(end).__name__})"

    def _log_living(self, words: str, *before: str) -> None:
        if living := self.ledger.started:
            self.log.info(words, *before, named(living))

    def _settle(self) -> None:
        """The work is done: what lives may live on. Said before success is reported."""
        # What was released in an event loop, where nothing can be written, is in the ledger no more.
        if not self.ledger.is_empty or self.ledger.released:
            self._find_placed("They may live on, as the task has succeeded.")
            self.releases.succeeded(self._duplicates())
            self.store.close()
            self._log_living("Task succeeded; left running: %s.")
        self.canceller.returned()

    def _duplicates(self) -> dict[RemoteJob, UUID | None]:
        """Living jobs of submissions that may have been carried out twice; they are left alone, and named."""
        known = {job.identity for job in [*self.ledger.jobs, *self.ledger.released]}
        found: dict[RemoteJob, UUID | None] = {}
        for intent in self.ledger.intents:
            if intent.client is None or not intent.is_lost:
                continue
            try:
                service = open_service(intent.client, Patience(seconds=LOOK_SECONDS / 2))
                found |= {job: intent.ti_id for job in labelled(intent, service) if job.identity not in known}
            except Exception as error:  # noqa: BLE001  the task has succeeded; it is only a look
                self.log.warning("Whether %s was carried out twice can't be found out: %s", intent, error)
        if found:
            self.log.warning(
                "Jobs that carry this task's label are running, and no submission was answered with them. "
                "Probably they were started twice, as the answer to a submission was lost. As the task has "
                "succeeded, they are not cancelled: %s",
                named(found),
            )
        return found

    def _leave(self, state: TryState) -> None:
        """Leave the jobs to whoever goes on with them."""
        if self.canceller.knows_more:
            self.recorder.unguarded("from now on, jobs of forked children: they are on no record")
        self.store.flush(state)
        self.releases.flush()
        self._is_seen_to = self._is_left = True
        self.canceller.done()

    def _cancel(self, why: str) -> None:
        """Cancel, and see it end before the state is reported: no retry overlaps with what it retries.

        :param why: what has ended the task, for people.
        """
        self._is_seen_to, self._is_left = True, False
        self.canceller.relay()
        if self._is_settled:
            self.store.flush(TryState.RUNNING)
            self.canceller.done()
            return
        for event in reached(self.ledger, self.log):
            self.recorder.tell(event)
        self.canceller.cancel(why)
        self.store.flush(TryState.RUNNING)
        seconds = KILL_GRACE if self.recorder.is_killed else self.settings.confirm_seconds
        is_over = self.canceller.wait_for("ended", seconds)
        self.canceller.relay()
        if ends := self.canceller.ends:
            self.ledger.apply(JobsEnded(tuple(ends), ends))
            self.store.flush(TryState.RUNNING)
        if not is_over:
            self.log.warning(
                "%s: not seen to end yet, cancelling goes on for up to %s s: %s",
                why,
                self.settings.patience,
                named(self.ledger.started) or "jobs whose submission was not answered",
            )

    def _hand_on(self, deferred: Any) -> None:
        from airflow_cancel_provider.guard.trigger import GuardTrigger, bounded

        self._find_placed("The trigger looks for them by label.")
        jobs = self.ledger.jobs
        if not self.ledger.is_settled:
            try:
                self.store.flush(TryState.DEFERRED)
                self.store.check_written()
                record = self.ledger.record(self.owner.ti_id, TryState.DEFERRED)
                deferred.trigger = GuardTrigger.around(
                    deferred.trigger, record, self.owner.reason, self.settings.deployment
                )
                deferred.timeout = bounded(deferred.timeout, self.ti)
                self._log_living("Task is deferred; its trigger guards %s.")
            except Exception as error:  # noqa: BLE001  a deferral that would have worked must work
                self.recorder.unguarded(f"the task while it is deferred, with {named(jobs)}: {error!r}")
        self._leave(TryState.DEFERRED)

    def _find_placed(self, otherwise: str) -> None:
        """Learn the addresses of jobs that are known by their cluster and label alone.

        :param otherwise: what becomes of jobs that can't be looked for.
        """
        for intent in self.ledger.intents:
            if not intent.is_placed or intent.client is None:
                continue
            try:
                service = open_service(intent.client, Patience(seconds=LOOK_SECONDS))
                found = tuple(labelled(intent, service))
            except Exception as error:  # noqa: BLE001  a task that would have gone on must go on
                place = intent.stored.scope
                self.log.warning("Jobs in %s can't be looked for. %s %s", place, otherwise, error)
                continue
            # What a service lists lags behind what it has taken: nothing found is no end at first.
            if found or time.time() - intent.stored.at > UNSEEN_SECONDS:
                at, ti_id = intent.stored.at, intent.ti_id
                self.recorder.tell(JobsStarted(intent.token, found, intent.client, at, ti_id=ti_id))

    def _see_to_the_past(self) -> None:
        """Take over what is on record of this try or of earlier ones, or cancel it before this one starts."""
        if self.tries.is_resumed:
            self._inherit(self.store.before_deferral())
            # A trigger that was moved, or that fires late, leaves the jobs to this process from now on.
            self.store.flush(TryState.RUNNING)
            return
        if self.tries.is_first and not self.tries.is_rescheduled:
            return
        left = self.store.of_earlier()
        if left is None:
            return
        if self.tries.is_rescheduled:
            self._inherit(left)
            return
        left = left.without(self.owner.ti_id)  # it has not started yet
        if self.tries.go_on:
            self._inherit(left)
            if not self.tries.is_followed:
                # The last try: if it dies, they end with it.
                for event in reached(self.ledger, self.log):
                    self.recorder.tell(event)
        else:
            end_earlier(left, self.owner, self.settings, self.log)

    def _inherit(self, record: TryRecord | None) -> None:
        if record is not None:
            for event in inherited(record, self.owner, self.log):
                self.ledger.apply(event)

    @property
    def _is_settled(self) -> bool:
        """Whether nothing is left that could have to be cancelled, in forked children either."""
        return self.ledger.is_settled and not self.canceller.knows_more

    @property
    def _has_succeeded(self) -> bool:
        """Whether Airflow has taken the task's success down; callbacks may still run."""
        return bool(getattr(self.ti, "state", None) == "success")


def log_of(task: Any) -> Any:
    """The task's logger; what the task keeps of it when it is asked for the first time is taken back."""
    own = getattr(task, "__dict__", {})
    before = set(own)
    log = task.log
    for name in own.keys() - before:
        del own[name]
    return log


def _is(end: BaseException | None, names: Sequence[str]) -> bool:
    return any(cls.__name__ in names for cls in type(end).__mro__)


def _log_file() -> str | None:
    from airflow_cancel_provider.version_compat import conf

    folder = Path(conf.get("logging", "base_log_folder", fallback=""))
    return str(log_file_in(folder)) if folder.is_dir() else None
