"""Cancelling in the task's own process, for those who want no second one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from threading import Event, Lock, Thread
from typing import Any

from airflow_cancel_provider.guard.settings import Settings
from airflow_cancel_provider.guard.undertaking import Undertaking
from airflow_cancel_provider.jobs import RemoteJob, released_key
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import Intent


class InProcess:
    """Does what the sentinel does, as long as the task's process lives."""

    def __init__(self, settings: Settings, reason: str, log: Any) -> None:
        self._settings, self._reason, self._log = settings, reason, log
        self._lock = Lock()
        self._intents: dict[str, Intent] = {}
        self._jobs: dict[RemoteJob, Intent] = {}
        self._released: set[str] = set()
        self._thread: Thread | None = None
        self._said = {"accepted": Event(), "ended": Event(), "failed": Event()}

    def read(self, what: str, whom: Any) -> None:
        """Take an entry of the ledger."""
        with self._lock:
            if what in ("intent", "placed"):
                self._intents[whom.token] = whom
            elif what == "started":
                intent, jobs = whom
                self._intents.pop(intent.token, None)
                self._jobs |= dict.fromkeys(jobs, intent)
            elif what == "refused":
                self._intents.pop(whom.token, None)
            else:
                self._released.update(map(released_key, whom))
                for job in whom:
                    self._jobs.pop(job, None)

    def killed(self) -> None:
        """The task was told to end: cancel now."""
        self.cancel()

    def cancel(self) -> None:
        """The task is failing: cancel now."""
        if self._thread is None or not self._thread.is_alive():
            for word in self._said.values():
                word.clear()
            self._thread = Thread(target=self._run, name="remote-jobs-cancel", daemon=True)
            self._thread.start()

    def returned(self) -> None:
        """The task's work is done."""

    def done(self) -> None:
        """The task has succeeded, or has handed its jobs on."""

    def wait_for(self, word: str, seconds: float) -> bool:
        """Wait until ``accepted`` or ``ended``; whether it came to that."""
        return self._said[word].wait(seconds)

    def jobs(self) -> Iterable[RemoteJob]:
        """Addresses of what was started."""
        with self._lock:
            return list(self._jobs)

    def intents(self) -> Iterable[Intent]:
        """Submissions without an answer."""
        with self._lock:
            return list(self._intents.values())

    def released(self) -> Collection[str]:
        """``released_key`` of what is to live on."""
        with self._lock:
            return set(self._released)

    def line(self, job: RemoteJob) -> ClientSpec:
        """How to reach a job's service."""
        with self._lock:
            return self._jobs[job].line

    def taken_at(self, job: RemoteJob) -> float:
        """When the service took a job, in epoch seconds; 0 for long ago."""
        with self._lock:
            return self._jobs[job].at

    def _run(self) -> None:
        Undertaking(
            self,
            self._reason,
            self._log,
            patience=self._settings.patience,
            escalate_after=self._settings.escalate_after,
        ).run(self._say)

    def _say(self, word: str) -> None:
        self._said[word].set()
        if word == "ended":
            self._said["accepted"].set()
