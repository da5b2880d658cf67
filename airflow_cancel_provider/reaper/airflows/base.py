"""What a reaper asks of Airflow, however it is reached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.reaper.decide import OwnerState, Standing

RETRYING = frozenset({"up_for_retry"})
SUCCEEDED = frozenset({"success"})
FAILED = frozenset({"failed", "skipped", "upstream_failed"})
REMOVED = frozenset({"removed"})
"""Set over whatever was there, also over success, when a Dag changes or a task is expanded anew."""
LONGEST_NAME = 250


class Airflow(ABC):
    """An Airflow, as a reaper sees it.

    Every method raises :class:`~airflow_cancel_provider.exceptions.AirflowUnavailable` when Airflow does
    not answer: then nothing is cancelled.
    """

    @abstractmethod
    def owners(self, labels: Collection[Label]) -> Mapping[UUID, OwnerState]:
        """How the tries with these labels stand. A try that is left out is UNKNOWN."""

    def recorded(self, claims: Sequence[JobStatus], *, is_final: bool) -> Mapping[RemoteJob, OwnerState]:
        """How the tries stand that have these jobs, which carry no label, on record; most have none.

        :param is_final: these are all that are in question, so that what is ambiguous among them is left out.
        """
        return {}

    @abstractmethod
    def variable(self, key: str) -> str | None:
        """An Airflow Variable, or None where there is none."""

    @abstractmethod
    def set_variable(self, key: str, value: str | None) -> None:
        """Write an Airflow Variable; None deletes it."""


def standing(state: str | None) -> Standing:
    """What a task instance's state means for its jobs; a state that Airflow adds some day means ALIVE."""
    if state in RETRYING:
        return Standing.RETRYING
    if state in SUCCEEDED:
        return Standing.SUCCEEDED
    if state in REMOVED:
        return Standing.REMOVED
    return Standing.FAILED if state in FAILED else Standing.ALIVE


def standing_before(state: str | None) -> Standing:
    """What the state means that a try had when another took its place."""
    own = standing(state)
    return own if own in (Standing.SUCCEEDED, Standing.REMOVED) else Standing.FAILED


def undisputed(labels: Iterable[Label]) -> list[Label]:
    """Each try once, with its names where nothing speaks against them.

    Who may submit a job can write any label on it. Where the jobs of one try do not agree on its names, or
    these are none, the try is asked for by its id alone: no job is judged by what another says.
    """
    known: dict[UUID, Label] = {}
    for label in labels:
        before = known.get(label.ti_id, label)
        agrees = (before.owner, before.waits) == (label.owner, label.waits)
        best = label if agrees and _is_plain(label.owner) else Label(label.deployment, label.ti_id)
        known[label.ti_id] = replace(best, reconnects=before.reconnects or label.reconnects)
    return list(known.values())


def _is_plain(owner: Owner | None) -> bool:
    """Whether these names can be those of a task: others may lead elsewhere in a request's path."""
    if owner is None:
        return True
    names = (owner.dag_id, owner.run_id, owner.task_id)
    return -1 <= owner.map_index < 2**31 and all(
        0 < len(name) <= LONGEST_NAME and name.isprintable() and "/" not in name and name not in (".", "..")
        for name in names
    )


def owner_in(text: str | None, label: Label) -> Owner | None:
    """The owner that a Variable names, if it is the one of this label."""
    try:
        owner = Owner.parse(text or "")
    except InvalidInput:
        return None
    return owner if owner.label == label and _is_plain(owner) else None


def task_name(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None = None) -> str:
    """A try for people: ``dag / run / task[3] try 2``."""
    mapped = f"[{map_index}]" if map_index >= 0 else ""
    tried = f" try {try_number}" if try_number else ""
    return f"{dag_id} / {run_id} / {task_id}{mapped}{tried}"
