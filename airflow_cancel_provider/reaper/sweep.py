"""List all that lives, many places at a time, and decide job by job, with bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from queue import Empty, Full, Queue
from threading import Event, Thread

from airflow_cancel_provider.exceptions import AirflowUnavailable, CancelProviderError, ServiceUnavailable
from airflow_cancel_provider.jobs import JobStatus, RemoteJob, released_key
from airflow_cancel_provider.reaper.airflows.base import Airflow, undisputed
from airflow_cancel_provider.reaper.decide import (
    Action,
    Case,
    Decision,
    Kind,
    OwnerState,
    Standing,
    decide,
)
from airflow_cancel_provider.reaper.letters import Letters
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
_UNKNOWN = OwnerState(Standing.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some living jobs of one scope, or, without a scope, the end of a place."""

    place: Place
    scope: str | None = None
    claims: Sequence[JobStatus] = ()
    trouble: CancelProviderError | None = None


def listed(services: dict[Place, JobService], scopes: Scopes, stop: Event | None = None) -> Iterator[Batch]:
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
        self._batches: Queue[Batch] = Queue(WAITING)
        self.closed = Event()

    @property
    def _is_over(self) -> bool:
        return self.closed.is_set() or self._stop.is_set()

    def next(self) -> Batch | None:
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
            self._put(Batch(place, trouble=trouble))

    def _list_scope(self, place: Place, service: JobService, scope: str) -> bool:
        """Put all batches of a scope; whether the service answered."""
        claims: list[JobStatus] = []
        try:
            for claim in service.claims(scope):
                claims.append(claim)
                if len(claims) >= BATCH:
                    self._put(Batch(place, scope, claims))
                    claims = []
                if self._is_over:
                    return True
            self._put(Batch(place, scope, claims))
        except CancelProviderError as error:
            self._put(Batch(place, scope, claims, error))
            return not isinstance(error, ServiceUnavailable)
        return True

    def _put(self, batch: Batch) -> None:
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
            Found(claim, owner, self._decide(case, now), now)
            for claim, owner, case in self._cases(claims, is_final=False)
        ]

    def again(self, suspects: Sequence[Found], statuses: Collection[JobStatus]) -> list[Found]:
        """Decide once more for suspects, as they are now."""
        by_job = {status.job: status for status in statuses}
        claims = [
            replace(by_job[found.job], label=found.claim.label, submitted_at=found.claim.submitted_at)
            for found in suspects
        ]
        since = {found.job: found.suspected_since for found in suspects}
        cases = list(self._cases(claims, is_final=True))
        now = datetime.now(UTC)
        return [
            Found(claim, owner, self._decide(self._suspected(case, since), now), since[claim.job])
            for claim, owner, case in cases
        ]

    def _cases(
        self, claims: Sequence[JobStatus], *, is_final: bool
    ) -> Iterator[tuple[JobStatus, OwnerState | None, Case]]:
        labelled, recorded, answered = self._owners(claims, is_final=is_final)
        for claim in claims:
            job, owner = claim.job, None
            if claim.label is not None and answered:
                owner = labelled.get(str(claim.label.ti_id), _UNKNOWN)
            elif claim.label is None:
                owner = recorded.get(job)
            case = Case(
                claim,
                owner,
                is_recorded=claim.label is None and job in recorded,
                letter=str(letter.get("why")) if (letter := self.letters.get(str(job))) else None,
            )
            yield claim, owner, case

    def _owners(
        self, claims: Sequence[JobStatus], *, is_final: bool
    ) -> tuple[dict[str, OwnerState], dict[RemoteJob, OwnerState], bool]:
        ours = [claim.label for claim in claims if claim.label and claim.label.deployment == self.deployment]
        bare = [claim for claim in claims if claim.label is None]
        try:
            owners = self.airflow.owners(undisputed(ours)) if ours else {}
            recorded = dict(self.airflow.recorded(bare, is_final=is_final)) if bare else {}
        except AirflowUnavailable as error:
            if str(error) not in self.troubles:
                self.troubles.append(str(error))
            return {}, {}, False
        return {str(ti_id): state for ti_id, state in owners.items()}, recorded, True

    def _suspected(self, case: Case, since: dict[RemoteJob, datetime]) -> Case:
        job = case.claim.job
        return replace(case, suspected_since=since[job], is_released=self._is_released(job))

    def _is_released(self, job: RemoteJob) -> bool:
        return self.airflow.variable(released_key(job)) is not None

    def _decide(self, case: Case, now: datetime) -> Decision:
        return decide(case, self.deployment, now, self.grace)


def is_suspect(found: Found) -> bool:
    """Whether a second look has to be taken."""
    return found.decision.action is Action.WAIT and found.decision.kind is Kind.SUSPECT
