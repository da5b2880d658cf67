"""The services of the places where a reaper looks, each open from one sweep to the next while it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain

from airflow_cancel_provider.exceptions import (
    CancelProviderError,
    InvalidInput,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob, by_scope
from airflow_cancel_provider.reaper.places import PLACES_AT_ONCE, Place, by_place
from airflow_cancel_provider.services.base import JobService, side_by_side
from airflow_cancel_provider.services.pool import ServicePool


class Services:
    """Opens places, and looks at jobs in them.

    :param open_place: opens a place's service; called in the thread that sweeps.
    """

    def __init__(self, places: Sequence[Place], open_place: Callable[[Place], JobService]) -> None:
        self._places, self._open_place = places, open_place
        self._services: dict[Place, JobService] = {}
        self._retired: Counter[str] = Counter()
        self.troubled: set[Place] = set()
        """Places that did not answer something in this sweep."""

    def open(self, troubles: list[str]) -> dict[Place, JobService]:
        """All places that can be opened.

        :param troubles: gets a sentence for each of the others.
        :raises InvalidInput: a connection is unusable.
        """
        for place in self._places:
            if place not in self._services:
                try:
                    self._services[place] = self._open_place(place)
                except InvalidInput:
                    raise
                except Exception as error:  # noqa: BLE001  told; the other places are seen to
                    troubles.append(f"{place}: {in_words(error)}")
        return dict(self._services)

    @property
    def places(self) -> set[Place]:
        """Where this reaper looks, by the regions that its connections turned out to have."""
        return {Place.at(service) for service in self._services.values()}

    def retire(self) -> None:
        """Let go of what did not answer: the next sweep opens it anew, maybe with renewed credentials."""
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
        """A way to jobs, by the services that are open."""

        def opened(service: str, conn_id: str | None, region: str | None) -> JobService:
            return by_key.get((service, conn_id, region)) or self._open_place(Place(service, conn_id, region))

        by_key = {
            (service.name, service.conn_id, service.region): service for service in self._services.values()
        }
        return ServicePool(opened)

    def look(
        self, jobs: Sequence[RemoteJob], troubles: list[str], *, unknown_is_gone: bool = True
    ) -> list[JobStatus]:
        """Jobs as they are now; those that can't be looked at are left out.

        :param troubles: gets a sentence for each place with such jobs.
        :param unknown_is_gone: jobs of a cluster that the service does not know (any more) are GONE.
        """
        pool, groups = self.pool(), by_place(jobs)

        def looked_at(group: tuple[Place, list[RemoteJob]]) -> list[JobStatus]:
            place, some = group
            statuses: list[JobStatus] = []
            for jobs_of_one in by_scope(some).values():
                try:
                    statuses += _described(pool, jobs_of_one, unknown_is_gone=unknown_is_gone)
                except UnknownScope as error:
                    troubles.append(f"{place}: {error}")
                except Exception as error:  # noqa: BLE001  told; nothing that a service says ends a sweep
                    self.troubled.add(place)
                    is_silent = isinstance(error, ServiceUnavailable)
                    # Another silence would cost its patience once more.
                    left = len(some) - len(statuses) if is_silent else len(jobs_of_one)
                    words = f"{left} jobs could not be looked at again: {in_words(error)}"
                    troubles.append(f"{place}: {words}")
                    if is_silent:
                        break
            return statuses

        for some in groups.values():
            # Here, and not in a thread, for it may ask Airflow; what goes wrong goes wrong there again.
            with suppress(Exception):
                pool.service_of(some[0])
        return list(chain.from_iterable(side_by_side(looked_at, groups.items(), PLACES_AT_ONCE)))


def _described(pool: ServicePool, jobs: list[RemoteJob], *, unknown_is_gone: bool) -> list[JobStatus]:
    try:
        return pool.describe(jobs)
    except UnknownScope as error:
        if not unknown_is_gone:
            raise
        return [JobStatus(job, JobState.GONE, reason=str(error)) for job in jobs]


def in_words(error: Exception) -> str:
    """An error for people: those of this package say all in their own words."""
    return str(error) if isinstance(error, CancelProviderError) else repr(error)
