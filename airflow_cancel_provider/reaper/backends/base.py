"""The interface through which a reaper gets the states of tries, and the answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
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


def phase_of_replaced(state: str | None) -> TryPhase:
    """The same for the last state of a try that another one has taken the place of: it is over."""
    phase = phase_of(state)
    return phase if phase in (TryPhase.SUCCEEDED, TryPhase.REMOVED) else TryPhase.FAILED


@dataclass(frozen=True, slots=True)
class OwnerState:
    """The state of a try, and of the try that took its place.

    :param later: what the state of that one means; None: no other has taken its place.
    :param task: ``dag / run / task`` for people, where it is known.
    :param state: Airflow's own word, for people.
    :param release: what the try has released; a try that succeeds releases all of its jobs.
    :param ended: when the try ended, where Airflow tells it.
    :param dag_id: its permissions decide who may read this; not part of an answer over HTTP.
    """

    phase: TryPhase
    later: TryPhase | None = None
    task: str = ""
    state: str = ""
    release: Release | None = None
    ended: datetime | None = None
    dag_id: str = field(default="", compare=False)

    def __str__(self) -> str:
        words = f"{self.task or 'its task'} is {self.state or self.phase.lower()}"
        return words + (f", replaced by a try that is {self.later.lower()}" if self.later else "")

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "phase": str(self.phase),
            "later": str(self.later) if self.later else None,
            "task": self.task,
            "state": self.state,
            "release": self.release.as_json() if self.release else None,
            "ended": self.ended.isoformat() if self.ended else None,
        }

    @classmethod
    def from_json(cls, values: Any) -> OwnerState:
        """The inverse of :meth:`as_json`.

        :raises KeyError, TypeError, ValueError: this is no such answer.
        """
        later, release, ended = values["later"], values["release"], values["ended"]
        for name in ("task", "state"):
            if not isinstance(values[name], str):
                raise TypeError(f"{name} is a {type(values[name]).__name__}")
        return cls(
            TryPhase(values["phase"]),
            None if later is None else TryPhase(later),
            values["task"],
            values["state"],
            None if release is None else Release.from_json(release),
            None if ended is None else _time(ended),
        )


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


def _time(text: str) -> datetime:
    """:raises TypeError, ValueError: it is no time with a zone."""
    if (moment := datetime.fromisoformat(text)).tzinfo is None:
        raise ValueError(f"{text!r} has no zone")
    return moment
