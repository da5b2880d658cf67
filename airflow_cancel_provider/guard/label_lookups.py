"""Looks by label in the task's process: for jobs without ids, and for submissions carried out twice."""

from __future__ import annotations

from uuid import UUID

from airflow_cancel_provider.engine.label_search import labelled
from airflow_cancel_provider.guard.events import JobsStarted
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.guard.releases import DESCRIBE_SECONDS
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.registry import open_service
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.task_log import Log, named
from airflow_cancel_provider.watch import UNSEEN_SECONDS


class LabelLookups:
    """Looks for the jobs of a try's open submissions by their label."""

    def __init__(self, ledger: TryLedger, recorder: TryRecorder, log: Log) -> None:
        self._ledger = ledger
        self._recorder = recorder
        self._log = log

    def find_placed(self, otherwise: str) -> None:
        """Look up the addresses of jobs of which only the cluster and the label are known.

        :param otherwise: what happens to jobs that can't be looked up, as a sentence for the log.
        """
        for intent in self._ledger.intents:
            if not intent.is_placed or intent.client is None:
                continue
            try:
                service = open_service(intent.client, Patience(seconds=DESCRIBE_SECONDS))
                found = tuple(labelled(intent, service))
            except Exception as error:  # noqa: BLE001  reported; the task itself must go on
                place = intent.stored.scope
                self._log.warning("Jobs in %s could not be looked up. %s %s", place, otherwise, error)
                continue
            # A listing shows new jobs late: at first, an empty one does not mean that the jobs have ended.
            if found or self._ledger.clock.now() - intent.stored.at > UNSEEN_SECONDS:
                at, ti_id = intent.stored.at, intent.ti_id
                self._recorder.tell(JobsStarted(intent.token, found, intent.client, at, ti_id=ti_id))

    def duplicates(self) -> dict[RemoteJob, UUID | None]:
        """Running jobs of submissions that may have been carried out twice: logged, and left running."""
        known = {job.identity for job in [*self._ledger.jobs, *self._ledger.released]}
        found: dict[RemoteJob, UUID | None] = {}
        for intent in self._ledger.intents:
            if intent.client is None or not intent.is_lost:
                continue
            try:
                service = open_service(intent.client, Patience(seconds=DESCRIBE_SECONDS / 2))
                found |= {job: intent.ti_id for job in labelled(intent, service) if job.identity not in known}
            except Exception as error:  # noqa: BLE001  reported; a task that has succeeded must not fail for it
                self._log.warning("Whether %s was carried out twice can't be found out: %s", intent, error)
        if found:
            self._log.warning(
                "Jobs that carry this task's label are running, and no submission was answered with them. "
                "Probably they were started twice, as the answer to a submission was lost. As the task has "
                "succeeded, they are not cancelled: %s",
                named(found),
            )
        return found
