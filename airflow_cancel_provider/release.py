"""A release: jobs that a try leaves running, in an Airflow Variable for each try."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import StoredIntent

MOST_JOBS = 1000
"""Addresses that a release lists at most."""


@dataclass(frozen=True, slots=True)
class Release:
    """Jobs that a try has released.

    :param all: every job of the try is released, also those that are not listed.
    :param more: places of jobs that are not listed: addresses with ``*`` in place of the id.
    :param at: when it was written (UTC), where that can be read.
    :param is_readable: whether the guard wrote it. Anything else counts as a release of all jobs: in doubt a
        job is kept.
    """

    all: bool
    jobs: tuple[RemoteJob, ...] = ()
    at: datetime | None = None
    is_readable: bool = True
    more: tuple[RemoteJob, ...] = ()

    @classmethod
    def parse(cls, text: str | None) -> Release:
        """Read a Variable's value, which anybody may have written.

        :param text: None where it can't be decrypted.
        """
        try:
            return cls.from_json(json.loads(text or ""))
        except (ValueError, RecursionError):
            return cls(all=True, is_readable=False)

    @classmethod
    def from_json(cls, values: Any) -> Release:
        """The inverse of :meth:`as_json`; whatever is wrong with the values, the result covers no less."""
        if not isinstance(values, dict) or values.get("readable") is False:
            return cls(all=True, is_readable=False)
        jobs, is_whole = _addresses(values.get("jobs"))
        is_all = values.get("all")
        if not isinstance(is_all, bool) or not is_whole:
            return cls(all=True, jobs=jobs, is_readable=False)
        return cls(is_all, jobs, _time(values.get("at")), more=_addresses(values.get("more"))[0])

    def with_jobs(
        self, jobs: Iterable[RemoteJob], intents: Iterable[StoredIntent] = (), *, is_all: bool
    ) -> Release:
        """The release of these jobs, too.

        :param intents: submissions of unknown outcome; of their jobs only the places are known.
        :param is_all: every job of the try is released.
        """
        named = tuple(dict.fromkeys([*self.jobs, *jobs]))
        more = [*self.more, *map(place_of, named[MOST_JOBS:]), *map(place_of, intents)]
        # With more jobs than are listed, the release covers all jobs of the try: in doubt a job is kept.
        covers_all = is_all or self.all or len(named) > MOST_JOBS
        return Release(covers_all, named, more=tuple(dict.fromkeys(more)))

    @property
    def is_whole(self) -> bool:
        """Whether it names every place where its jobs may be."""
        return self.is_readable and bool(self.more or 0 < len(self.jobs) < MOST_JOBS)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "all": self.all,
            "jobs": [] if self.all else [str(job) for job in self.jobs],
            "readable": self.is_readable,
        }

    def covers(self, job: RemoteJob) -> bool:
        """Whether this job is released, whatever connection its address names."""
        return self.all or job.identity in {each.identity for each in self.jobs}

    def __str__(self) -> str:
        if not self.is_readable:
            return "its release can't be read"
        return "it has released all of its jobs" if self.all else "it has released the job"


def place_of(what: RemoteJob | StoredIntent) -> RemoteJob:
    """An address that stands for all jobs over a connection."""
    return RemoteJob.of(what.service, "*", conn_id=what.conn_id, region=what.region)


def _addresses(values: Any) -> tuple[tuple[RemoteJob, ...], bool]:
    """Jobs of a list, and whether it holds nothing else."""
    jobs: list[RemoteJob] = []
    if not isinstance(values, list):
        return (), False
    for value in values:
        with suppress(InvalidInput, TypeError):
            jobs.append(RemoteJob(value))
    return tuple(jobs), len(jobs) == len(values)


def _time(value: Any) -> datetime | None:
    with suppress(TypeError, ValueError):
        at = datetime.fromisoformat(value)
        return at.astimezone(UTC) if at.tzinfo else None
    return None
