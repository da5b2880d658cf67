"""Decide which running jobs are orphans: a pure function, and a class that asks Airflow for owners."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.reaper.backends.base import Airflow, OwnerState, TryPhase
from airflow_cancel_provider.record import LATEST

NOT_PERMITTED = (
    "The reaper's Airflow account may not read the tasks of some jobs, which are therefore kept: give it "
    "permission to read the task instances of all Dags."
)
NOT_TOLD = "Airflow did not give the state of the tasks of some jobs, which are therefore kept."


LATE = timedelta(minutes=15)
"""After the end of a try: its process may start jobs until it has found out that Airflow has given it up."""
ENDING = timedelta(minutes=15)
"""After the end of a try: for so long its guard sees to the end of a job whose cancel has begun."""
LONG = timedelta(days=7)
"""After the creation of a try whose end Airflow does not know (any more): until then it may have run."""


class DecisionKind(StrEnum):
    """Why a job is kept or cancelled; sweeps count jobs by it. Only an ORPHAN is cancelled."""

    ENDED = "ended"
    UNLABELLED = "unlabelled"
    FOREIGN = "foreign"
    UNANSWERED = "unanswered"
    UNKNOWN = "unknown"
    ALIVE = "alive"
    SUCCEEDED = "succeeded"
    RECONNECTING = "reconnecting"
    RELEASED = "released"
    COPIED = "copied"
    """Started long after its try: somebody may have copied a job with its label."""
    ENDING = "ending"
    """Its cancel has begun: by the guard, which sees to its end."""
    DEAD_LETTER = "dead letter"
    SUSPECT = "suspect"
    """To be checked a second time."""
    ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on a job, and the reason."""

    kind: DecisionKind
    because: str


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known of one job.

    :param claim: the job, and the label that it carries.
    :param owner: what Airflow says of the try that started it; None: Airflow did not answer.
    :param suspected_since: time of the first check by which it is an orphan, if later ones agree.
    :param letter: why it could not be cancelled before, if it has a dead letter.
    """

    claim: JobStatus
    owner: OwnerState | None = None
    suspected_since: datetime | None = None
    letter: str | None = None


def decide(case: Case, deployment: str, now: datetime, grace: timedelta) -> Decision:
    """Decide on a job; in doubt it is kept.

    :param deployment: this Airflow's name in labels.
    :param grace: time between the first check that finds an orphan and the one that may cancel it.
    """
    return _kept_unasked(case, deployment) or _kept_for_its_try(case) or _orphan(case, now, grace)


def _kept_unasked(case: Case, deployment: str) -> Decision | None:
    """Why a job is kept whatever the state of its try."""
    label = case.claim.label
    if case.claim.state.is_terminal:
        return Decision(DecisionKind.ENDED, "it has ended")
    if label is None:
        return Decision(DecisionKind.UNLABELLED, "it carries no label")
    if label.deployment != deployment:
        return Decision(DecisionKind.FOREIGN, f"it belongs to another Airflow, {label.deployment}")
    if case.owner is None:
        return Decision(DecisionKind.UNANSWERED, "Airflow did not give the state of its task")
    return None


def _kept_for_its_try(case: Case) -> Decision | None:
    owner = case.owner
    if owner is None or owner.phase is TryPhase.ALIVE:
        return Decision(DecisionKind.ALIVE, str(owner))
    if owner.phase is TryPhase.UNKNOWN:
        return Decision(DecisionKind.UNKNOWN, "the reaper's Airflow account may not read its task")
    if owner.phase is TryPhase.SUCCEEDED:
        return Decision(DecisionKind.SUCCEEDED, f"{owner}: the job is to be left running")
    if owner.release is not None and owner.release.covers(case.claim.job):
        return Decision(DecisionKind.RELEASED, f"{owner}, and {owner.release}")
    if case.claim.label is not None and case.claim.label.reconnects:
        return _kept_for_the_next_try(owner) or _kept_as_a_copy(case.claim, owner)
    return _kept_as_a_copy(case.claim, owner)


def _kept_as_a_copy(claim: JobStatus, owner: OwnerState) -> Decision | None:
    """Consoles copy a job with its name and parameters. A copy is not the try's."""
    started = claim.submitted_at
    ended = owner.ended if owner.phase in (TryPhase.FAILED, TryPhase.RETRYING) else None
    if started is not None and ended is not None and started - ended > LATE:
        return _copy(f"{owner} since {ended:%Y-%m-%d %H:%M:%S %Z}, and the job was started later")
    if owner.phase in (TryPhase.DELETED, TryPhase.REMOVED) and claim.label is not None:
        created = _creation_of(claim.label.ti_id)
        if started is not None and created is not None and started - created > LONG:
            return _copy(f"{owner}, and the job was started {(started - created).days} days after its try")
    return None


def _copy(because: str) -> Decision:
    return Decision(DecisionKind.COPIED, f"{because}: it may be a copy with the same label")


def _creation_of(ti_id: UUID) -> datetime | None:
    """When a try was created, which the ids that Airflow makes tell; None for any other id."""
    milliseconds = ti_id.int >> 80
    in_range = ti_id.version == 7 and milliseconds < LATEST * 1000
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if in_range else None


