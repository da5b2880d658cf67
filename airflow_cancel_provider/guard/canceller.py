"""Have the jobs of a try cancelled: by the sentinel, or by a thread of the task's own process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from threading import RLock, Thread
from typing import Any

from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard.cancel_loop import CancelLoop
from airflow_cancel_provider.guard.end_reports import EndReports
from airflow_cancel_provider.guard.events import Event, JobsStarted, SubmissionIntended
from airflow_cancel_provider.guard.forks import SharedFlag
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel.client import END_SECONDS, LAST_WORDS, Sentinel, SentinelError
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.metrics import Layer, send_cancel, stats_of_task
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.settings import Settings

START_SECONDS = 1.0
"""Longest wait for the sentinel to start; mostly it has started before the service answers."""
START_AGAIN_SECONDS = 10.0
"""Pause before another attempt to start one."""
IN_CHILD = "jobs that are started in a forked child of the task: there is no sentinel to hear of them."


class Canceller:
    """Passes every event of a try to the sentinel, and has the jobs cancelled on request.

    The sentinel process cancels, because it survives the task's process. Without a sentinel a thread of the
    task's process cancels, and the task's log has a warning. Recording goes on without the sentinel.

    :param reports: with which the sentinel puts ends on record; None: it does not.
    :param is_armed: whether the sentinel cancels when the task's process ends without notice.
    """

    def __init__(
        self,
        ledger: TryLedger,
        owner: Owner,
        settings: Settings,
        log: Any,
        unguarded: Callable[[str], None],
        *,
        log_file: str | None = None,
        task_log: str | None = None,
        reports: EndReports | None = None,
        is_armed: bool = True,
    ) -> None:
        self._pid = os.getpid()
        self._heard_children = SharedFlag()
        """Whether forked children have sent a job to the sentinel."""
        self._unguarded, self._log, self._log_file = unguarded, log, log_file
        self._sentinel_over: Callable[..., Sentinel] = partial(
            Sentinel, settings, owner, log_file, log, is_armed=is_armed, task_log=task_log
        )
        self._new_sentinel = partial(self._sentinel_over, ledger, reports=reports)
        self._sentinel = self._new_sentinel() if settings.sentinel else None
        self._start_again_at = 0.0
        self._starting_another = RLock()
        self._thread = CancelThread(ledger, owner, settings, log)
        self._has_news = False
        """Whether there are events that no sentinel has received."""
        self.is_told = self._is_late = False
        """Whether a cancel was requested, and whether jobs were started after that."""
        self._is_with_thread = False
        """Whether the thread cancels: it was told last, or has taken over."""
        self._why = ""
        self._is_done = False

    @property
    def sentinel(self) -> Sentinel | None:
        """The sentinel, if one is there to act."""
        sentinel = self._sentinel
        return sentinel if sentinel and not self._is_done and sentinel.can_act else None

    @property
    def knows_more(self) -> bool:
        """Whether the sentinel knows jobs that this process does not: jobs of forked children."""
        return bool(self._heard_children)

    @property
    def is_heard(self) -> bool:
        """Whether this process or a sentinel can cancel what is started here: not so in each forked child."""
        sentinel = self._sentinel
        return os.getpid() == self._pid or bool(sentinel and sentinel.is_started and sentinel.is_usable)

    def hear(self, event: Event) -> None:
        """Pass an event on."""
        if self._is_done:
            return
        if os.getpid() != self._pid:
            self._hear_child(event)
            return
        if self._sentinel is None:
            return
        if not self._sentinel.is_usable and not self._start_another(event):
            self._has_news = True
            return
        self._is_late |= self.is_told and isinstance(event, JobsStarted)
        try:
            self._sentinel.hear(event)
            if isinstance(event, JobsStarted):
                self._sentinel.check(START_SECONDS)
        except SentinelError as error:
            self._miss_sentinel(error)

    def _hear_child(self, event: Event) -> None:
        """Pass an event of a forked child on. What it starts is known to the sentinel alone.

        The child starts none: that would cancel the jobs of the whole task when the child ends.
        """
        sentinel = self._sentinel
        if sentinel and self.is_heard:
            with suppress(SentinelError):  # it is not usable then
                sentinel.hear(event)
        if not isinstance(event, SubmissionIntended | JobsStarted):
            return
        if self.is_heard:
            self._heard_children.set()
            return
        is_late = sentinel is not None and not sentinel.is_started
        advice = " Start the first job in the task itself." if is_late else ""
        self._unguarded(f"{IN_CHILD}{advice}")

    def _miss_sentinel(self, error: SentinelError) -> None:
        self._has_news = True
        self._start_again_at = time.monotonic() + START_AGAIN_SECONDS
        why = (
            "a sudden end of this task's process (SIGKILL, out of memory), as there is no sentinel: "
            f"{error}. After an error or SIGTERM this process cancels its jobs itself."
        )
        self._unguarded(why)

    @property
    def ends(self) -> Mapping[RemoteJob, JobEnd]:
        """How jobs have ended that were cancelled, as far as that is known in this process."""
        return {**self._thread.ends, **(self._sentinel.ends if self._sentinel else {})}

    @property
    def has_failed(self) -> bool:
        """Whether the cancel is over, and not all jobs were seen to end: a service has refused it."""
        if self._is_with_thread or self._sentinel is None:
            return self._thread.has_failed
        return self._sentinel.last_word == "failed"

    def cancel(self, why: str) -> None:
        """Cancel now. Safe in a signal handler.

        :param why: why the task ends, as the beginning of a sentence.
        """
        self._why = why
        if by := self._begun():
            by.cancel(why)

    def relay(self) -> None:
        """Log what the sentinel has sent for the task's log. Not in a signal handler: a log has locks."""
        if self._sentinel and not self._is_done:
            self._sentinel.relay()

    def go_on_with(self, before: Canceller) -> None:
        """Keep the sentinel of another canceller of this task, which has not ended it."""
        if before.sentinel is not None:
            self._sentinel = before.sentinel

    def returned(self) -> None:
        """Disarm the sentinel: if the task's process ends from here on, the task may have succeeded."""
        if self._sentinel and not self._is_done:
            self._sentinel.returned()

    def done(self, *, seconds: float = END_SECONDS) -> None:
        """End the sentinel: nothing is left to cancel, or the jobs were handed over.

        :param seconds: longest wait for its end.
        """
        if self._sentinel and not self._is_done:
            self._sentinel.done(seconds=seconds)
        self._is_done = True

    def wait_for(self, word: str, seconds: float, *, relays: bool = False) -> bool:
        """Wait until the cancel is ``accepted`` or the jobs have ``ended``; return whether they have.

        If the sentinel process exits before that, or does not answer, a thread of this process cancels. Where
        both cancel, a job may be asked to end twice, which does no harm.

        :param relays: whether to :meth:`relay` meanwhile.
        """
        deadline = time.monotonic() + seconds
        sentinel = self._sentinel
        if self._is_with_thread or sentinel is None or self._is_done:
            return self._thread.wait_for(word, seconds)
        if sentinel.wait_for(word, seconds, relays=relays):
            return True
        if sentinel.last_word or (sentinel.can_act and not sentinel.is_stuck):
            return False
        self._log.warning(
            "The sentinel process %s (log: %s); the task's process cancels now.",
            "does not answer" if sentinel.can_act else "exited before the cancel was confirmed",
            self._log_file,
        )
        self._is_with_thread = True
        self._thread.cancel(self._why)
        return self._thread.wait_for(word, deadline - time.monotonic())

    @contextmanager
    def if_killed(self, ledger: TryLedger) -> Iterator[None]:
        """While this lasts, have a sentinel of its own cancel the jobs of a ledger if the task is killed."""
        if self._sentinel is None:
            yield
            return
        sentinel = self._sentinel_over(ledger)
        try:
            sentinel.hear(next(ledger.history()))
            sentinel.check(START_SECONDS)
        except Exception as error:  # noqa: BLE001  reported; the task waits for its jobs all the same
            self._unguarded(f"the jobs that it waits for, if it gets SIGKILL: {error}")
        end: Callable[[], None] = sentinel.done
        try:
            yield
        except Killed:  # it goes on with the cancel when this process has ended
            end = partial(sentinel.cancel, "Task received SIGTERM")
            raise
        finally:
            end()

    def _begun(self) -> Sentinel | CancelThread | None:
        """Who is to cancel; None: the sentinel has finished, and there were no events since."""
        if self._is_late and self._sentinel:
            # Its earlier messages may be about the jobs that it knew then.
            self._sentinel.forget_words()
        self.is_told, self._is_late = True, False
        if self._sentinel and self._sentinel.has_finished and not self._has_news:
            return None
        # One may have started after a kill: a resumed task can reach its jobs when its handler has returned.
        sentinel = self.sentinel
        self._is_with_thread = sentinel is None or sentinel.is_stuck
        return self._thread if self._is_with_thread else sentinel

    def _start_another(self, event: Event) -> bool:
        """Prepare another sentinel for a new submission; return whether there is one now."""
        is_time = isinstance(event, SubmissionIntended) and time.monotonic() >= self._start_again_at
        with self._starting_another:
            # Of two of them, one would not be told that the task has succeeded.
            if is_time and self._sentinel and not self._sentinel.is_usable:
                self._sentinel = self._new_sentinel()
        return is_time


