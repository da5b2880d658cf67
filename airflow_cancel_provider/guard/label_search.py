"""Search by label for the jobs of submissions whose answer is not known."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from airflow_cancel_provider.cancellation import Log
from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.guard.events import Intent, StartedJob, TryLedger
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec

SEARCH_SECONDS = 60.0
"""For how long after a submission its jobs may be missing in a listing."""
REPEATED_SECONDS = 5.0
"""For how long it is looked for more jobs of a submission that may have been carried out several times."""
MOST_SCOPES = 200
"""Clusters that are searched for jobs of a submission that started one of its own, at most."""


@dataclass
class _Progress:
    searched_at: float | None = None
    """When the service last answered, in epoch seconds."""
    found_at: float | None = None


class LabelSearch:
    """Finds the living jobs of open submissions, over the clients that made these.

    :param open_service: opens a client's service.
    """

    def __init__(self, ledger: TryLedger, open_service: Callable[[ClientSpec], JobService], log: Log) -> None:
        self._ledger, self._open, self._log = ledger, open_service, log
        self._progress: dict[str, _Progress] = {}
        self.found: dict[RemoteJob, StartedJob] = {}
        """Jobs that were found, and how to reach them; the label on record may have been made up."""

    def update(self) -> None:
        """Search once for each submission whose search is not over."""
        for intent in self._ledger.intents:
            if not self._is_over(intent):
                self._search(intent)

    @property
    def is_over(self) -> bool:
        """Whether searching again can find nothing more."""
        return all(map(self._is_over, self._ledger.intents))

    @property
    def has_answers(self) -> bool:
        """Whether each submission was found, or at least searched for if its answer can't come any more."""
        return all(map(self._has_answer, self._ledger.intents))

    def _has_answer(self, intent: Intent) -> bool:
        progress = self._of(intent)
        if intent.is_under_way:
            return progress.found_at is not None
        return progress.searched_at is not None or not _can_be_searched(intent)

    def _is_over(self, intent: Intent) -> bool:
        if not _can_be_searched(intent):
            return not intent.is_under_way or time.time() - intent.stored.at > SEARCH_SECONDS
        progress = self._of(intent)
        if progress.searched_at is None:
            return False
        if progress.found_at is not None:
            # One submission is taken as a whole, so where there is one job there are all of them.
            return not intent.is_lost or progress.searched_at - progress.found_at >= REPEATED_SECONDS
        return progress.searched_at - intent.stored.at > SEARCH_SECONDS

    def _search(self, intent: Intent) -> None:
        if not _can_be_searched(intent) or intent.client is None:
            return
        # The label is that of all jobs of the try: those of its other submissions are not this one's.
        others = {job.identity for job in [*self._ledger.jobs, *self.found, *self._ledger.released]}
        progress, now = self._of(intent), time.time()
        try:
            for job in labelled(intent, self._open(intent.client)):
                if job.identity not in others:
                    self.found[job] = StartedJob(intent.client, ti_id=intent.ti_id)
                    progress.found_at = progress.found_at or now
            progress.searched_at = now
        except CancelProviderError as error:
            self._log.warning("%s Searching again later for the jobs of %s.", error, intent)

    def _of(self, intent: Intent) -> _Progress:
        return self._progress.setdefault(intent.token, _Progress())


def labelled(intent: Intent, service: JobService) -> Iterator[RemoteJob]:
    """Living jobs that carry a submission's label, where it was placed; without a place: in all clusters.

    :raises CancelProviderError: the service did not answer.
    """
    stored = intent.stored
    if stored.label is None:
        return
    scopes = [stored.scope] if stored.scope is not None else islice(service.scopes(), MOST_SCOPES)
    for scope in scopes:
        yield from service.labelled(scope, stored.label)


def _can_be_searched(intent: Intent) -> bool:
    return intent.stored.label is not None and intent.client is not None
