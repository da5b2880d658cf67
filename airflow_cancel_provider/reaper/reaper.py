"""The reaper: list the jobs, check suspects a second time, cancel the orphans, and wait for their end."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from threading import Event
from uuid import UUID

from airflow_cancel_provider.exceptions import AirflowUnavailable, InvalidInput
from airflow_cancel_provider.jobs import Identity, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.reaper.backends.base import Airflow
from airflow_cancel_provider.reaper.cancels import Cancels
from airflow_cancel_provider.reaper.dead_letters import DeadLetters, Letters, unacknowledged
from airflow_cancel_provider.reaper.judge import DecisionKind, Found, Judge
from airflow_cancel_provider.reaper.living_jobs import listed
from airflow_cancel_provider.reaper.places import Place, Scopes
from airflow_cancel_provider.reaper.releases import ReleaseCleanup
from airflow_cancel_provider.reaper.report import Orphan, Report
from airflow_cancel_provider.reaper.rules import Rules
from airflow_cancel_provider.reaper.services import Services
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.services.base import JobService

log = logging.getLogger(__name__)

STOPPED = "The sweep was stopped before it had checked everything: nothing is cancelled."


class Reaper:
    """Sweeps some places for the jobs of one Airflow.

    Keep it between sweeps: it remembers the jobs that it has cancelled until they have ended. Two reapers
    may run at the same time: a job that is being cancelled is not cancelled again.

    :param airflow: gives the states of tries.
    :param deployment: that Airflow's name in labels; jobs with another name are left alone.
    :param open_place: opens a place's service; called in the thread that sweeps.
    :param stop: ends a sweep early when it is set; then nothing more is cancelled.
    :param name: that Airflow's name for people.
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
        name: str = "",
    ) -> None:
        self.airflow, self.deployment, self.places = airflow, deployment, list(places)
        self.name = name
        self.scopes, self.rules = scopes or Scopes(), rules or Rules()
        self.letters, self.releases = DeadLetters(airflow), ReleaseCleanup(airflow)
        self.stop = stop or Event()
        self.services = Services(self.places, open_place)
        self._cancels = Cancels(self.rules.escalate_after, self.stop, self._write_ends)

    def sweep(self) -> Report:
        """Check all places once, and cancel the orphans.

        An error of a service or of Airflow goes into the ``troubles`` of the report; the other places are
        still checked.

        :raises InvalidInput: the connections, or the Variable with the dead letters, are unusable.
        """
        begun, before = time.monotonic(), self.services.calls
        report = Report(self.deployment, self.rules.is_dry, self.name)
        try:
            self._sweep(report)
        except AirflowUnavailable as error:
            report.troubles.append(f"{error} Nothing is cancelled.")
        finally:
            self.services.retire()
        report.seconds = time.monotonic() - begun
        report.calls = self.services.calls - before
        # Several batches of jobs may report the same trouble.
        report.troubles = list(dict.fromkeys(report.troubles))
        return report

    def _sweep(self, report: Report) -> None:
        letters = self.letters.read()
        self._read_releases(report)
        grace = timedelta(seconds=self.rules.grace)
        judge = Judge(self.airflow, self.deployment, grace, letters, report.troubles)
        suspects, lettered = self._check(report, judge)
        orphans = [Orphan(found) for found in self._check_again(report, judge, suspects)]
        report.confirm(orphans)
        self._brake(report, orphans)
        if self.stop.is_set():
            report.troubles.append(STOPPED)
        if self.rules.is_dry:
            report.orphans = orphans
        else:
            report.orphans = self._cancel(report, orphans)
            self._write_ends(report.orphans)
            letters = self._letters_now(report, letters, lettered)
            self._clean_releases(report)
        report.letters = unacknowledged(letters)

    def _check(self, report: Report, judge: Judge) -> tuple[list[Found], set[Identity]]:
        """The suspects, each once, and the jobs with dead letters that have not ended."""
        ending = {job.identity for job in self._cancels.jobs}
        suspects: dict[tuple[object, ...], Found] = {}
        lettered: set[Identity] = set()
        for batch in listed(self.services.open(report.troubles), self.scopes, self.stop):
            if batch.trouble:
                report.troubles.append(f"{batch.place}: {batch.trouble}")
                self.services.troubled.add(batch.place)
            if batch.scope is None:
                continue
            report.scopes[f"{batch.place}/{batch.scope}"] += Counter()
            self.releases.see(batch.claims)
            for found in judge.decide(batch.claims):
                key = (*found.job.identity, found.claim.label)
                if key in suspects:
                    continue  # two connections lead to it, or pages overlap
                report.count(str(batch.place), batch.scope, found)
                log.debug("%s: %s: %s", found.decision.kind, found.job, found.decision.because)
                if found.decision.kind is DecisionKind.SUSPECT and found.job.identity not in ending:
                    suspects[key] = found
                elif found.decision.kind is DecisionKind.DEAD_LETTER:
                    lettered.add(found.job.identity)
        return list(suspects.values()), lettered

    def _check_again(self, report: Report, judge: Judge, suspects: list[Found]) -> list[Found]:
        """Suspects that are orphans by the second check, too."""
        for found in suspects:
            log.info("suspect: %s: %s", found.job, found.decision.because)
        if not suspects or self.stop.wait(self.rules.grace):
            return []
        statuses = self.services.describe([found.job for found in suspects], report.troubles)
        again = judge.decide_again(suspects, statuses)
        for found in again:
            log.info("%s: %s: %s", found.decision.kind, found.job, found.decision.because)
        if self.stop.is_set():
            return []
        return [found for found in again if found.decision.kind is DecisionKind.ORPHAN]

    def _brake(self, report: Report, orphans: list[Orphan]) -> None:
        """Cancel none of them if they are too many; those that are being cancelled already don't count."""
        new = [orphan for orphan in orphans if orphan.found.claim.state is not JobState.CANCELLING]
        if len(new) <= self.rules.brake:
            return
        for orphan in orphans:
            orphan.is_braked = True
        report.troubles.append(
            f"{len(new)} orphans, more than the brake allows ({self.rules.brake}): none is cancelled. "
            "If this Airflow has started them, and does not run on a copy of a database, raise the brake."
        )

    def _cancel(self, report: Report, orphans: list[Orphan]) -> list[Orphan]:
        """Cancel orphans; return these, and those of earlier sweeps that had not ended."""
        braked = [orphan for orphan in orphans if orphan.is_braked]
        free = [orphan for orphan in orphans if not orphan.is_braked]
        seen = self._cancels.run(free, self.services.pool(), self.rules.confirm_seconds, report.troubles)
        self.services.troubled |= self._cancels.troubled
        return seen + braked

    def _write_ends(self, orphans: Sequence[Orphan]) -> None:
        """Put on record which orphans have ended, for those who look at their tasks."""
        ends: dict[UUID, dict[RemoteJob, JobEnd]] = {}
        for orphan in (orphan for orphan in orphans if not orphan.is_on_record):
            status, label = orphan.status, orphan.found.claim.label
            if status is not None and status.state.is_terminal and orphan.is_taken and label is not None:
                end = JobEnd.seen(status, Actor.REAPER, f"Its task was over: {orphan.found.decision.because}")
                ends.setdefault(label.ti_id, {})[orphan.job] = end
        if not ends:
            return
        try:
            self.airflow.write_ends(ends)
        except AirflowUnavailable as error:
            log.info("How orphans have ended is not put on record of their tasks: %s", error)
            return
        for orphan in orphans:
            orphan.is_on_record = orphan.is_over

    def _letters_now(self, report: Report, letters: Letters, living: set[Identity]) -> Letters:
        """The dead letters with those of this sweep, and without those of jobs that have ended."""
        if not letters and not report.orphans:
            return letters
        try:
            return self._drop_ended(self.letters.write(report.orphans), living, report.troubles)
        except (AirflowUnavailable, InvalidInput) as error:
            # What was cancelled before stays in the report. What was refused is asked again.
            report.troubles.append(f"The dead letters could not be written: {error}")
            return letters

    def _drop_ended(self, letters: Letters, living: set[Identity], troubles: list[str]) -> Letters:
        """Delete the dead letters of jobs that have ended since, in the places of this reaper.

        In another place a job may only be unknown to this reaper's identity.
        """
        here = self.services.places
        unseen = [
            job for job in map(RemoteJob, letters) if job.identity not in living and Place.of(job) in here
        ]
        if not unseen:
            return letters
        # They were listed here before, so a job that is GONE has ended. For an acknowledged one GONE is not
        # enough: the connection may lead to another account now.
        kept = letters.keys() - unacknowledged(letters)
        ended = [status for status in self.services.describe(unseen, troubles) if status.state.is_terminal]
        return self.letters.drop(
            [str(each.job) for each in ended if each.state is not JobState.GONE or str(each.job) not in kept]
        )

    def _read_releases(self, report: Report) -> None:
        try:
            self.releases.read()
        except AirflowUnavailable as error:
            # They are read for the clean-up only: the answer on a try has its own release.
            report.troubles.append(f"{error} No release is removed in this sweep.")

    def _clean_releases(self, report: Report) -> None:
        if self.stop.is_set():
            return
        try:
            is_whole = not report.troubles and self.scopes == Scopes()
            seen = self.services.places if is_whole else ()
            self.releases.clean(self.services.places, self._released, seen)
        except AirflowUnavailable as error:
            report.troubles.append(f"Releases of jobs that have ended could not be removed: {error}")

    def _released(self, jobs: Sequence[RemoteJob]) -> list[JobStatus]:
        # An unknown cluster may be in another account: its jobs count neither as ended nor as trouble.
        unseen: list[str] = []
        statuses = self.services.describe(jobs, unseen, unknown_is_gone=False)
        for words in unseen:
            log.info("Released jobs: %s", words)
        return statuses
