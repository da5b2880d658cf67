"""The reaper: look twice, cancel what both looks call an orphan, and see it end."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Event

from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.jobs import CancelOutcome, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.reaper.backends.base import Airflow
from airflow_cancel_provider.reaper.cancels import Endings
from airflow_cancel_provider.reaper.dead_letters import DeadLetters, Letters, unacknowledged
from airflow_cancel_provider.reaper.judge import Action, DecisionKind
from airflow_cancel_provider.reaper.listing import Judge, is_suspect, listed
from airflow_cancel_provider.reaper.places import Place, Scopes
from airflow_cancel_provider.reaper.releases import ReleaseCleanup
from airflow_cancel_provider.reaper.report import Found, Orphan, Report
from airflow_cancel_provider.reaper.services import Services
from airflow_cancel_provider.services.base import JobService

log = logging.getLogger(__name__)

STOPPED = "The sweep was stopped before it had looked at everything: nothing is cancelled."


@dataclass(frozen=True)
class Rules:
    """How a reaper reaps.

    :param grace: seconds between the look that finds an orphan and the one that may cancel it.
    :param confirm_seconds: for how long a sweep waits to see what it has cancelled end; a later sweep goes
        on where it did not, but waits no longer for that.
    :param escalate_after: seconds after which a job that won't end is forced to.
    :param brake: most orphans that one sweep may cancel. More look as if the wrong Airflow was asked, or one
        on a copied database: none of them is cancelled.
    :param is_dry: look and decide, cancel nothing, write nothing.
    :raises InvalidInput: a number is negative or has no end.
    """

    grace: float = 30.0
    confirm_seconds: float = 120.0
    escalate_after: float = 60.0
    brake: int = 100
    is_dry: bool = False

    def __post_init__(self) -> None:
        for name in ("grace", "confirm_seconds", "escalate_after", "brake"):
            number = getattr(self, name)
            if not (math.isfinite(number) and number >= 0):
                raise InvalidInput(f"{name} is {number!r}; expected a number from 0 on.")


class Reaper:
    """Sweeps some places for the jobs of one Airflow.

    Keep it between sweeps: it goes on with what it has cancelled until that is seen to end. Two of them
    do no harm to each other: a job that is ending is not asked again.

    :param airflow: who knows how tasks stand.
    :param deployment: that Airflow's name in labels; jobs with another one are not touched.
    :param open_place: opens a place's service; called in the thread that sweeps.
    :param stop: ends a sweep early when it is set; then nothing more is cancelled.
    """

    def __init__(
        self,
        airflow: Airflow,
        deployment: str,
        places: Sequence[Place],
        open_place: Callable[[Place], JobService],
        *,
        scopes: Scopes | None = None,
        rules: Rules | None = None,
        stop: Event | None = None,
    ) -> None:
        self.airflow, self.deployment, self.places = airflow, deployment, list(places)
        self.scopes, self.rules = scopes or Scopes(), rules or Rules()
        self.letters, self.releases = DeadLetters(airflow), ReleaseCleanup(airflow)
        self.stop = stop or Event()
        self.services = Services(self.places, open_place)
        self._endings = Endings(self.rules.escalate_after, self.stop)

    def sweep(self) -> Report:
        """Look at everything once, and deal with the orphans.

        Whatever a service or Airflow answers: what could not be looked at or done is among the ``troubles``
        of the report, and the other places are seen to.

        :raises InvalidInput: a connection or the Variable with the dead letters is unusable.
        """
        begun, before = time.monotonic(), self.services.calls
        report = Report(self.deployment, self.rules.is_dry)
        try:
            self._sweep(report)
        except AirflowUnavailable as error:
            report.troubles.append(str(error))
        finally:
            self.services.retire()
        report.seconds = time.monotonic() - begun
        report.calls = self.services.calls - before
        # Every batch of jobs may have met with the same one.
        report.troubles = list(dict.fromkeys(report.troubles))
        return report

    def _sweep(self, report: Report) -> None:
        letters = self.letters.read()
        self._read_releases(report)
        grace = timedelta(seconds=self.rules.grace)
        judge = Judge(self.airflow, self.deployment, grace, letters, report.troubles)
        suspects, lettered = self._look(report, judge)
        orphans = [Orphan(found) for found in (self._agreed(report, judge, suspects) if suspects else [])]
        self._brake(report, orphans)
        if self.stop.is_set():
            report.troubles.append(STOPPED)
        if self.rules.is_dry:
            report.orphans = orphans
        else:
            report.orphans = self._cancelled(report, orphans)
            letters = self.letters.write(report.orphans)
            letters = self._drop_ended(letters, lettered, report.troubles)
            self._clean_releases(report)
        report.letters = unacknowledged(letters)

    def _cancelled(self, report: Report, orphans: list[Orphan]) -> list[Orphan]:
        """Orphans after the requests to end them, and those of earlier sweeps that had not ended."""
        braked = [orphan for orphan in orphans if orphan.is_braked]
        seen = self._endings.run(
            [orphan for orphan in orphans if not orphan.is_braked],
            self.services.pool(),
            self.rules.confirm_seconds,
            report.troubles,
        )
        # With what an identity may do when it has been renewed.
        unanswered = CancelOutcome.UNANSWERED.lower()
        self.services.troubled |= {Place.of(orphan.found.job) for orphan in seen if orphan.fate == unanswered}
        self.services.troubled |= self._endings.blind
        return seen + braked

    def _look(self, report: Report, judge: Judge) -> tuple[list[Found], set[str]]:
        """The suspects, each once, and the jobs with dead letters that live."""
        ending = self._endings.jobs
        suspects: dict[RemoteJob, Found] = {}
        lettered: set[str] = set()
        for batch in listed(self.services.open(report.troubles), self.scopes, self.stop):
            if batch.trouble:
                report.troubles.append(f"{batch.place}: {batch.trouble}")
                self.services.troubled.add(batch.place)
            if batch.scope is None:
                continue
            report.scopes[f"{batch.place}/{batch.scope}"] += Counter()
            self.releases.see(batch.claims)
            for found in judge.first(batch.claims):
                report.count(str(batch.place), batch.scope, found)
                log.debug("%s: %s: %s", found.decision.action, found.job, found.decision.because)
                if is_suspect(found) and found.job not in ending:
                    suspects[found.job] = found
                elif found.decision.kind is DecisionKind.DEAD_LETTER:
                    lettered.add(str(found.job))
        return list(suspects.values()), lettered

    def _agreed(self, report: Report, judge: Judge, suspects: list[Found]) -> list[Found]:
        """Suspects that a second look finds to be orphans, too."""
        for found in suspects:
            log.info("suspect: %s: %s", found.job, found.decision.because)
        if self.stop.wait(self.rules.grace):
            return []
        statuses = self.services.look([found.job for found in suspects], report.troubles)
        seen = {status.job for status in statuses}
        again = judge.again([found for found in suspects if found.job in seen], statuses)
        for found in again:
            log.info("%s: %s: %s", found.decision.kind, found.job, found.decision.because)
        if self.stop.is_set():
            return []
        return [found for found in again if found.decision.action is Action.CANCEL]

    def _brake(self, report: Report, orphans: list[Orphan]) -> None:
        """Have none of them cancelled if they are too many; those that are ending already don't count."""
        new = [orphan for orphan in orphans if orphan.found.claim.state is not JobState.CANCELLING]
        if len(new) <= self.rules.brake:
            return
        for orphan in orphans:
            orphan.is_braked = True
        report.troubles.append(
            f"{len(new)} orphans, more than the brake allows ({self.rules.brake}): none is cancelled. "
            "If this Airflow has started them, and does not run on a copy of a database, raise the brake."
        )

    def _drop_ended(self, letters: Letters, living: set[str], troubles: list[str]) -> Letters:
        """Forget the letters of jobs that have ended since, in the places where this reaper looks.

        Elsewhere a job may only be unknown to this reaper's identity.
        """
        here = self.services.places
        unseen = [job for job in map(RemoteJob, letters) if str(job) not in living and Place.of(job) in here]
        if not unseen:
            return letters
        # They were listed here, so that what is GONE has ended. Of what a person wants left alone it must be
        # seen: the connection may lead elsewhere now.
        kept = letters.keys() - unacknowledged(letters)
        ended = {
            str(status.job): status.state
            for status in self.services.look(unseen, troubles)
            if status.state.is_terminal
        }
        return self.letters.drop(
            [job for job, state in ended.items() if state is not JobState.GONE or job not in kept]
        )

    def _read_releases(self, report: Report) -> None:
        try:
            self.releases.read()
        except AirflowUnavailable as error:
            # Only for tidying up: what is released is part of every answer on a try.
            report.troubles.append(str(error))

    def _clean_releases(self, report: Report) -> None:
        if self.stop.is_set():
            return

        def describe(jobs: Sequence[RemoteJob]) -> list[JobStatus]:
            # A cluster that is unknown may have been another's: that is no end. Nor is it a trouble.
            unseen: list[str] = []
            statuses = self.services.look(jobs, unseen, unknown_is_gone=False)
            for words in unseen:
                log.info("Released jobs: %s", words)
            return statuses

        try:
            is_whole = not report.troubles and self.scopes == Scopes()
            self.releases.clean(self.services.places, describe, self.services.places if is_whole else ())
        except AirflowUnavailable as error:
            report.troubles.append(f"Releases of jobs that have ended could not be removed: {error}")