def _kept_for_the_next_try(owner: OwnerState) -> Decision | None:
    going_on = (TryPhase.ALIVE, TryPhase.RETRYING, TryPhase.SUCCEEDED, TryPhase.REMOVED)
    if owner.phase is TryPhase.RETRYING or owner.later in going_on:
        return Decision(DecisionKind.RECONNECTING, f"{owner}, and the next try takes the job over")
    if owner.phase is TryPhase.DELETED:
        # `airflow db clean` removes a task's earlier tries, and keeps the one that has taken over their jobs.
        return Decision(DecisionKind.UNKNOWN, f"{owner}, and a later try may have taken the job over")
    return None


def _orphan(case: Case, now: datetime, grace: timedelta) -> Decision:
    since = case.suspected_since
    if case.letter is not None:
        return Decision(DecisionKind.DEAD_LETTER, f"it could not be cancelled before: {case.letter}")
    if _is_being_ended(case, now):
        return Decision(DecisionKind.ENDING, f"{case.owner}, and its cancel has begun")
    if since is None:
        return Decision(DecisionKind.SUSPECT, f"{case.owner}; a second check has to agree")
    if now - since < grace:
        seconds = (now - since).total_seconds()
        return Decision(DecisionKind.SUSPECT, f"{case.owner}; first seen {seconds:.0f} s ago")
    return Decision(DecisionKind.ORPHAN, str(case.owner))


def _is_being_ended(case: Case, now: datetime) -> bool:
    ended = case.owner.ended if case.owner else None
    return case.claim.state is JobState.CANCELLING and ended is not None and now - ended < ENDING


@dataclass
class Found:
    """One job that was checked, and the decision on it."""

    claim: JobStatus
    owner: OwnerState | None
    decision: Decision
    suspected_since: datetime

    @property
    def job(self) -> RemoteJob:
        """Its address."""
        return self.claim.job

    @property
    def task(self) -> str:
        """The try that started it, for people; empty where Airflow did not name it."""
        return self.owner.task if self.owner else ""


@dataclass(frozen=True)
class Judge:
    """Asks Airflow for the owners of jobs, and decides.

    :param deployment: this Airflow's name in labels.
    :param grace: time between the check that finds an orphan and the one that may cancel it.
    :param letters: dead letters.
    :param troubles: gets a sentence where Airflow does not answer.
    """

    airflow: Airflow
    deployment: str
    grace: timedelta
    letters: Mapping[str, Mapping[str, Any]]
    troubles: list[str] = field(default_factory=list)

    def decide(
        self, claims: Sequence[JobStatus], since: Mapping[RemoteJob, datetime] | None = None
    ) -> list[Found]:
        """Decide on jobs as they are now.

        :param since: for suspects, the time of the earlier check; no other job can be an orphan yet.
        """
        now, since = datetime.now(UTC), since or {}
        # Whatever connection led to the job when it was refused.
        letters = {RemoteJob(job).identity: letter for job, letter in self.letters.items()}
        owners = self._owners(claims)
        found = []
        for claim in claims:
            owner = owners.get(claim.label.ti_id) if claim.label else None
            if owner and not owner.task and claim.label and claim.label.owner:
                owner = replace(owner, task=claim.label.owner.task)  # for people
            letter = letters.get(claim.job.identity)
            why = str(letter.get("why")) if letter else None
            case = Case(claim, owner, since.get(claim.job), why)
            decision = decide(case, self.deployment, now, self.grace)
            found.append(Found(claim, owner, decision, since.get(claim.job, now)))
        return found

    def decide_again(self, suspects: Collection[Found], statuses: Collection[JobStatus]) -> list[Found]:
        """Decide again on those suspects whose present state is given."""
        before = {found.job: found for found in suspects}
        claims = [_completed(status, before[status.job].claim) for status in statuses]
        # A job that has another label now is a suspect for the first time.
        since = {
            claim.job: before[claim.job].suspected_since
            for claim in claims
            if claim.label == before[claim.job].claim.label
        }
        return self.decide(claims, since)

    def _owners(self, claims: Sequence[JobStatus]) -> Mapping[UUID, OwnerState]:
        labels = [claim.label for claim in claims if claim.label]
        ours = list(dict.fromkeys(label.ti_id for label in labels if label.deployment == self.deployment))
        try:
            owners = self.airflow.owners(ours) if ours else {}
        except AirflowUnavailable as error:
            self.troubles.append(f"{error} The jobs that it was asked about are kept.")
            return {}
        if any(owner.phase is TryPhase.UNKNOWN for owner in owners.values()):
            self.troubles.append(NOT_PERMITTED)
        if any(ti_id not in owners for ti_id in ours):
            self.troubles.append(NOT_TOLD)
        return owners


def _completed(status: JobStatus, before: JobStatus) -> JobStatus:
    """A status, completed by what only the listing shows."""
    return replace(
        status,
        label=status.label or before.label,
        name=status.name or before.name,
        submitted_at=status.submitted_at or before.submitted_at,
    )
