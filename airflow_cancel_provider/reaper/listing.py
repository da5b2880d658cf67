"""List all that lives, many places at a time, and decide job by job, with bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from queue import Empty, Full, Queue
from threading import Event, Thread
from uuid import UUID

from airflow_cancel_provider.exceptions import AirflowUnavailable, CancelProviderError, ServiceUnavailable
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.reaper.backends.base import Airflow
from airflow_cancel_provider.reaper.dead_letters import Letters
from airflow_cancel_provider.reaper.judge import (
    Action,
    Case,
    Decision,
    DecisionKind,
    OwnerState,
    Standing,
    decide,
)
from airflow_cancel_provider.reaper.places import Place, Scopes
from airflow_cancel_provider.reaper.report import Found
from airflow_cancel_provider.services.base import JobService

BATCH = 500
"""Jobs whose owners are asked for together."""
WAITING = 8
"""Batches that may wait to be decided; a place that lists faster waits."""
SILENCES = 2
"""Scopes in a row that may stay unanswered; then the rest of their place is left out."""
TICK = 0.5
"""Seconds after which those who wait see that a sweep is over."""
NOT_PERMITTED = (
    "The reaper's account at Airflow may not read the tasks of some jobs, which are therefore kept: let it "
    "read the task instances of all Dags."
)


@dataclass(frozen=True, slots=True)
class ListedJobs:
    """Some living jobs of one scope, or, without a scope, the end of a place."""

    place: Place
    scope: str | None = None
    claims: Sequence[JobStatus] = ()
    trouble: CancelProviderError | None = None


def listed(
    services: dict[Place, JobService], scopes: Scopes, stop: Event | None = None
) -> Iterator[ListedJobs]:
    """All living jobs of all places, each place in a thread of its own.

    A scope without jobs is a batch as well. What can't be listed is a batch with its trouble.

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
    """What the threads of one listing share."""

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
        """Put all batches of a place, and its end."""
        trouble: CancelProviderError | None = None
        silences = 0
        try:
            for scope in self._scopes.chosen(service.scopes()):
                if self._is_over or silences >= SILENCES:
                    break
                # Each silence has cost the service's whole patience.
                silences = 0 if self._list_scope(place, service, scope) else silences + 1
            if silences >= SILENCES:
                trouble = ServiceUnavailable(
                    f"No answer for {silences} scopes in a row: the rest is left out."
                )
        except CancelProviderError as error:
            trouble = error
        except Exception as error:  # noqa: BLE001  told to the sweep, which goes on with the other places
            trouble = CancelProviderError(f"Listing {place} failed: {error!r}")
        finally:
            self._put(ListedJobs(place, trouble=trouble))

    def _list_scope(self, place: Place, service: JobService, scope: str) -> bool:
        """Put all batches of a scope; whether the service answered."""
        claims: list[JobStatus] = []
        try:
            for claim in service.claims(scope):
                claims.append(claim)
                if len(claims) >= BATCH:
                    self._put(ListedJobs(place, scope, claims))
                    claims = []
                if self._is_over:
                    return True
            self._put(ListedJobs(place, scope, claims))
        except CancelProviderError as error:
            self._put(ListedJobs(place, scope, claims, error))
            return not isinstance(error, ServiceUnavailable)
        except Exception as error:  # noqa: BLE001  told to the sweep, which goes on with the other scopes
            trouble = CancelProviderError(f"Listing {scope} failed: {error!r}")
            self._put(ListedJobs(place, scope, claims, trouble))
        return True

    def _put(self, batch: ListedJobs) -> None:
        while not self._is_over:
            with suppress(Full):
                self._batches.put(batch, timeout=TICK)
                return


@dataclass(frozen=True)
class Judge:
    """Decides what is done with jobs.

    :param deployment: this Airflow's name in labels.
    :param grace: time between the look that finds an orphan and the one that may cancel it.
    :param letters: dead letters.
    :param troubles: gets a sentence where Airflow does not answer.
    """

    airflow: Airflow
    deployment: str
    grace: timedelta
    letters: Letters
    troubles: list[str] = field(default_factory=list)

    def first(self, claims: Sequence[JobStatus]) -> list[Found]:
        """Decide for jobs that are seen for the first time; none is cancelled at that."""
        now = datetime.now(UTC)
        return [
            Found(claim, owner, self._decide(case, now), now) for claim, owner, case in self._cases(claims)
        ]

    def again(self, suspects: Sequence[Found], statuses: Collection[JobStatus]) -> list[Found]:
        """Decide once more for suspects, as they are now."""
        by_job = {status.job: status for status in statuses}
        since: dict[RemoteJob, datetime] = {}
        claims = []
        for found in suspects:
            now, before = by_job[found.job], found.claim
            if now.label in (None, before.label):
                # Whose label is another now is a suspect for the first time.
                since[found.job] = found.suspected_since
            claims.append(
                replace(
                    now,
                    label=now.label or before.label,
                    name=now.name or before.name,
                    submitted_at=now.submitted_at or before.submitted_at,
                )
            )
        cases = list(self._cases(claims))
        moment = datetime.now(UTC)
        return [
            Found(
                claim,
                owner,
                self._decide(replace(case, suspected_since=since.get(claim.job)), moment),
                since.get(claim.job, moment),
            )
            for claim, owner, case in cases
        ]

    def _cases(self, claims: Sequence[JobStatus]) -> Iterator[tuple[JobStatus, OwnerState | None, Case]]:
        owners = self._owners(claims)
        for claim in claims:
            owner = owners.get(claim.label.ti_id) if claim.label else None
            letter = self.letters.get(str(claim.job))
            yield claim, owner, Case(claim, owner, letter=str(letter.get("why")) if letter else None)

    def _owners(self, claims: Sequence[JobStatus]) -> Mapping[UUID, OwnerState]:
        ours = {
            claim.label.ti_id: None
            for claim in claims
            if claim.label and claim.label.deployment == self.deployment
        }
        try:
            owners = self.airflow.owners(list(ours)) if ours else {}
        except AirflowUnavailable as error:
            self._say(str(error))
            return {}
        if any(owner.standing is Standing.UNKNOWN for owner in owners.values()):
            self._say(NOT_PERMITTED)
        if any(ti_id not in owners for ti_id in ours):
            self._say("Airflow did not say how the tasks of some jobs stand, which are therefore kept.")
        return owners

    def _say(self, trouble: str) -> None:
        if trouble not in self.troubles:
            self.troubles.append(trouble)

    def _decide(self, case: Case, now: datetime) -> Decision:
        return decide(case, self.deployment, now, self.grace)


def is_suspect(found: Found) -> bool:
    """Whether a second look has to be taken."""
    return found.decision.action is Action.WAIT and found.decision.kind is DecisionKind.SUSPECT
