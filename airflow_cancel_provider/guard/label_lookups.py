"""Looks by label in the task's process: for jobs without ids, and for submissions carried out twice."""

from __future__ import annotations

import time
from collections.abc import Hashable
from concurrent.futures import Future
from uuid import UUID

from airflow_cancel_provider.engine.label_search import Intent, labelled
from airflow_cancel_provider.guard.events import JobsStarted
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.guard.releases import DESCRIBE_SECONDS
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.client_spec import ClientSpec, identity_of
from airflow_cancel_provider.services.registry import open_service
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.services.threads import in_background
from airflow_cancel_provider.task_log import Log, named
from airflow_cancel_provider.watch import UNSEEN_SECONDS


class LabelLookups:
    """Looks for the jobs of a try's open submissions by their label.

    A task that has succeeded, or defers, waits for all of it no longer than :data:`DESCRIBE_SECONDS`: through
    many clusters, or where the quota is used up, it takes minutes.
    """

    def __init__(self, ledger: TryLedger, recorder: TryRecorder, log: Log) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._log = log
        self._until: float | None = None
        self._looks: dict[Hashable, Future[tuple[RemoteJob, ...]]] = {}
        """By client, place and label: one serves all submissions that are alike."""

    def find_placed(self, otherwise: str) -> None:
        """Look up the addresses of jobs of which only the cluster and the label are known.

        :param otherwise: what happens to jobs that can't be looked up, as a sentence for the log.
        """
        for intent in self._ledger.intents:
            if not intent.is_placed or intent.client is None:
                continue
            try:
                found = self._labelled(intent, intent.client)
            except Exception as error:  # noqa: BLE001  reported; the task itself must go on
                place, why = intent.stored.scope or "a new cluster", _words(error)
                self._log.warning("Jobs in %s could not be looked up. %s %s", place, otherwise, why)
                continue
            # A listing shows new jobs late: at first, an empty one does not mean that the jobs have ended.
            if found or self._ledger.clock.now() - intent.stored.at > UNSEEN_SECONDS:
                at, ti_id = intent.stored.at, intent.ti_id
                self._recorder.tell(JobsStarted(intent.token, found, intent.client, at, ti_id=ti_id))

    def duplicates(self) -> dict[RemoteJob, UUID | None]:
        """Running jobs of submissions that may have been carried out twice: logged, and left running."""
        known = {job.identity for job in [*self._ledger.jobs, *self._ledger.released]}
        found: dict[RemoteJob, UUID | None] = {}
        troubles: dict[str, None] = {}
        for intent in self._ledger.intents:
            if intent.client is None or not intent.is_lost:
                continue
            try:
                jobs = self._labelled(intent, intent.client)
                found |= {job: intent.ti_id for job in jobs if job.identity not in known}
            except Exception as error:  # noqa: BLE001  reported; a task that has succeeded must not fail for it
                troubles[f"Whether {intent} was carried out twice can't be found out: {_words(error)}"] = None
        for trouble in troubles:
            self._log.warning("%s", trouble)
        if found:
            self._log.warning(
                "Jobs that carry this task's label are running, and no submission was answered with them. "
                "Probably they were started twice, as the answer to a submission was lost. As the task has "
                "succeeded, they are not cancelled: %s",
                named(found),
            )
        return found

    def _labelled(self, intent: Intent, client: ClientSpec) -> tuple[RemoteJob, ...]:
        """The living jobs that carry a submission's label, looked for in a thread.

        :raises TimeoutError: that takes too long. The thread is abandoned.
        """
        self._until = self._until or time.monotonic() + DESCRIBE_SECONDS
        what = (identity_of(client), intent.stored.scope, intent.stored.label)
        if what not in self._looks:
            self._looks[what] = Future()
            in_background(self._looks[what], _look, (intent, client))
        return self._looks[what].result(max(0.0, self._until - time.monotonic()))


def _look(what: tuple[Intent, ClientSpec]) -> tuple[RemoteJob, ...]:
    intent, client = what
    return tuple(labelled(intent, open_service(client, Patience(seconds=DESCRIBE_SECONDS / 2))))


def _words(error: Exception) -> str:
    return f"no answer within {DESCRIBE_SECONDS:g} s." if isinstance(error, TimeoutError) else str(error)
