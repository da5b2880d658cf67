"""The reaper: look twice, cancel what both looks call an orphan, and see it end."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from threading import Event

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    AirflowUnavailable,
    CancelProviderError,
    InvalidInput,
)
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.reaper.airflows.base import Airflow
from airflow_cancel_provider.reaper.decide import Action, Kind, Standing
from airflow_cancel_provider.reaper.ending import Endings
from airflow_cancel_provider.reaper.letters import DeadLetters, Letters, unacknowledged
from airflow_cancel_provider.reaper.places import PLACES_AT_ONCE, Place, Scopes, by_place
from airflow_cancel_provider.reaper.report import Found, Orphan, Report
from airflow_cancel_provider.reaper.sweep import Judge, is_suspect, listed
from airflow_cancel_provider.services.base import JobService, side_by_side
from airflow_cancel_provider.services.reach import Reach

log = logging.getLogger(__name__)

STOPPED = "The sweep was stopped before it had looked at everything: nothing is cancelled."


@dataclass(frozen=True)
class Rules:
    """How a reaper reaps.

    :param grace: seconds between the look that finds an orphan and the one that may cancel it.
    :param confirm_seconds: for how long a sweep waits to see what it has cancelled end; a later sweep goes
        on where it did not, but waits no longer for that.
    :param escalate_after: seconds after which a job that won't end is forced to.
    :param brake: most jobs in one sweep that may be cancelled because Airflow has no trace of their tasks.
        More look as if the wrong Airflow was asked: none of them is cancelled.
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
        self.letters = DeadLetters(airflow)
        self.stop = stop or Event()
        self._open_place = open_place
        self._services: dict[Place, JobService] = {}
        self._retired: Counter[str] = Counter()
        self._denied: set[Place] = set()
        self._endings = Endings(self.rules.escalate_after, self.stop)

    def sweep(self) -> Report:
        """Look at everything once, and deal with the orphans.

        :raises InvalidInput: a connection or the Variable with the dead letters is unusable.
        """
        begun, before = time.monotonic(), self._calls()
        report = Report(self.deployment, self.rules.is_dry)
        try:
            self._sweep(report)
        except AirflowUnavailable as error:
            report.troubles.append(str(error))
        finally:
            self._retire()
        report.seconds = time.monotonic() - begun
        report.calls = self._calls() - before
        # Every batch of jobs may have met with the same one.
        report.troubles = list(dict.fromkeys(report.troubles))
        return report

    def _sweep(self, report: Report) -> None:
        letters = self.letters.read()
        grace = timedelta(seconds=self.rules.grace)
        judge = Judge(self.airflow, self.deployment, grace, letters, report.troubles)
        suspects, lettered = self._look(report, judge)
        orphans = [Orphan(found) for found in (self._agreed(report, judge, suspects) if suspects else [])]
        if self.stop.is_set():
            report.troubles.append(STOPPED)
        if self.rules.is_dry:
            report.orphans = orphans
        else:
            report.orphans = self._endings.run(
                orphans, self._reach(), self.rules.confirm_seconds, report.troubles
            )
            letters = self.letters.write(report.orphans)
            letters = self._drop_ended(letters, lettered, report.troubles)
        report.letters = unacknowledged(letters)

    def _look(self, report: Report, judge: Judge) -> tuple[list[Found], set[str]]:
        """The suspects, each once, and the jobs with dead letters that live."""
        ending = self._endings.jobs
        suspects: dict[RemoteJob, Found] = {}
        lettered: set[str] = set()
        for batch in listed(self._opened(report), self.scopes, self.stop):
            if batch.trouble:
                self._note(report, batch.place, batch.trouble)
            if batch.scope is None:
                continue
            report.scopes[f"{batch.place}/{batch.scope}"] += Counter()
            for found in judge.first(batch.claims):
                report.count(str(batch.place), batch.scope, found)
                log.debug("%s: %s: %s", found.decision.action, found.job, found.decision.because)
                if is_suspect(found) and found.job not in ending:
                    suspects[found.job] = found
                elif found.decision.kind is Kind.DEAD_LETTER:
                    lettered.add(str(found.job))
        return list(suspects.values()), lettered

    def _agreed(self, report: Report, judge: Judge, suspects: list[Found]) -> list[Found]:
        """Suspects that a second look finds to be orphans, too."""
        for found in suspects:
            log.info("suspect: %s: %s", found.job, found.decision.because)
        if self.stop.wait(self.rules.grace):
            return []
        statuses = self._described([found.job for found in suspects], report.troubles)
        seen = {status.job for status in statuses}
        again = judge.again([found for found in suspects if found.job in seen], statuses)
        for found in again:
            log.info("%s: %s: %s", found.decision.kind, found.job, found.decision.because)
        if self.stop.is_set():
            return []
        return self._braked(report, [found for found in again if found.decision.action is Action.CANCEL])

    def _braked(self, report: Report, orphans: list[Found]) -> list[Found]:
        traceless = [f for f in orphans if f.owner is not None and f.owner.standing is Standing.DELETED]
        if len(traceless) <= self.rules.brake:
            return orphans
        report.troubles.append(
            f"This Airflow has no trace of the tasks of {len(traceless)} jobs, more than the brake allows "
            f"({self.rules.brake}): none of them is cancelled. If it is the right Airflow, raise the brake."
        )
        kept = {found.job for found in traceless}
        return [found for found in orphans if found.job not in kept]

    def _drop_ended(self, letters: Letters, living: set[str], troubles: list[str]) -> Letters:
        """Forget the letters of jobs that have ended since."""
        unseen = [RemoteJob(job) for job in letters if job not in living]
        if not unseen:
            return letters
        statuses = self._described(unseen, troubles)
        return self.letters.drop([str(status.job) for status in statuses if status.state.is_terminal])

    def _described(self, jobs: Sequence[RemoteJob], troubles: list[str]) -> list[JobStatus]:
        """Jobs as they are now; those of a place that does not answer are left out."""
        reach, groups = self._reach(), by_place(jobs)

        def described(group: tuple[Place, list[RemoteJob]]) -> list[JobStatus]:
            place, some = group
            try:
                return reach.describe(some)
            except CancelProviderError as error:
                troubles.append(f"{place}: {len(some)} jobs could not be looked at again: {error}")
                return []

        for some in groups.values():
            # Here, and not in a thread, for it may ask Airflow; what goes wrong goes wrong there again.
            with suppress(CancelProviderError):
                reach.service_of(some[0])
        return list(chain.from_iterable(side_by_side(described, groups.items(), PLACES_AT_ONCE)))

    def _opened(self, report: Report) -> dict[Place, JobService]:
        for place in self.places:
            if place not in self._services:
                try:
                    self._services[place] = self._open_place(place)
                except InvalidInput:
                    raise
                except CancelProviderError as error:
                    report.troubles.append(f"{place}: {error}")
        return dict(self._services)

    def _note(self, report: Report, place: Place, trouble: CancelProviderError) -> None:
        report.troubles.append(f"{place}: {trouble}")
        if isinstance(trouble, AccessDenied):
            self._denied.add(place)

    def _retire(self) -> None:
        """Let go of what was denied: the next sweep opens it anew, maybe with mended credentials."""
        for place in self._denied:
            self._retired += Counter(self._services.pop(place).traffic)
        self._denied.clear()

    def _reach(self) -> Reach:
        def opened(service: str, conn_id: str | None, region: str | None) -> JobService:
            return by_key.get((service, conn_id, region)) or self._open_place(Place(service, conn_id, region))

        by_key = {
            (service.name, service.conn_id, service.region): service for service in self._services.values()
        }
        return Reach(opened)

    def _calls(self) -> Counter[str]:
        # Copies: threads of a sweep that was stopped may still count.
        traffic = (Counter(service.traffic) for service in self._services.values())
        return sum(traffic, Counter(self._retired))
