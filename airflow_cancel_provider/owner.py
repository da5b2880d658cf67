"""Who started a job: one try of one task instance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from airflow_cancel_provider.exceptions import InvalidInput


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """One try of one task instance.

    ``ti_id`` is new for every try, so a retry or a cleared task is another owner.
    ``map_index`` is -1 for a task that is not mapped; ``deployment`` tells two Airflows apart.
    """

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    ti_id: UUID

    def __str__(self) -> str:
        """One line of ``key=value`` pairs, percent-encoded; :meth:`parse` reads it back."""
        return urlencode(asdict(self))

    @classmethod
    def parse(cls, text: str) -> Owner:
        """Read what ``str(owner)`` wrote.

        :raises InvalidInput: the text is not an owner.
        """
        try:
            values = dict(parse_qsl(text, keep_blank_values=True, errors="strict"))
            return cls(
                deployment=values["deployment"],
                dag_id=values["dag_id"],
                run_id=values["run_id"],
                task_id=values["task_id"],
                map_index=int(values["map_index"]),
                try_number=int(values["try_number"]),
                ti_id=UUID(values["ti_id"]),
            )
        except (KeyError, ValueError) as wrong:
            raise InvalidInput(f"{text!r} does not name the owner of a job: {wrong}.") from None

    @classmethod
    def from_context(cls, context: Mapping[str, Any], deployment: str) -> Owner:
        """The task instance that a task's context belongs to."""
        ti = context["ti"]
        return cls(
            deployment, ti.dag_id, ti.run_id, ti.task_id, ti.map_index, ti.try_number, UUID(str(ti.id))
        )

    @property
    def label(self) -> Label:
        """What is written on its jobs."""
        return Label(self.deployment, self.ti_id, owner=self)

    @property
    def tags(self) -> dict[str, str]:
        """The owner as tags, in the characters and lengths that AWS takes."""
        return {f"airflow_{name}": _NO_TAG.sub("_", str(value))[:256] for name, value in asdict(self).items()}

    @property
    def task(self) -> str:
        """The try in words: ``dag / run / task[3] try 2``."""
        return task_name(self.dag_id, self.run_id, self.task_id, self.map_index, self.try_number)

    @property
    def reason(self) -> str:
        """Words for a service's ``reason`` field: who cancelled."""
        return f"Cancelled by Airflow: {self.task}"


@dataclass(frozen=True, slots=True)
class Label:
    """The owner in at most 46 characters that every service's job names take.

    ``af-<deployment>-<task-instance uuid>``, and ``-r`` behind it for ``reconnects``; ``deployment`` is 8
    lower-case letters or digits.

    :param reconnects: the task's next try will reconnect to the job instead of starting another.
    :param owner: the whole owner, where it is known; it travels only where there is room (:attr:`in_full`).
    """

    deployment: str
    ti_id: UUID
    reconnects: bool = field(default=False, compare=False)
    owner: Owner | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"af-{self.deployment}-{self.ti_id.hex}" + ("-r" if self.reconnects else "")

    @property
    def in_full(self) -> str:
        """The label, and the whole owner behind it, for carriers that take a thousand characters."""
        text = f"{self} {self.owner}"
        return text if self.owner and len(text) <= LONGEST_LABEL else str(self)

    @classmethod
    def find(cls, text: str | None) -> Label | None:
        """The label in a job's name or parameters, if there is one.

        Of several the last: who takes an earlier job's name, label and all, has its own put behind it.
        """
        labels = [cls._read(text or "", found) for found in _LABEL.finditer(text or "")]
        in_full = (label for label in labels if label.owner)
        return next(in_full, labels[-1] if labels else None)

    @classmethod
    def _read(cls, text: str, found: re.Match[str]) -> Label:
        owner = _owner_behind(text[found.end() :].strip())
        ti_id = UUID(found[2])
        is_its_own = owner is not None and (owner.deployment, owner.ti_id) == (found[1], ti_id)
        return cls(found[1], ti_id, found[3] is not None, owner if is_its_own else None)


def _owner_behind(text: str) -> Owner | None:
    try:
        return Owner.parse(text)
    except InvalidInput:
        return None


LONGEST_LABEL = 2048
_NO_TAG = re.compile(r"[^A-Za-z0-9 /_.:=+@-]")
_LABEL = re.compile(r"af-([0-9a-z]{8})-([0-9a-f]{32})(-r(?![0-9A-Za-z-]))?(?![0-9a-f])", re.ASCII)


def deployment_of(text: str) -> str:
    """Eight characters that stand for a deployment's name or address in its labels."""
    return sha256(text.encode()).hexdigest()[:8]


def task_name(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int | None = None) -> str:
    """A try for people: ``dag / run / task[3] try 2``."""
    mapped = f"[{map_index}]" if map_index >= 0 else ""
    tried = f" try {try_number}" if try_number else ""
    return f"{dag_id} / {run_id} / {task_id}{mapped}{tried}"


def release_key(ti_id: UUID | str) -> str:
    """Key of the Airflow Variable that says which jobs of a try are meant to live on."""
    return f"remote_jobs_released_{ti_id}"
