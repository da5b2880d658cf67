"""Who started a job: one try of one task instance."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from airflow_cancel_provider.exceptions import InvalidInput


def is_storable(part: str | int) -> bool:
    """Whether Airflow's database can hold this as an id or a map index: else nothing is on record for it."""
    if isinstance(part, int):
        return -1 <= part < 2**31
    return "\0" not in part and not any("\ud800" <= letter <= "\udfff" for letter in part)


@dataclass(frozen=True, slots=True, order=True)
class TaskKey:
    """A task instance, whichever its try; ``map_index`` is -1 for a task that is not mapped."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @classmethod
    def of(cls, ti: Any) -> TaskKey:
        """The task instance of a context, a trigger or the database."""
        map_index = getattr(ti, "map_index", None)
        return cls(ti.dag_id, ti.run_id, ti.task_id, -1 if map_index is None else int(map_index))

    def __str__(self) -> str:
        """For people: ``dag / run / task[3]``."""
        mapped = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id} / {self.run_id} / {self.task_id}{mapped}"

    def with_try(self, number: int) -> str:
        """One of its tries for people: ``dag / run / task[3] try 2``; 0: no try."""
        return f"{self} try {number}" if number else str(self)

    @property
    def digest(self) -> str:
        """Seven letters or digits that stand for it in labels."""
        names = "\0".join((self.dag_id, self.run_id, self.task_id, str(self.map_index)))
        return _base36(int(sha256(names.encode()).hexdigest(), 16), 7)


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
        ti, key = context["ti"], TaskKey.of(context["ti"])
        return cls(
            deployment, key.dag_id, key.run_id, key.task_id, key.map_index, ti.try_number, UUID(str(ti.id))
        )

    @property
    def label(self) -> Label:
        """What is written on its jobs."""
        return Label(self.deployment, self.ti_id, owner=self, task=self.key.digest)

    @property
    def key(self) -> TaskKey:
        """The task instance, whichever its try."""
        return TaskKey.of(self)

    @property
    def task(self) -> str:
        """The try for people: ``dag / run / task[3] try 2``."""
        return self.key.with_try(self.try_number)

    @property
    def reason(self) -> str:
        """Text for a service's ``reason`` field."""
        return f"Cancelled by Airflow: {self.task}"


@dataclass(frozen=True, slots=True)
class Label:
    """The owner in at most 46 characters that every service's job names take.

    ``af-<deployment>-<try><task>``, and ``-r`` behind it for ``reconnects``. In lower-case letters and
    digits: 8 for the deployment, 25 for the try's id in base 36, 7 for its task (:attr:`TaskKey.digest`).

    :param reconnects: the task's next try will reconnect to the job instead of starting another.
    :param owner: the whole owner, where it is known; written only where it fits (:attr:`in_full`).
    :param task: digest of the task instance, whichever its try.
    """

    deployment: str
    ti_id: UUID
    reconnects: bool = field(default=False, compare=False)
    owner: Owner | None = field(default=None, compare=False, repr=False)
    task: str = field(default="0000000", compare=False)

    def __str__(self) -> str:
        end = "-r" if self.reconnects else ""
        return f"af-{self.deployment}-{_base36(self.ti_id.int, 25)}{self.task}{end}"

    @property
    def in_full(self) -> str:
        """The label, and the whole owner behind it, for carriers that take a thousand characters."""
        text = f"{self} {self.owner}"
        return text if self.owner and len(text) <= LONGEST_LABEL else str(self)

    @classmethod
    def find(cls, text: str | None) -> Label | None:
        """The label in a job's name or parameters, if there is one.

        Of several the last: a job that has the name of an earlier one has its own label behind it.
        """
        read = (cls._read(text or "", found) for found in _LABEL.finditer(text or ""))
        labels = [label for label in read if label is not None]
        in_full = (label for label in labels if label.owner)
        return next(in_full, labels[-1] if labels else None)

    @classmethod
    def _read(cls, text: str, found: re.Match[str]) -> Label | None:
        number = int(found[2], 36)
        if number >= 1 << 128:
            return None
        label = cls(found[1], UUID(int=number), found[4] is not None, task=found[3])
        owner = _owner_behind(text[found.end() :].strip())
        return replace(label, owner=owner) if owner is not None and owner.label == label else label


def _owner_behind(text: str) -> Owner | None:
    try:
        return Owner.parse(text)
    except InvalidInput:
        return None


LONGEST_LABEL = 2048
_LABEL = re.compile(
    r"af-([0-9a-z]{8})-([0-9a-z]{25})([0-9a-z]{7})(-r(?![0-9A-Za-z-]))?(?![0-9a-z])", re.ASCII
)


def _base36(number: int, length: int) -> str:
    """The last so many digits of a number."""
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits


def deployment_of(text: str) -> str:
    """Eight characters that stand for a deployment's name or address in its labels."""
    return sha256(text.encode()).hexdigest()[:8]


def release_key(ti_id: UUID | str) -> str:
    """Key of the Airflow Variable with the jobs that a try has released."""
    return f"remote_jobs_released_{ti_id}"
