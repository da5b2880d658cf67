"""The interface through which a reaper gets the states of tries, and the answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from airflow_cancel_provider.ends_on_record import Ends
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.release import Release

NOT_STARTED = "not started"
"""Used for the state of a task instance that has none."""
NOT_THERE = "not in Airflow's database (it was deleted, or this is an older copy)"
"""Used for the state of a try that Airflow does not know."""
RELEASE_PREFIX = release_key("")
"""What the key of every release begins with; the try's uuid follows."""


class TryPhase(StrEnum):
    """What Airflow's state of a try means for its jobs."""

    ALIVE = "ALIVE"
    """Running, or about to run: scheduled, queued, deferred, waiting for its next poke."""
    RETRYING = "RETRYING"
    """Failed, and to be tried again."""
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    """Ended in any other way: failed, skipped."""
    REMOVED = "REMOVED"
    """Its Dag run has no such task, or no such map index, any more: set over any state, also over success."""
    DELETED = "DELETED"
    """Airflow has no row of it: its Dag run was deleted, or ``airflow db clean`` has removed it."""
    UNKNOWN = "UNKNOWN"
    """The reaper's Airflow account may not read it."""


_STATES = {
    "up_for_retry": TryPhase.RETRYING,
    "success": TryPhase.SUCCEEDED,
    "removed": TryPhase.REMOVED,
    **dict.fromkeys(("failed", "skipped", "upstream_failed"), TryPhase.FAILED),
}


def phase_of(state: str | None) -> TryPhase:
    """What a task instance's state means for its jobs; an unknown state means ALIVE."""
    return _STATES.get(state or "", TryPhase.ALIVE)


@dataclass(frozen=True, slots=True)
class OwnerState:
    """The state of a try, and of the try that took its place, if one did.

    ``task`` is ``dag / run / task`` for people, where it is known; ``state`` is Airflow's own word.
    ``release``: what the try has released; a try that succeeds releases all of its jobs.
    ``ended``: when the try ended, where Airflow tells it.
    """

    phase: TryPhase
    later: TryPhase | None = None
    task: str = ""
    state: str = ""
    release: Release | None = None
    ended: datetime | None = None

    def __str__(self) -> str:
        words = f"{self.task or 'its task'} is {self.state or self.phase.lower()}"
        return words + (f", replaced by a try that is {self.later.lower()}" if self.later else "")


class Airflow(ABC):
    """What a reaper needs of an Airflow.

    Every method raises :class:`~airflow_cancel_provider.exceptions.AirflowUnavailable` when Airflow does not
    answer; then nothing is cancelled.
    """

    @abstractmethod
    def owners(self, ti_ids: Collection[UUID]) -> Mapping[UUID, OwnerState]:
        """State of each of these tries; every one of them is in the answer."""

    @abstractmethod
    def releases(self, most: int) -> Mapping[str, str | None]:
        """Value of the Variables with releases by key, those of the oldest tries first, at most so many."""

    @abstractmethod
    def variable(self, key: str) -> str | None:
        """An Airflow Variable, or None where there is none."""

    @abstractmethod
    def write_ends(self, ends: Mapping[UUID, Ends]) -> None:
        """Put on record how jobs of these tries have ended, where there are records of them."""

    @abstractmethod
    def set_variable(self, key: str, value: str | None) -> None:
        """Write an Airflow Variable; None deletes it."""


class Presence(StrEnum):
    """In which table Airflow has a try."""

    CURRENT = "current"
    """It is its task instance's present try."""
    ARCHIVED = "archived"
    """Another try of the task instance has taken its place."""
    ABSENT = "absent"
    NOT_PERMITTED = "not permitted"
    """The account may not read the Dag."""


@dataclass(frozen=True, slots=True)
class TryAnswer:
    """A try in Airflow's database, in Airflow's own words.

    :param later: state of the try that took its place.
    :param task: ``dag / run / task`` for people.
    :param ended: when the try ended; None where it has not, or where Airflow does not tell it.
    :param dag_id: its permissions decide who may read this; not part of an answer over HTTP.
    """

    presence: Presence
    state: str | None = None
    later: str | None = None
    task: str = ""
    release: Release | None = None
    dag_id: str = ""
    ended: datetime | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "presence": str(self.presence),
            "state": self.state,
            "later": self.later,
            "task": self.task,
            "release": self.release.as_json() if self.release else None,
            "ended": self.ended.isoformat() if self.ended else None,
        }

    @classmethod
    def from_json(cls, values: Any) -> TryAnswer:
        """The inverse of :meth:`as_json`.

        :raises KeyError, TypeError, ValueError: this is no such answer.
        """
        presence = Presence(values["presence"])
        has_state = presence in (Presence.CURRENT, Presence.ARCHIVED)
        if has_state is not isinstance(values["state"], str):
            raise ValueError(f"a try that is {presence} with state {values['state']!r}")
        if presence is Presence.ARCHIVED and values["later"] is None:
            raise ValueError("an archived try without the one that took its place")
        for name in ("state", "later", "task"):
            if not isinstance(values[name], (str, type(None))):
                raise TypeError(f"{name} is a {type(values[name]).__name__}")
        release, ended = values["release"], values["ended"]
        return cls(
            presence,
            values["state"],
            values["later"],
            values["task"] or "",
            None if release is None else Release.from_json(release),
            ended=None if ended is None else _time(ended),
        )

    @property
    def phase(self) -> TryPhase:
        """What it means for the try's jobs."""
        if self.presence is Presence.NOT_PERMITTED:
            return TryPhase.UNKNOWN
        if self.presence is Presence.ABSENT:
            return TryPhase.DELETED
        own = phase_of(self.state)
        if self.presence is Presence.CURRENT or own in (TryPhase.SUCCEEDED, TryPhase.REMOVED):
            return own
        # Whatever its state was when another try took its place, it is over.
        return TryPhase.FAILED

    @property
    def owner(self) -> OwnerState:
        """The same in the reaper's words."""
        later = phase_of(self.later) if self.later is not None else None
        words = NOT_THERE if self.presence is Presence.ABSENT else str(self.presence)
        return OwnerState(self.phase, later, self.task, self.state or words, self.release, self.ended)


def _time(text: str) -> datetime:
    """:raises TypeError, ValueError: it is no time with a zone."""
    if (moment := datetime.fromisoformat(text)).tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    return moment
