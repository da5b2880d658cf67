"""What becomes of the jobs of a try at its end: they are released, handed over, kept, or cancelled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.guard.events import JobsEnded
from airflow_cancel_provider.guard.inherited import reached
from airflow_cancel_provider.guard.parts import TryParts
from airflow_cancel_provider.guard.sentinel.process import is_in_process
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import TryState
from airflow_cancel_provider.task_log import named

KILL_GRACE = 4.0
"""Seconds for which a killed task waits for its cancel requests, or for its jobs; Airflow gives it five."""

REACH_PAUSES = (0.0, 1.0, 4.0)
"""Seconds before each look for the connections of jobs from before this process."""


class Care(StrEnum):
    """Who sees to the jobs of a try."""

    HERE = "here"
    """This process."""
    HANDED_OVER = "handed over"
    """The trigger, or the process that goes on with the try, if Airflow lets it wait."""
    OVER = "over"
    """The next try, the sentinel alone, or nobody: a success was reported."""


class AtEnd:
    """The ends of a try, each with what it means for the jobs.

    :ivar care: who sees to the jobs now.
    :ivar waits_here: whether the try, or its jobs for the next one, wait in this process: its sentinel stays.
    """

    def __init__(self, parts: TryParts) -> None:
        self._parts = parts
        self.care = Care.HERE
        self.waits_here = False
        self.why_kept = ""
        """Why the task ended, where its jobs were kept for a next try."""

    def release(self) -> None:
        """Leave the jobs that still run, before the task's success is reported."""
        parts = self._parts
        # Jobs released in an event loop have left the ledger, but their release is not written yet.
        has_more = parts.canceller.knows_more
        if not parts.ledger.is_empty or parts.ledger.released or has_more:
            parts.lookups.find_placed("They are left running, as the task has succeeded.")
            parts.releases.succeeded(parts.lookups.duplicates(), has_more=has_more)
            parts.store.close()
            self._log_running("Task succeeded; left running: %s.")
        parts.canceller.returned()

    def defer(self, deferred: Any) -> None:
        """Hand the jobs over to a trigger around that of the deferral."""
        from airflow_cancel_provider.guard.trigger import GuardTrigger, bounded

        parts = self._parts
        parts.lookups.find_placed("The trigger looks for them by label.")
        if not parts.ledger.is_settled:
            try:
                parts.store.flush(TryState.DEFERRED)
                parts.store.check_written()
                deferred.trigger = GuardTrigger.around(
                    deferred.trigger,
                    parts.store.record(),
                    parts.owner.reason,
                    parts.settings.deployment,
                    parts.access,
                )
                deferred.timeout = bounded(deferred.timeout, parts.ti)
                self._log_running("Task is deferred; its trigger guards %s.")
            except Exception as error:  # noqa: BLE001  reported; the guard must not break a deferral
                jobs = named(parts.ledger.jobs)
                parts.recorder.unguarded(f"the task while it is deferred, with {jobs}: {error!r}")
        self.hand_over(TryState.DEFERRED)

    def hand_over(self, state: TryState) -> None:
        """Leave the jobs to the trigger or the process that continues the task.

        :param state: ``RUNNING`` for the next try.
        """
        parts = self._parts
        if parts.canceller.knows_more:
            parts.recorder.unguarded("from now on, jobs of forked children, which are on no record")
        parts.store.flush(state)
        parts.releases.flush()
        self.waits_here = is_in_process()
        self.care = Care.HANDED_OVER if state is TryState.DEFERRED else Care.OVER
        if self.waits_here:
            return
        if self.care is Care.OVER:
            parts.canceller.done()
        else:
            parts.canceller.returned()  # it stays until Airflow has taken the task: see TaskGuard.stops()

    def keep(self, why: str) -> None:
        """Keep the jobs for the next try. Airflow may decide that there is none: then they are cancelled.

        :param why: why the task ended, as the beginning of a sentence.
        """
        parts, self.why_kept = self._parts, why
        parts.store.flush()
        if not is_in_process():
            parts.canceller.returned()
        self._log_running("%s; the next try takes over %s.", why)

    def cancel(self, why: str) -> None:
        """Cancel the jobs, and wait for their end: a retry must not overlap with them.

        :param why: why the task ended, as the beginning of a sentence.
        """
        parts = self._parts
        self.care = Care.OVER
        parts.recorder.is_failed.set()
        parts.canceller.relay()
        started: list[RemoteJob] = []
        is_settled = parts.is_settled
        if not is_settled:
            self._reach()
            started = list(parts.ledger.started)
            parts.canceller.cancel(why)
        # Only now Airflow is asked anything: that may take as long as it likes.
        parts.releases.withdraw()
        if is_settled:
            self._write_ends()
            parts.canceller.done()
            return
        parts.store.flush(TryState.RUNNING)
        seconds = KILL_GRACE if parts.recorder.is_killed else parts.settings.confirm_seconds
        is_over = parts.canceller.wait_for("ended", seconds, relays=True)
        parts.canceller.relay()
        self._write_ends()
        if not is_over:
            self._say_what_lives(why, started)

    def _reach(self) -> None:
        """Find out how to reach jobs of before this process: Airflow is asked for their connections.

        It is asked again where it did not say, unless the task was killed: a secrets backend may be away.
        """
        parts = self._parts
        for pause in REACH_PAUSES:
            if parts.ledger.is_reached or (pause and parts.recorder.is_killed):
                return
            time.sleep(pause)
            troubles: list[Exception] = []
            for event in reached(parts.ledger, parts.access, parts.log, troubles):
                parts.recorder.tell(event)
            if not any(isinstance(error, AirflowUnavailable) for error in troubles):
                return

    def _write_ends(self) -> None:
        """Put on record how the jobs have ended, as far as that is known."""
        parts = self._parts
        if ends := parts.canceller.ends:
            parts.ledger.apply(JobsEnded(tuple(ends), ends))
        parts.store.flush(TryState.RUNNING)

    def _say_what_lives(self, why: str, started: Sequence[RemoteJob]) -> None:
        """Log which jobs were not seen to end.

        :param started: those that lived when the cancel began. The ledger may have closed them since.
        """
        parts = self._parts
        ends = parts.canceller.ends
        jobs = [job for job in dict.fromkeys([*started, *parts.ledger.started]) if job not in ends]
        living = named(jobs) or "jobs of submissions without an answer"
        if parts.canceller.has_failed:
            parts.log.error("%s: the cancel has failed; these jobs may still be running: %s", why, living)
            return
        words = "%s: the jobs have not ended yet; cancelling continues for up to %s s: %s"
        parts.log.warning(words, why, parts.settings.patience, living)

    def _log_running(self, words: str, *before: str) -> None:
        if running := self._parts.ledger.started:
            self._parts.log.info(words, *before, named(running))
