"""What one try tells of its submissions, and what is written on its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from threading import current_thread, main_thread
from typing import Any

from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.guard.connecting import line_of
from airflow_cancel_provider.guard.ledger import Ledger
from airflow_cancel_provider.guard.settings import Settings
from airflow_cancel_provider.guard.tries import Tries
from airflow_cancel_provider.guard.waiting import waits
from airflow_cancel_provider.jobs import RemoteJob, released_key
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, Intent

UNHEARD = ""
"""Token of a submission that is not the task's."""


class TryRecorder:
    """The fence, the label and the ledger of one try.

    See :class:`~airflow_cancel_provider.services.submissions.Recorder`.
    """

    def __init__(self, ti: Any, owner: Owner, tries: Tries, settings: Settings, ledger: Ledger) -> None:
        self._task = ti.task
        self._owner = owner
        self._tries = tries
        self._settings = settings
        self.ledger = ledger
        self.is_killed = False
        """Whether the task was told to end: then it may start nothing more."""
        self.is_over = False
        """Whether its jobs were seen to; a callback may still start some, which are not the task's."""

    def label(self) -> Label | None:
        """What to write on a job.

        :raises SubmissionRefused: the task was told to end.
        """
        if self.is_killed:
            raise SubmissionRefused("This task was told to end; it may not start more remote jobs.")
        return None if self._is_callback else self._label

    def carrier(self, service: str) -> str | None:
        """What of a service's jobs carries the label, where there is a choice."""
        return self._settings.emr_label if service == "emr" else None

    def tags(self) -> dict[str, str]:
        """Tags to put on a job, if they are wanted."""
        label = {LABEL_PARAMETER: str(self._label)} if self._label else {}
        return self._owner.tags | label if self._settings.tags and not self._is_callback else {}

    def intend(self, line: ClientSpec, scope: str | None, unlabelled: tuple[str, ...]) -> Intent:
        """A submission is about to be sent; jobs of these names go without the label."""
        if self._is_callback:
            return Intent(UNHEARD, line, scope, None)
        return self.ledger.intend(line, scope, self._label, unlabelled)

    def started(self, intent: Intent, jobs: Sequence[tuple[str | None, str]]) -> None:
        """It was taken.

        :raises Killed: the task was told to end meanwhile.
        """
        if intent.token == UNHEARD:
            return
        addresses = [intent.line.address(scope, job_id) for scope, job_id in jobs]
        self.ledger.started(intent, addresses)
        if self.is_killed:
            # The sentinel has heard of it by now; the task must not go on with it.
            raise Killed("The task was killed while it started a job; its end was requested.", addresses)

    def placed(self, intent: Intent, scope: str) -> None:
        """It was taken, and its jobs are in this scope, under the label."""
        if intent.token == UNHEARD:
            return
        self.ledger.placed(intent, scope)
        if intent.unlabelled:
            self.unguarded(f"jobs that are in {scope} without a label: {', '.join(intent.unlabelled)}")

    def refused(self, intent: Intent) -> None:
        """It was not taken."""
        if intent.token != UNHEARD:
            self.ledger.refused(intent)

    def unguarded(self, why: str) -> None:
        """Say that the guard has a hole."""
        self._task.log.warning("Not guarded: %s", why)

    def track(self, job: RemoteJob) -> None:
        """Guard a job that was started out of sight."""
        self.ledger.track(line_of(job), [job])

    def release(self, job: RemoteJob) -> None:
        """Let a job live on, over whatever connection it was named."""
        known = [each for each in self.ledger.jobs if released_key(each) == released_key(job)]
        self.ledger.release(known or [job])

    @property
    def _is_callback(self) -> bool:
        """Whether a callback asks, and not the task, whose jobs have been seen to."""
        return self.is_over and current_thread() is main_thread()

    @property
    def _label(self) -> Label | None:
        if not self._settings.labels:
            return None
        return replace(self._owner.label, reconnects=self._tries.go_on, waits=waits(self._task))
