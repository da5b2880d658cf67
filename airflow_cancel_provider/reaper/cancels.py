"""The cancels of a reaper, from the request until the jobs have ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from threading import Event

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, RemoteJob
from airflow_cancel_provider.reaper.places import Place
from airflow_cancel_provider.reaper.report import Orphan
from airflow_cancel_provider.reaper.services import PLACES_AT_ONCE, at_each_place, in_words
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.threads import side_by_side
from airflow_cancel_provider.watch import poll

log = logging.getLogger(__name__)

REASON = "Cancelled by Airflow: the task that started this job is over (reaper)"
POLL_SECONDS = 2.0
REPEAT_SECONDS = 600.0
"""From then on a job that still runs is an orphan anew: the service may have lost the request it accepted."""


@dataclass(eq=False)
class PlaceCancel:
    """The cancel of some orphans of one place."""

    place: Place
    cancellation: Cancellation
    orphans: dict[RemoteJob, Orphan]

    def update(self) -> list[Orphan]:
        """Update the orphans with results and states of their jobs; return those that are over since."""
        living = [orphan for orphan in self.orphans.values() if not orphan.is_over]
        for job, orphan in self.orphans.items():
            orphan.result = self.cancellation.results.get(job)
            orphan.status = self.cancellation.statuses.get(job)
        return [orphan for orphan in living if orphan.is_over]

    def forget(self) -> bool:
        """Forget jobs that have ended, and those without an answer or an effect.

        The next sweep decides on them anew, and repeats the request.

        :return: whether some are left.
        """
        left = set(self.cancellation.open) - self._without_effect
        self.orphans = {
            job: orphan for job, orphan in self.orphans.items() if job in left and orphan.is_taken
        }
        self.cancellation.jobs = list(self.orphans)
        return bool(self.orphans)

    @property
    def _without_effect(self) -> set[RemoteJob]:
        """Jobs that do not end long after the service has accepted the request."""
        cancellation = self.cancellation
        at = cancellation.requested_at
        if at is None or cancellation.clock.now() - at < REPEAT_SECONDS:
            return set()
        seen = cancellation.statuses
        ending = {job for job, status in seen.items() if status.state is JobState.CANCELLING}
        return set(cancellation.open) - ending


class Cancels:
    """All cancels that were requested and whose jobs have not ended.

    :param escalate_after: seconds after which a harder cancel is requested, where there is one.
    :param stop: nothing more is sent once it is set.
    :param over: gets orphans that have ended, while others are waited for.
    """

    def __init__(self, escalate_after: float, stop: Event, over: Callable[[list[Orphan]], None]) -> None:
        self._escalate_after, self._stop, self._over = escalate_after, stop, over
        self._cancels: list[PlaceCancel] = []
        self.troubled: set[Place] = set()
        """Places that did not answer a request in the last run."""

    @property
    def jobs(self) -> set[RemoteJob]:
        """Jobs whose cancel was requested and that have not ended."""
        return {job for cancel in self._cancels for job in cancel.cancellation.open}

    def run(
        self, orphans: list[Orphan], pool: ServicePool, seconds: float, troubles: list[str]
    ) -> list[Orphan]:
        """Cancel these and wait for their end; check and escalate those of earlier runs once.

        :param seconds: longest wait.
        :param troubles: gets a sentence for requests without an answer.
        :return: the earlier ones that had not ended, and these.
        """
        self.troubled = set()
        earlier = [orphan for cancel in self._cancels for orphan in cancel.orphans.values()]
        new = self._requested(orphans, pool)
        self._cancels += new
        self._watch(new, pool, seconds, troubles)
        for cancel in self._cancels:
            cancel.update()
        self._cancels = [cancel for cancel in self._cancels if cancel.forget()]
        unanswered = [orphan for orphan in earlier + orphans if orphan.is_unanswered]
        self.troubled |= {Place.of(orphan.job) for orphan in unanswered}
        if unanswered:
            troubles.append(
                f"{len(unanswered)} {'job' if len(unanswered) == 1 else 'jobs'}: no answer to the request to "
                "cancel; the next sweep repeats it."
            )
        return earlier + orphans

    def _requested(self, orphans: Iterable[Orphan], pool: ServicePool) -> list[PlaceCancel]:
        """Request the cancels, place by place: one that does not answer delays no other."""
        by_job = {orphan.job: orphan for orphan in orphans}

        def request(place: Place, jobs: list[RemoteJob]) -> PlaceCancel | None:
            if self._stop.is_set():
                return None
            cancellation = Cancellation(jobs, REASON, escalate_after=self._escalate_after)
            for result in _results(cancellation, pool):
                log.warning("%s (%s)", result, by_job[result.job].found.decision.because)
            return PlaceCancel(place, cancellation, {job: by_job[job] for job in jobs})

        return [cancel for cancel in at_each_place(request, by_job, pool) if cancel]

    def _watch(self, new: list[PlaceCancel], pool: ServicePool, seconds: float, troubles: list[str]) -> None:
        deadline = time.monotonic() + seconds
        asked = list(self._cancels)
        while not self._stop.is_set():
            answers = side_by_side(partial(self._poll, pool, troubles), asked, PLACES_AT_ONCE)
            seen = [cancel for cancel, is_seen in zip(asked, answers, strict=True) if is_seen]
            if over := [orphan for cancel in seen for orphan in cancel.update()]:
                self._over(over)
            # Only new ones are waited for: a job that never ends must not slow down every sweep.
            asked = [cancel for cancel in seen if cancel in new and cancel.cancellation.open]
            if not asked or time.monotonic() >= deadline:
                return
            self._stop.wait(POLL_SECONDS)

    def _poll(self, pool: ServicePool, troubles: list[str], cancel: PlaceCancel) -> bool:
        """Update the states of a cancel's jobs; return whether that was possible."""
        if self._stop.is_set() or not cancel.cancellation.open:
            return True
        try:
            poll(cancel.cancellation, pool, log)
            errors: list[Exception] = [*cancel.cancellation.denied.values()]
            cancel.cancellation.denied.clear()  # looked at again in the next sweep
        except Exception as error:  # noqa: BLE001  reported; no error of a service ends a sweep
            errors = [error]
        if errors:
            words = in_words(errors[0])
            troubles.append(f"{cancel.place}: the state of cancelled jobs can't be read: {words}")
            self.troubled.add(cancel.place)
        return not errors


def _results(cancellation: Cancellation, pool: ServicePool) -> list[CancelResult]:
    """Request the cancel of all jobs; the next sweep repeats it for those without an answer."""
    try:
        return cancellation.request(pool)
    except Exception as error:  # noqa: BLE001  reported for each job; no error of a service ends a sweep
        words = in_words(error)
        results = [CancelResult(job, CancelOutcome.UNANSWERED, words) for job in cancellation.jobs]
        cancellation.results.update({result.job: result for result in results})
        return results
