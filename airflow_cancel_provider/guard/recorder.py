"""What one try tells of its submissions, and what is written on its jobs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Any

from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.guard.client_pool import client_of
from airflow_cancel_provider.guard.events import (
    AttemptLost,
    Event,
    JobsEnded,
    JobsPlaced,
    JobsReleased,
    JobsStarted,
    SubmissionClosed,
    SubmissionIntended,
    TryLedger,
)
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from airflow_cancel_provider.settings import Settings


class TryRecorder:
    """The label and the ledger of one try; refuses submissions after a kill.

    See :class:`~airflow_cancel_provider.services.submissions.Recorder`. Only what is submitted until
    ``execute`` ends is the try's, and what the operator's ``on_kill`` submits is not.

    :param goes_on: whether the next try takes over the jobs.
    """

    def __init__(
        self, owner: Owner, settings: Settings, log: Any, ledger: TryLedger, *, goes_on: bool = False
    ) -> None:
        self._owner, self._settings, self._log = owner, settings, log
        self._goes_on = goes_on
        self._tokens = count(1)
        self._clean_up_beside: set[int] | None = None
        """While clean-up code runs: the threads that were there before."""
        self._reported: set[str] = set()
        self.ledger = ledger
        self.readers: list[Callable[[Event], None]] = []
        """Who else is told of each event; one that fails does not stop the others."""
        self.is_killed = False
        """Whether the task was told to end: then it may start nothing more."""
        self.is_over = False
        """Whether ``execute`` has ended: what is started from now on is not the try's."""

    def label(self, submission: object) -> Label | None:
        """What to write on a job.

        :raises SubmissionRefused: the task was told to end.
        """
        if not self._is_own:
            return None
        self._refuse_after_kill()
        return self._label

    def carrier(self, service: str) -> str | None:
        """What of a service's jobs carries the label, where there is a choice."""
        return self._settings.carriers.get(service)

    def tags(self) -> dict[str, str]:
        """Tags to put on a job, if they are wanted."""
        if not self._settings.tags or not self._is_own:
            return {}
        return self._owner.tags | ({LABEL_PARAMETER: str(self._label)} if self._label else {})

    def intend(
        self, client: ClientSpec, scope: str | None, unlabelled: tuple[str, ...], *, is_labelled: bool
    ) -> str | None:
        """A submission is about to be sent; jobs of these names go without the label. Gives its token.

        :raises SubmissionRefused: the task was told to end.
        """
        if not self._is_own:
            return None
        self._refuse_after_kill()
        token = f"{os.getpid()}.{next(self._tokens)}"
        label = self._label if is_labelled else None
        self.tell(SubmissionIntended(token, client, scope, label, unlabelled, time.time()))
        return token

    def lost(self, token: str) -> None:
        """One attempt was sent, and what became of it is not known."""
        if intent := self.ledger.intent(token):
            self._log.warning(
                "It is not known whether the service carried out %s. If it is repeated, it may be carried "
                "out twice. If this task fails, living jobs with its label are looked for and cancelled.",
                intent,
            )
            self.tell(AttemptLost(token, time.time()))

    def started(self, token: str, jobs: Sequence[tuple[str | None, str]], not_before: float = 0.0) -> None:
        """It was taken.

        :raises Killed: the task was told to end meanwhile.
        """
        intent = self.ledger.intent(token)
        if intent is None or intent.client is None:
            self.unguarded(f"jobs whose submission is not known: {', '.join(job_id for _, job_id in jobs)}")
            return
        addresses = tuple(intent.client.address(scope, job_id) for scope, job_id in jobs)
        self.tell(JobsStarted(token, addresses, intent.client, time.time(), not_before))
        if self.is_killed:
            # Its end is being requested by now; the task must not go on with it.
            raise Killed("The task was killed while it started a job; its end was requested.", addresses)

    def placed(self, token: str, scope: str) -> None:
        """It was taken, and its jobs are in this scope, under the label."""
        intent = self.ledger.intent(token)
        self.tell(JobsPlaced(token, scope, time.time()))
        if intent and intent.unlabelled:
            self.unguarded(f"jobs that are in {scope} without a label: {', '.join(intent.unlabelled)}")

    def closed(self, token: str) -> None:
        """Nothing (more) can have been started."""
        self.tell(SubmissionClosed(token))

    def ended(self, service: str, region: str | None, ids: Sequence[tuple[str | None, str]]) -> None:
        """These were seen in a terminal state."""
        jobs = [
            job
            for scope, job_id in ids
            for job in self.ledger.find(service, scope, job_id)
            if self.ledger.is_living(job) and (region is None or job.region in (None, region))
        ]
        if jobs:
            self.tell(JobsEnded(tuple(jobs)))

    def unguarded(self, why: str) -> None:
        """Say that the guard has a hole."""
        self._log.warning("Not guarded: %s", why)

    def track(self, job: RemoteJob) -> None:
        """Guard a job that was started out of sight; it is reached over the connection in its address."""
        self.tell(JobsStarted("", (job,), client_of(job), ti_id=self._owner.ti_id))

    def release(self, job: RemoteJob) -> None:
        """Let a job live on, over whatever connection it was named."""
        self.tell(JobsReleased((job,)))

    @contextmanager
    def clean_up(self) -> Iterator[None]:
        """Run code that cleans up: what it submits, here or in a thread that it starts, is not the try's."""
        before = self._clean_up_beside
        self._clean_up_beside = {each.ident or 0 for each in threading.enumerate()} - {threading.get_ident()}
        try:
            yield
        finally:
            self._clean_up_beside = before

    def tell(self, event: Event) -> None:
        """Apply an event to the ledger, then pass it on to every reader."""
        self.ledger.apply(event)
        for reader in self.readers:
            try:
                reader(event)
            except Exception as trouble:  # noqa: BLE001  none may keep the others from it
                self._report(f"what {type(event).__name__} tells: {trouble!r}")

    def _report(self, why: str) -> None:
        if why not in self._reported:
            self._reported.add(why)
            self.unguarded(why)

    def _refuse_after_kill(self) -> None:
        if self.is_killed:
            raise SubmissionRefused("This task was told to end; it may not start more remote jobs.")

    @property
    def _is_own(self) -> bool:
        """Whether who asks is the try's own work, and not a callback or code that cleans up."""
        beside = self._clean_up_beside
        is_cleaning_up = beside is not None and threading.get_ident() not in beside
        return not self.is_over and not is_cleaning_up

    @property
    def _label(self) -> Label | None:
        return replace(self._owner.label, reconnects=self._goes_on) if self._settings.labels else None
