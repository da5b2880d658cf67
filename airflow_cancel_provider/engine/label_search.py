"""Search by label for the jobs of submissions whose answer is not known."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from uuid import UUID

from airflow_cancel_provider.clock import Clock
from airflow_cancel_provider.exceptions import (
    ConnectionUnusable,
    IdentityError,
    ServiceError,
    ServiceUnavailable,
)
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import StoredIntent
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.task_log import Log

SEARCH_SECONDS = 60.0
"""For how long after a submission its jobs may be missing in a listing."""
REPEATED_SECONDS = 5.0
"""For how long it is looked for more jobs of a submission that may have been carried out several times."""
MOST_SCOPES = 200
"""Clusters that are searched for jobs of a submission that started one of its own, at most."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A submission of which not everything is known.

    :param client: None for one that is on record and not reached yet.
    :param is_under_way: its answer may still come in.
    :param is_lost: an attempt was sent whose outcome is not known, so it may have been carried out twice.
    :param is_placed: it was taken, and its jobs are in ``scope``.
    :param ti_id: the try on whose record it is; None where this process made it.
    """

    token: str
    stored: StoredIntent
    client: ClientSpec | None
    unlabelled: tuple[str, ...] = ()
    is_under_way: bool = True
    is_lost: bool = False
    is_placed: bool = False
    ti_id: UUID | None = None

    def __str__(self) -> str:
        where = f" in {self.stored.scope}" if self.stored.scope else ""
        return f"a submission to {self.stored.service}{where}"


@dataclass
class _Progress:
    searched_at: float | None = None
    """When the service last answered, in epoch seconds."""
    found_at: float | None = None
    trouble: str = ""
    """Why the last search failed."""


@dataclass(frozen=True)
class _Look:
    """What a service has shown, up to an error if there was one."""

    jobs: list[RemoteJob] = field(default_factory=list)
    error: Exception | None = None

    @classmethod
    def at(cls, intent: Intent, service: JobService) -> _Look:
        """Ask it for the jobs of a submission."""
        look = cls()
        try:
            look.jobs.extend(labelled(intent, service))
        except Exception as error:  # noqa: BLE001  raised again for each submission
            return replace(look, error=error)
        return look


class LabelSearch:
    """Finds the living jobs of open submissions.

    :param intents: the submissions; there may be more of them at each call.
    :param known: jobs that are not to be found: others of the same label, and released ones.
    :param open_service: opens the service of a submission.
    :param clock: by which the times of the submissions are measured.
    """

    def __init__(
        self,
        intents: Callable[[], Iterable[Intent]],
        known: Callable[[], Iterable[RemoteJob]],
        open_service: Callable[[Intent], JobService],
        log: Log,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._intents, self._known, self._open, self._log = intents, known, open_service, log
        self._progress: dict[str, _Progress] = {}
        self._looks: dict[Hashable, _Look] = {}
        """Those of this update, by service, place and label."""
        self.found: dict[RemoteJob, Intent] = {}
        """Jobs that were found; the label on record may have been made up."""

    def update(self) -> None:
        """Search once for each submission whose search is not over; one look serves all that are alike."""
        self._looks.clear()
        for intent in self._intents():
            if not self._is_over(intent):
                self._search(intent)

    @property
    def is_over(self) -> bool:
        """Whether searching again can find nothing more."""
        return all(map(self._is_over, self._intents()))

    @property
    def has_answers(self) -> bool:
        """Whether each submission was found, or at least searched for if its answer can't come any more."""
        return all(map(self._has_answer, self._intents()))

    def report_unfinished(self) -> None:
        """Log for which submissions the search is not over."""
        for intent in self._intents():
            if not self._is_over(intent):
                trouble = self._of(intent).trouble or "none was found, but the service may list them late"
                self._log.error("Jobs of %s may still be running: %s", intent, trouble)

    def _has_answer(self, intent: Intent) -> bool:
        progress = self._of(intent)
        if intent.is_under_way:
            return progress.found_at is not None
        return progress.searched_at is not None or intent.stored.label is None

    def _is_over(self, intent: Intent) -> bool:
        if intent.stored.label is None:
            return not intent.is_under_way or self._clock.now() - intent.stored.at > SEARCH_SECONDS
        progress = self._of(intent)
        if progress.searched_at is None:
            return False
        if progress.searched_at - intent.stored.at > SEARCH_SECONDS:
            return True
        # One submission is taken as a whole, so where there is one job there are all of them. One that is not
        # answered yet may be repeated by its client.
        may_be_repeated = intent.is_lost or intent.is_under_way
        return progress.found_at is not None and (
            not may_be_repeated or progress.searched_at - progress.found_at >= REPEATED_SECONDS
        )

    def _search(self, intent: Intent) -> None:
        if intent.stored.label is None:
            return
        # The label is that of all jobs of the try: those of its other submissions are not this one's.
        others = {job.identity for job in [*self._known(), *self.found]}
        progress, now = self._of(intent), self._clock.now()
        try:
            for job in self._labelled(intent):
                if job.identity not in others:
                    self._log.info("Found by its label: %s", job)
                    self.found[job] = intent
                    progress.found_at = progress.found_at or now
            progress.searched_at, progress.trouble = now, ""
        except Exception as error:  # noqa: BLE001  connections and credentials have errors of their own
            if progress.trouble != str(error):
                progress.trouble = str(error)
                self._log.warning("%s Searching again later for the jobs of %s.", error, intent)

    def _labelled(self, intent: Intent) -> Iterator[RemoteJob]:
        """As :func:`labelled`."""
        service = self._open(intent)
        what = (service, intent.stored.scope, intent.stored.label)
        if what not in self._looks:
            self._looks[what] = _Look.at(intent, service)
        yield from self._looks[what].jobs
        if error := self._looks[what].error:
            raise error

    def _of(self, intent: Intent) -> _Progress:
        return self._progress.setdefault(intent.token, _Progress())


def labelled(intent: Intent, service: JobService) -> Iterator[RemoteJob]:
    """Living jobs that carry a submission's label, where it was placed; without a place: in all clusters.

    :raises CancelProviderError: the service did not answer, or not for all clusters.
    """
    stored = intent.stored
    if stored.label is None:
        return
    scopes = [stored.scope] if stored.scope is not None else islice(service.scopes(), MOST_SCOPES)
    trouble: ServiceError | None = None
    for scope in scopes:
        try:
            yield from service.labelled(scope, stored.label)
        except (IdentityError, ConnectionUnusable, ServiceUnavailable):
            raise
        except ServiceError as error:
            # One that may not be read, or is gone by now, must not hide those behind it.
            trouble = trouble or error
    if trouble is not None:
        raise trouble