class CancelThread:
    """Cancels in a thread of the task's process, where there is no sentinel."""

    def __init__(self, ledger: TryLedger, owner: Owner, settings: Settings, log: Any) -> None:
        self._ledger, self._owner, self._settings, self._log = ledger, owner, settings, log
        self._thread: Thread | None = None
        # No locks: a signal handler may wait while the code that it interrupted waits.
        self._words: frozenset[str] = frozenset()
        self._why = ""
        self.ends: dict[RemoteJob, JobEnd] = {}
        """How the jobs that it cancelled have ended."""

    @property
    def has_failed(self) -> bool:
        """Whether it is over, and not all jobs were seen to end."""
        return "failed" in self._words

    def cancel(self, why: str) -> None:
        """Cancel; a cancel that runs already goes on.

        Where no thread can be started it is done right here, for as long as a failing task waits.
        """
        self._why = why
        if self._thread is not None and self._thread.is_alive() and not self._words & LAST_WORDS:
            return
        # After its last word a thread only sends metrics: it does not see jobs that were started since.
        self._words = frozenset()
        self._thread = Thread(target=self._run, name="remote-jobs-cancel", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads
            self._log.warning("Cancelling in this thread, as no other can be started: %s", error)
            self._run(self._settings.confirm_seconds)

    def wait_for(self, word: str, seconds: float) -> bool:
        """Wait until ``accepted`` or ``ended``; whether it came to that."""
        deadline = time.monotonic() + seconds
        while not self._words & {word, *LAST_WORDS} and time.monotonic() < deadline:
            time.sleep(0.02)
        return bool(self._words & {word, "ended"})

    def _run(self, patience: float | None = None) -> None:
        since = self._ledger.clock.now()
        cancel_log = CancelLog(self._log, Actor.TASK, lambda: self._why, self._ledger.clock)
        self.ends = cancel_log.ends
        loop = CancelLoop(
            self._ledger,
            self._log,
            own=self._owner.label,
            reason=self._owner.reason,
            patience=self._settings.patience if patience is None else patience,
            escalate_after=self._settings.escalate_after,
            cancel_log=cancel_log,
        )
        loop.run(self._say)
        send_cancel(
            loop.engine.outcomes(),
            Layer.TASK,
            stats_of_task,
            self._log,
            since=since,
            requested_at=loop.engine.cancellation.requested_at,
            now=self._ledger.clock.now(),
        )

    def _say(self, word: str) -> None:
        self._words |= {word}
