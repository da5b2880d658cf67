"""The living jobs of many places, read at the same time with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Full, Queue
from threading import Event, Thread

from airflow_cancel_provider.exceptions import CancelProviderError, ServiceUnavailable
from airflow_cancel_provider.jobs import JobStatus
from airflow_cancel_provider.reaper.places import Place, Scopes
from airflow_cancel_provider.services.base import JobService

BATCH = 500
"""Jobs whose owners are queried together."""
WAITING = 8
"""Batches that may wait to be decided on; a place that lists faster waits."""
MOST_UNANSWERED = 2
"""Scopes in a row that may stay without an answer; then the rest of their place is left out."""
TICK = 0.5
"""Seconds after which waiting threads check whether the listing is over."""


@dataclass(frozen=True, slots=True)
class ListedJobs:
    """Some running jobs of one scope, or, without a scope, the end of a place's list.

    :param trouble: why some could not be listed.
    """

    place: Place
    scope: str | None = None
    claims: Sequence[JobStatus] = ()
    trouble: str | None = None


def listed(
    services: dict[Place, JobService], scopes: Scopes, stop: Event | None = None
) -> Iterator[ListedJobs]:
    """List all running jobs of all places, each place in a thread of its own.

    A scope without jobs gives an empty batch. A scope that can't be listed gives a batch with its trouble.

    :param stop: ends the listing early when it is set.
    """
    listing = _Listing(scopes, stop or Event())
    for place, service in services.items():
        Thread(target=listing.list_place, args=(place, service), name=f"reaper {place}", daemon=True).start()
    left = set(services)
    try:
        while left and (batch := listing.next()):
            if batch.scope is None:
                left.remove(batch.place)
            if batch.scope is not None or batch.trouble:
                yield batch
    finally:
        listing.closed.set()


class _Listing:
    """The state that the threads of one listing share."""

    def __init__(self, scopes: Scopes, stop: Event) -> None:
        self._scopes, self._stop = scopes, stop
        self._batches: Queue[ListedJobs] = Queue(WAITING)
        self.closed = Event()

    @property
    def _is_over(self) -> bool:
        return self.closed.is_set() or self._stop.is_set()

    def next(self) -> ListedJobs | None:
        """Wait for a batch; None when the listing is to end."""
        while not self._is_over:
            with suppress(Empty):
                return self._batches.get(timeout=TICK)
        return None

    def list_place(self, place: Place, service: JobService) -> None:
        """Put all batches of a place into the queue, and its end."""
        trouble: str | None = None
        unanswered = 0
        try:
            for scope in self._scopes.chosen(service.scopes()):
                if self._is_over or unanswered >= MOST_UNANSWERED:
                    break
                # Each of these has waited for the service's whole patience.
                unanswered = 0 if self._list_scope(place, service, scope) else unanswered + 1
            if unanswered >= MOST_UNANSWERED:
                trouble = f"No answer for {unanswered} scopes in a row: the rest is left out."
        except Exception as error:  # noqa: BLE001  reported; the sweep goes on with the other places
            trouble = _words(place, error)
        finally:
            self._put(ListedJobs(place, trouble=trouble))

    def _list_scope(self, place: Place, service: JobService, scope: str) -> bool:
        """Put all batches of a scope into the queue; return whether the service answered."""
        claims: list[JobStatus] = []
        try:
            for claim in service.claims(scope):
                claims.append(claim)
                if len(claims) >= BATCH:
                    self._put(ListedJobs(place, scope, claims))
                    claims = []
                if self._is_over:
                    return True
        except Exception as error:  # noqa: BLE001  reported; the sweep goes on with the other scopes
            self._put(ListedJobs(place, scope, claims, _words(scope, error)))
            return not isinstance(error, ServiceUnavailable)
        self._put(ListedJobs(place, scope, claims))
        return True

    def _put(self, batch: ListedJobs) -> None:
        while not self._is_over:
            with suppress(Full):
                self._batches.put(batch, timeout=TICK)
                return


def _words(what: object, error: Exception) -> str:
    return str(error) if isinstance(error, CancelProviderError) else f"Listing {what} failed: {error!r}"
