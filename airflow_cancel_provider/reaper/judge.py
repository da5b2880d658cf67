"""Whether a living job is an orphan. Pure: everything it rests on is in its arguments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from airflow_cancel_provider.jobs import JobStatus
from airflow_cancel_provider.release import Release


class Standing(StrEnum):
    """How a try of a task stands, as Airflow tells it."""

    ALIVE = "ALIVE"
    """Running, or on its way: scheduled, queued, deferred, waiting for its next poke."""
    RETRYING = "RETRYING"
    """Failed, and to be tried again."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """Ended in any other way: failed, skipped."""
    REMOVED = "REMOVED"
    """Its run has no such task, or no such map index, any more."""
    DELETED = "DELETED"
    """Airflow has no row of it: its run was deleted, or ``airflow db clean`` has removed it."""
    UNKNOWN = "UNKNOWN"
    """The reaper's account at Airflow may not read it."""


@dataclass(frozen=True, slots=True)
class OwnerState:
    """A try, and the try that took its place, if one did.

    ``task`` is ``dag / run / task`` for people, where it is known; ``state`` is Airflow's own word.
    ``release``: what the try has released; a try that succeeds releases whatever may live on.
    """

    standing: Standing
    later: Standing | None = None
    task: str = ""
    state: str = ""
    release: Release | None = None

    def __str__(self) -> str:
        words = f"{self.task or 'its task'} is {self.state or self.standing.lower()}"
        return words + (f", replaced by a try that is {self.later.lower()}" if self.later else "")


class Action(StrEnum):
    """What is done with a job."""

    KEEP = "keep"
    WAIT = "wait"
    CANCEL = "cancel"


class DecisionKind(StrEnum):
    """Why, in one word; what sweeps are counted by."""

    ENDED = "ended"
    UNLABELLED = "unlabelled"
    FOREIGN = "foreign"
    UNANSWERED = "unanswered"
    UNKNOWN = "unknown"
    ALIVE = "alive"
    SUCCEEDED = "succeeded"
    RECONNECTING = "reconnecting"
    RELEASED = "released"
    DEAD_LETTER = "dead letter"
    SUSPECT = "suspect"
    ORPHAN = "orphan"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with a job, and why."""

    action: Action
    kind: DecisionKind
    because: str


@dataclass(frozen=True, slots=True)
class Case:
    """All that is known of one job.

    :param claim: the job, and the label that it carries.
    :param owner: what Airflow says of the try that started it; None: Airflow did not answer.
    :param suspected_since: when an earlier look found it to be an orphan, and none since found otherwise.
    :param letter: why it could not be cancelled before, if a person has not dealt with that yet.
    """

    claim: JobStatus
    owner: OwnerState | None = None
    suspected_since: datetime | None = None
    letter: str | None = None


def decide(case: Case, deployment: str, now: datetime, grace: timedelta) -> Decision:
    """What is done with a job; whatever is in doubt is kept.

    :param deployment: this Airflow's name in labels.
    :param grace: time between the first look that finds an orphan and the one that may cancel it.
    """
    return (
        _not_ours(case, deployment)
        or _owner_has_a_right(case)
        or _job_has_a_right(case)
        or _in_time(case, now, grace)
    )


def _not_ours(case: Case, deployment: str) -> Decision | None:
    claim, owner = case.claim, case.owner
    if claim.state.is_terminal:
        return _keep(DecisionKind.ENDED, "it has ended")
    if claim.label is None:
        return _keep(DecisionKind.UNLABELLED, "it carries no label")
    if claim.label.deployment != deployment:
        return _keep(DecisionKind.FOREIGN, f"it belongs to another Airflow, {claim.label.deployment}")
    if owner is None:
        return Decision(Action.WAIT, DecisionKind.UNANSWERED, "Airflow did not say how its task stands")
    if owner.standing is Standing.UNKNOWN:
        return _keep(DecisionKind.UNKNOWN, "the reaper's account at Airflow may not read its task")
    return None


def _owner_has_a_right(case: Case) -> Decision | None:
    owner = case.owner
    if owner is None or owner.standing is Standing.ALIVE:
        return _keep(DecisionKind.ALIVE, str(owner))
    if owner.standing is Standing.SUCCEEDED:
        return _keep(DecisionKind.SUCCEEDED, f"{owner}: it is meant to live on")
    if owner.release is not None and owner.release.covers(case.claim.job):
        return _keep(DecisionKind.RELEASED, f"{owner}, and {owner.release}")
    if case.claim.label is not None and case.claim.label.reconnects:
        return _next_try_has_a_right(owner)
    return None


def _next_try_has_a_right(owner: OwnerState) -> Decision | None:
    if _will_be_taken_over(owner):
        return _keep(DecisionKind.RECONNECTING, f"{owner}, and the next try takes the job over")
    if owner.standing is Standing.DELETED:
        # `airflow db clean` removes a task's earlier tries, and leaves the one that goes on with their jobs.
        return _keep(DecisionKind.UNKNOWN, f"{owner}, and a later try may have taken the job over")
    return None


def _job_has_a_right(case: Case) -> Decision | None:
    if case.letter is not None:
        return _keep(DecisionKind.DEAD_LETTER, f"it could not be cancelled before: {case.letter}")
    return None


def _will_be_taken_over(owner: OwnerState) -> bool:
    going_on = (Standing.ALIVE, Standing.RETRYING, Standing.SUCCEEDED, Standing.REMOVED)
    return owner.standing is Standing.RETRYING or owner.later in going_on


def _in_time(case: Case, now: datetime, grace: timedelta) -> Decision:
    since = case.suspected_since
    if since is None:
        return Decision(Action.WAIT, DecisionKind.SUSPECT, f"{case.owner}; a second look has to agree")
    if now - since < grace:
        seconds = (now - since).total_seconds()
        return Decision(Action.WAIT, DecisionKind.SUSPECT, f"{case.owner}; first seen {seconds:.0f} s ago")
    return Decision(Action.CANCEL, DecisionKind.ORPHAN, str(case.owner))


def _keep(kind: DecisionKind, because: str) -> Decision:
    return Decision(Action.KEEP, kind, because)
