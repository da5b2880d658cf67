"""The services of a reaper's places; each stays open between sweeps while it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import TypeVar

from airflow_cancel_provider.exceptions import (
    CancelProviderError,
    InvalidInput,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob, by_scope, by_service_key
from airflow_cancel_provider.reaper.places import Place
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.threads import side_by_side

T = TypeVar("T")
PLACES_AT_ONCE = 8
"""Places that are called at the same time: each has its own quotas, and none delays another."""


class Services:
    """Opens places, and describes jobs in them.

    :param open_place: opens a place's service; called in the thread that sweeps.
    """

    def __init__(self, places: Sequence[Place], open_place: Callable[[Place], JobService]) -> None:
        self._places, self._open_place = places, open_place
        self._services: dict[Place, JobService] = {}
        self._retired: Counter[str] = Counter()
        self.troubled: set[Place] = set()
        """Places that did not answer a request in this sweep."""

    def open(self, troubles: list[str]) -> dict[Place, JobService]:
        """All places that can be opened.

        :param troubles: gets a sentence for each of the others.
        :raises InvalidInput: not one of the connections is usable.
        """
        unusable: list[InvalidInput] = []
        for place in self._places:
            if place not in self._services:
                try:
                    self._services[place] = self._open_place(place)
                except Exception as error:  # noqa: BLE001  reported; the other places are still checked
                    troubles.append(f"{place}: {in_words(error)}")
                    unusable += [error] if isinstance(error, InvalidInput) else []
        if unusable and len(unusable) == len(self._places):
            raise unusable[0]
        return dict(self._services)

    @property
    def places(self) -> set[Place]:
        """The places of this reaper, with the regions of their connections."""
        return set(map(Place.at, self._services.values()))

    def retire(self) -> None:
        """Close services that did not answer: the next sweep opens them with renewed credentials."""
        for place, service in list(self._services.items()):
            if self.troubled.intersection((place, Place.at(service))):
                self._retired += Counter(self._services.pop(place).traffic)
        self.troubled.clear()

    @property
    def calls(self) -> Counter[str]:
        """Requests sent so far, by operation."""
        # Copies: threads of a sweep that was stopped may still count.
        traffic = (Counter(service.traffic) for service in self._services.values())
        return sum(traffic, Counter(self._retired))

    def pool(self) -> ServicePool:
        """A pool of the services that are open."""
        by_place = {Place.at(service): service for service in self._services.values()}

        def opened(service: str, conn_id: str | None, region: str | None) -> JobService:
            place = Place(service, conn_id, region)
            return by_place.get(place) or self._open_place(place)

        return ServicePool(opened)

    def describe(
        self, jobs: Sequence[RemoteJob], troubles: list[str], *, unknown_is_gone: bool = True
    ) -> list[JobStatus]:
        """Describe jobs; those whose state can't be read are left out.

        :param troubles: gets a sentence for each place with such jobs.
        :param unknown_is_gone: jobs of a cluster that the service does not know (any more) are GONE.
        """
        pool = self.pool()

        def described(place: Place, some: list[RemoteJob]) -> list[JobStatus]:
            statuses: list[JobStatus] = []
            for jobs_of_one in by_scope(some).values():
                try:
                    statuses += pool.describe(jobs_of_one)
                except UnknownScope as error:
                    if unknown_is_gone:
                        gone = str(error)
                        statuses += [JobStatus(job, JobState.GONE, reason=gone) for job in jobs_of_one]
                    else:
                        troubles.append(f"{place}: {error}")
                except Exception as error:  # noqa: BLE001  reported; no error of a service ends a sweep
                    self.troubled.add(place)
                    is_silent = isinstance(error, ServiceUnavailable)
                    left = len(some) - len(statuses) if is_silent else len(jobs_of_one)
                    jobs_left = f"{left} {'job' if left == 1 else 'jobs'}"
                    troubles.append(
                        f"{place}: {jobs_left} could not be checked again, and kept: {in_words(error)}"
                    )
                    if is_silent:
                        # The next scope would wait for the whole patience once more.
                        break
            return statuses

        return list(chain.from_iterable(at_each_place(described, jobs, pool)))


def at_each_place(
    function: Callable[[Place, list[RemoteJob]], T], jobs: Iterable[RemoteJob], pool: ServicePool
) -> Iterator[T]:
    """Call a function with each place and its jobs, several places at a time, each in a thread."""
    groups = {Place.of(some[0]): some for some in by_service_key(jobs)}
    for some in groups.values():
        # Not in a thread, because opening may send a request to Airflow. The thread raises the error again.
        with suppress(Exception):
            pool.service_of(some[0])
    return side_by_side(lambda group: function(*group), groups.items(), PLACES_AT_ONCE)


def in_words(error: Exception) -> str:
    """An error as text; those of this package are sentences."""
    return str(error) if isinstance(error, CancelProviderError) else repr(error)
