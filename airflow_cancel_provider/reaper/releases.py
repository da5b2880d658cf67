"""Delete the releases whose jobs have all ended."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.reaper.backends.base import RELEASE_PREFIX, Airflow, TryPhase
from airflow_cancel_provider.reaper.places import Place
from airflow_cancel_provider.release import Release

log = logging.getLogger(__name__)

MOST_READ = 1000
"""Releases that a sweep reads, those of the oldest tries first."""
MOST_DESCRIBED = 100
"""Released jobs that are described in one sweep."""
SETTLED = timedelta(hours=1)
"""Age from which on a release may be deleted: until then its task may still change it."""

KNOWN_FOR = timedelta(days=7)
"""For so long Batch knows a job that has ended, and others longer. One that is unknown before may be in an
account that the connection does not lead to now."""

Describe = Callable[[Sequence[RemoteJob]], Iterable[JobStatus]]


@dataclass
class ReleaseCleanup:
    """The releases in Airflow; a sweep leaves out those that have running jobs.

    :param airflow: has them as Variables.
    """

    airflow: Airflow
    known: dict[UUID, Release] = field(default_factory=dict)
    _now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _living: set[UUID] = field(default_factory=set)
    _tries_of: dict[tuple[str, str | None, str], set[UUID]] = field(default_factory=dict)

    def read(self, now: datetime | None = None) -> None:
        """Begin a sweep.

        :raises AirflowUnavailable: Airflow does not answer.
        """
        self.known, self._living, self._tries_of = {}, set(), {}
        self._now = now or datetime.now(UTC)
        settled = self._now - SETTLED
        for key, text in self.airflow.releases(MOST_READ).items():
            release = Release.parse(text)
            if release.is_whole and release.at is not None and release.at < settled:
                with suppress(ValueError):
                    self._add(UUID(key.removeprefix(RELEASE_PREFIX)), release)

    def _add(self, ti_id: UUID, release: Release) -> None:
        self.known[ti_id] = release
        for job in release.jobs:
            self._tries_of.setdefault(job.identity, set()).add(ti_id)

    def see(self, claims: Iterable[JobStatus]) -> None:
        """Note running jobs."""
        for claim in claims:
            self._living |= self._tries_of.get(claim.job.identity, set())
            if claim.label is not None and claim.label.ti_id in self.known:
                self._living.add(claim.label.ti_id)

    def clean(self, places: Collection[Place], describe: Describe, listed: Collection[Place]) -> None:
        """Delete those whose jobs have all ended.

        :param places: the reaper's places: a job of another place may only be unknown to this reaper.
        :param listed: those of them of which this sweep listed every running job. Jobs that are released
            there without their address have ended if no running job carries the try's label.
        :param describe: gives the states of jobs; leaves out those that can't be read.
        :raises AirflowUnavailable: Airflow does not answer.
        """
        chosen = self._chosen(places, listed)
        if not chosen:
            return
        jobs = list(dict.fromkeys(job for release in chosen.values() for job in release.jobs))
        states = {status.job: status.state for status in describe(jobs) if status.state.is_terminal}
        done = [ti_id for ti_id, release in chosen.items() if self._have_ended(release, states)]
        # A try that still runs may write to its release at this moment.
        owners = self.airflow.owners(done) if done else {}
        over = [
            ti_id
            for ti_id in done
            if ti_id in owners and owners[ti_id].phase not in (TryPhase.ALIVE, TryPhase.UNKNOWN)
        ]
        for ti_id in over:
            self.airflow.set_variable(release_key(ti_id), None)
            log.info("All jobs of %s have ended: their release is deleted.", owners[ti_id].task or ti_id)

    def _have_ended(self, release: Release, states: Mapping[RemoteJob, JobState]) -> bool:
        """Whether all jobs of a release have ended, by the terminal states that were seen."""
        is_old = release.at is not None and release.at < self._now - KNOWN_FOR
        seen = [states.get(job) for job in release.jobs]
        return None not in seen and (is_old or JobState.GONE not in seen)

    def _chosen(self, places: Collection[Place], listed: Collection[Place]) -> dict[UUID, Release]:
        """Some of those without a running job: the oldest, and some others at random."""
        unused = [
            (ti_id, release)
            for ti_id, release in self.known.items()
            if ti_id not in self._living
            and all(Place.of(job) in places for job in release.jobs)
            and all(Place.of(job) in listed for job in release.more)
        ]
        half = MOST_DESCRIBED // 2
        oldest, rest = unused[:half], unused[half:]
        random.shuffle(rest)
        chosen: dict[UUID, Release] = {}
        left = MOST_DESCRIBED
        for ti_id, release in oldest + rest:
            if len(release.jobs) <= left or not chosen:
                chosen[ti_id] = release
                left -= len(release.jobs)
        return chosen
