"""What a reaper asks of Airflow: how the tries with some uuids stand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from airflow_cancel_provider.reaper.judge import OwnerState, Standing
from airflow_cancel_provider.release import Release

RETRYING = frozenset({"up_for_retry"})
SUCCEEDED = frozenset({"success"})
FAILED = frozenset({"failed", "skipped", "upstream_failed"})
REMOVED = frozenset({"removed"})
"""Set over whatever was there, also over success, when a Dag changes or a task is expanded anew."""
NOT_STARTED = "not started"
"""Our word for the state of a task instance that has none."""
RELEASE_PREFIX = "remote_jobs_released_"
"""What the key of every release begins with; the try's uuid follows."""


class Airflow(ABC):
    """An Airflow, as a reaper sees it.

    Every method raises :class:`~airflow_cancel_provider.exceptions.AirflowUnavailable` when Airflow does
    not answer: then nothing is cancelled.
    """

    @abstractmethod
    def owners(self, ti_ids: Collection[UUID]) -> Mapping[UUID, OwnerState]:
        """How each of these tries stands; every one of them is in the answer."""

    @abstractmethod
    def releases(self, most: int) -> Mapping[str, str | None]:
        """Value of the Variables with releases by key, those of the oldest tries first, at most so many."""

    @abstractmethod
    def variable(self, key: str) -> str | None:
        """An Airflow Variable, or None where there is none."""

    @abstractmethod
    def set_variable(self, key: str, value: str | None) -> None:
        """Write an Airflow Variable; None deletes it."""


class Presence(StrEnum):
    """Where Airflow has a try."""

    CURRENT = "current"
    """It is its task instance's present try."""
    ARCHIVED = "archived"
    """Another try of the task instance has taken its place."""
    ABSENT = "absent"
    NOT_PERMITTED = "not permitted"
    """Who asks may not know."""


@dataclass(frozen=True, slots=True)
class TryAnswer:
    """What Airflow's database says of a try, in Airflow's own words.

    :param later: state of the try that took its place.
    :param task: ``dag / run / task`` for people.
    :param dag_id: whose permissions decide who may know; not part of an answer over HTTP.
    """

    presence: Presence
    state: str | None = None
    later: str | None = None
    task: str = ""
    release: Release | None = None
    dag_id: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "presence": str(self.presence),
            "state": self.state,
            "later": self.later,
            "task": self.task,
            "release": self.release.as_json() if self.release else None,
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
        release = values["release"]
        return cls(
            presence,
            values["state"],
            values["later"],
            values["task"] or "",
            None if release is None else Release.from_json(release),
        )

    @property
    def standing(self) -> Standing:
        """What it means for the try's jobs."""
        if self.presence is Presence.NOT_PERMITTED:
            return Standing.UNKNOWN
        if self.presence is Presence.ABSENT:
            return Standing.DELETED
        own = standing(self.state)
        if self.presence is Presence.CURRENT or own in (Standing.SUCCEEDED, Standing.REMOVED):
            return own
        # Whatever it was when another took its place, it is over.
        return Standing.FAILED

    @property
    def owner(self) -> OwnerState:
        """The same in the reaper's words."""
        later = standing(self.later) if self.later is not None else None
        state = str(self.presence) if self.state is None else self.state
        return OwnerState(self.standing, later, self.task, state, self.release)


def standing(state: str | None) -> Standing:
    """What a task instance's state means for its jobs; a state that Airflow adds some day means ALIVE."""
    if state in RETRYING:
        return Standing.RETRYING
    if state in SUCCEEDED:
        return Standing.SUCCEEDED
    if state in REMOVED:
        return Standing.REMOVED
    return Standing.FAILED if state in FAILED else Standing.ALIVE


def task_name(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None = None) -> str:
    """A try for people: ``dag / run / task[3] try 2``."""
    mapped = f"[{map_index}]" if map_index >= 0 else ""
    tried = f" try {try_number}" if try_number else ""
    return f"{dag_id} / {run_id} / {task_id}{mapped}{tried}"
