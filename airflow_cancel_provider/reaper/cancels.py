"""What a reaper has asked to end, from the request to the seen end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Event

from airflow_cancel_provider.cancellation import Cancellation, look
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, RemoteJob
from airflow_cancel_provider.reaper.places import PLACES_AT_ONCE, Place, by_place
from airflow_cancel_provider.reaper.report import Orphan
from airflow_cancel_provider.reaper.services import in_words
from airflow_cancel_provider.services.base import side_by_side
from airflow_cancel_provider.services.pool import ServicePool

log = logging.getLogger(__name__)

REASON = "Cancelled by Airflow: the task that started this job is over (reaper)"
LOOK_SECONDS = 2.0


@dataclass
class Ending:
    """The cancel of some orphans of one place."""

    place: Place
    cancellation: Cancellation
    orphans: dict[RemoteJob, Orphan]

    @property
    def is_open(self) -> bool:
        """Whether some of them have not been seen to end."""
        return bool(self.cancellation.open)

    def update(self) -> None:
        """Let each orphan know what became of it."""
        for job, orphan in self.orphans.items():
            orphan.result = self.cancellation.results.get(job)
            orphan.status = self.cancellation.statuses.get(job)


class Endings:
    """All that were begun and are not seen to be over.

    :param escalate_after: seconds after which a job that won't end is forced to.
    :param stop: nothing more is sent once it is set.
    """

    def __init__(self, escalate_after: float, stop: Event) -> None:
        self._escalate_after, self._stop = escalate_after, stop
        self._endings: list[Ending] = []
        self.blind: set[Place] = set()
        """Places in which what is ending could not be looked at in the last run."""

    @property
    def jobs(self) -> set[RemoteJob]:
        """Jobs that have been asked to end and have not been seen to."""
        return {job for ending in self._endings for job in ending.cancellation.open}

    def run(
        self, orphans: Iterable[Orphan], pool: ServicePool, seconds: float, troubles: list[str]
    ) -> list[Orphan]:
        """Ask these to end and wait to see it; look once, and act, on those of earlier runs.

        :param seconds: longest wait.
        :param troubles: gets a sentence for each place that does not let itself be looked at.
        :return: these, and before them the earlier ones that had not been seen to end.
        """
        orphans = list(orphans)
        self.blind = set()
        new = self._begun(orphans, pool)
        self._endings += new
        self._watch(new, pool, seconds, troubles)
        for ending in self._endings:
            ending.update()
        earlier = [ending for ending in self._endings if ending not in new]
        seen = [orphan for ending in earlier for orphan in ending.orphans.values()] + orphans
        self._forget()
        if silent := sum(orphan.fate == CancelOutcome.UNANSWERED.lower() for orphan in seen):
            troubles.append(
                f"{silent} jobs: no answer to the request to cancel them; the next sweep asks again."
            )
        return seen

    def _begun(self, orphans: Iterable[Orphan], pool: ServicePool) -> list[Ending]:
        """A cancel for each place: one that does not answer holds up no other."""
        by_job = {orphan.found.job: orphan for orphan in orphans}

        def begin(group: tuple[Place, list[RemoteJob]]) -> Ending | None:
            place, jobs = group
            if self._stop.is_set():
                return None
            cancellation = Cancellation(jobs, REASON, escalate_after=self._escalate_after)
            for result in _requested(cancellation, pool):
                log.warning("%s (%s)", result, by_job[result.job].found.decision.because)
            return Ending(place, cancellation, {job: by_job[job] for job in jobs})

        groups = by_place(by_job)
        for jobs in groups.values():
            # Here, and not in a thread, for it may ask Airflow; what goes wrong goes wrong there again.
            with suppress(Exception):
                pool.service_of(jobs[0])
        return [ending for ending in side_by_side(begin, groups.items(), PLACES_AT_ONCE) if ending]

    def _watch(self, new: list[Ending], pool: ServicePool, seconds: float, troubles: list[str]) -> None:
        deadline = time.monotonic() + seconds
        looked_at = list(self._endings)
        while not self._stop.is_set():
            answers = side_by_side(partial(self._look, pool, troubles), looked_at, PLACES_AT_ONCE)
            blind = [ending for ending, is_seen in zip(looked_at, answers, strict=True) if not is_seen]
            # Only for new ones is waited: a job that never ends does not slow down every sweep.
            looked_at = [ending for ending in new if ending.is_open and ending not in blind]
            new = looked_at
            if not looked_at or time.monotonic() >= deadline:
                return
            self._stop.wait(LOOK_SECONDS)

    def _look(self, pool: ServicePool, troubles: list[str], ending: Ending) -> bool:
        """Whether looking is possible."""
        if self._stop.is_set() or not ending.is_open:
            return True
        try:
            look(ending.cancellation, pool, log)
        except Exception as error:  # noqa: BLE001  told; nothing that a service says ends a sweep
            troubles.append(f"{ending.place}: what was cancelled can't be looked at: {in_words(error)}")
            self.blind.add(ending.place)
            return False
        return True

    def _forget(self) -> None:
        """Forget what has ended, and what was not answered: the next sweep decides on that anew."""
        for ending in self._endings:
            living = set(ending.cancellation.open)
            ending.orphans = {
                job: orphan for job, orphan in ending.orphans.items() if job in living and orphan.is_taken
            }
            ending.cancellation.jobs = list(ending.orphans)
        self._endings = [ending for ending in self._endings if ending.orphans]


def _requested(cancellation: Cancellation, pool: ServicePool) -> list[CancelResult]:
    """Ask all to end; a job that is left without an answer is asked again in the next sweep."""
    try:
        return cancellation.request(pool)
    except Exception as error:  # noqa: BLE001  told of each job; nothing that a service says ends a sweep
        words = in_words(error)
        results = [CancelResult(job, CancelOutcome.UNANSWERED, words) for job in cancellation.jobs]
        cancellation.results.update({result.job: result for result in results})
        return results
