"""The record: what one try of a task has submitted, in the form in which it is stored.

The guard writes it to XCom and the task state store; triggers, callbacks, the API server and operators
read it. Others can write there too, so a record is only a hint: the label on a job is read before it is
cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import UUID

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label

EARLIEST, LATEST = -62_135_596_800.0, 253_402_300_800.0
"""Epoch seconds of the years 1 and 10000: a date is between them."""
RECORD_KEY = "remote_jobs"
"""Key of the record in XCom and in the task state store."""
EARLIER_KEY = "remote_jobs_of_earlier_tries"
"""Key of the XCom with the records of earlier tries, for people: nothing is cancelled by what it says."""


class TryState(StrEnum):
    """Who is responsible for the jobs of a try."""

    RUNNING = "running"
    """The task's own process."""
    DEFERRED = "deferred"
    """The guard's trigger, until the task is resumed."""
    RETURNED = "returned"
    """Nobody: the task has succeeded, and its jobs are left running."""


@dataclass(frozen=True, slots=True)
class StoredIntent:
    """A submission whose outcome is not known: its jobs are searched by the label of the try.

    ``at`` is epoch seconds.
    """

    service: str
    conn_id: str | None
    region: str | None
    scope: str | None
    label: Label | None
    at: float = 0.0

    @property
    def service_key(self) -> tuple[str, str | None, str | None]:
        """As :attr:`RemoteJob.service_key`."""
        return (self.service, self.conn_id, self.region)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "service": self.service,
            "conn_id": self.conn_id,
            "region": self.region,
            "scope": self.scope,
            "label": str(self.label) if self.label else None,
            "at": self.at,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> StoredIntent:
        """The inverse of :meth:`as_json`."""
        return cls(
            str(values["service"]),
            _text(values["conn_id"]),
            _text(values["region"]),
            _text(values["scope"]),
            Label.find(_text(values["label"])),
            _seconds(values["at"]),
        )


class Actor(StrEnum):
    """Who has cancelled a job."""

    TASK = "task"
    """The task's own process."""
    SENTINEL = "sentinel"
    """The sentinel process."""
    TRIGGER = "trigger"
    API_SERVER = "api-server"
    REAPER = "reaper"
    USER = "user"
    """A person, on the page or the command line."""
    OPERATOR = "operator"
    """A cancel operator, sensor or callback."""
    SERVICE = "service"
    """Not this package: the job has ended by itself, or was cancelled by other means."""


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job has ended.

    :param state: the terminal state that was seen.
    :param by: who ended it; one of :class:`Actor`.
    :param reason: why it was cancelled, for people; empty where it was not cancelled.
    :param at: when the end was seen, in epoch seconds.
    """

    state: JobState
    by: str
    reason: str
    at: float

    @classmethod
    def seen(cls, status: JobStatus, by: Actor, reason: str) -> JobEnd:
        """The end that was seen now.

        :param by: who has requested the cancel; only a job that ends as cancelled was ended by it.
        """
        is_ours = status.state is JobState.CANCELLED and by is not Actor.SERVICE
        at = round(time.time(), 3)
        return cls(status.state, by if is_ours else Actor.SERVICE, reason if is_ours else "", at)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"state": str(self.state), "by": str(self.by), "reason": self.reason, "at": self.at}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> JobEnd:
        """The inverse of :meth:`as_json`."""
        return cls(
            JobState(values["state"]),
            str(Actor(values["by"])),
            str(values["reason"]),
            _seconds(values["at"]),
        )


@dataclass(frozen=True, slots=True)
class TryRecord:
    """The jobs that a try has started and not released, and its submissions of unknown outcome.

    :param ti_id: the try's task-instance id.
    :param jobs: addresses.
    :param not_before: for a job that was answered to an idempotency token of the user's: the earliest time,
        in epoch seconds of the service's clock, at which this try can have started it. An older job is
        another's.
    :param earlier: what this try took over from earlier tries of its task, each with its own id.
    :param submitted: when the guard saw each job start, in epoch seconds of this host's clock.
    :param ends: how jobs have ended, as far as the task's own process saw it. What others have seen is in
        :mod:`airflow_cancel_provider.ends_on_record`.
    :param has_released: whether the try has released jobs; its release, in a Variable, says which.
    :param deployment: name in labels of the Airflow that wrote it: a database may be copied.
    :param proof: digest of the key with which the sentinel reports ends, see :func:`proof_of`.
    """

    ti_id: UUID
    state: TryState = TryState.RUNNING
    jobs: tuple[RemoteJob, ...] = ()
    intents: tuple[StoredIntent, ...] = ()
    not_before: Mapping[RemoteJob, float] = field(default_factory=dict)
    earlier: tuple[TryRecord, ...] = ()
    submitted: Mapping[RemoteJob, float] = field(default_factory=dict)
    ends: Mapping[RemoteJob, JobEnd] = field(default_factory=dict)
    proof: str = ""
    has_released: bool = False
    deployment: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values, for XCom. Holds no secrets."""
        stored: dict[str, Any] = {
            "ti_id": str(self.ti_id),
            "state": str(self.state),
            "jobs": [str(job) for job in self.jobs],
            "intents": [intent.as_json() for intent in self.intents],
        }
        if self.not_before:
            stored["not_before"] = {str(job): at for job, at in self.not_before.items()}
        if self.submitted:
            stored["submitted"] = {str(job): at for job, at in self.submitted.items()}
        if self.ends:
            stored["ends"] = {str(job): end.as_json() for job, end in self.ends.items()}
        if self.proof:
            stored["proof"] = self.proof
        if self.has_released:
            stored["has_released"] = True
        if self.deployment:
            stored["deployment"] = self.deployment
        if self.earlier:
            stored["earlier"] = [record.as_json() for record in self.earlier]
        return stored

    @classmethod
    def from_json(cls, values: Any) -> TryRecord:
        """The inverse of :meth:`as_json`; anybody may have written what is read.

        :raises InvalidInput: this is no record.
        """
        try:
            return cls(
                UUID(values["ti_id"]),
                TryState(values["state"]),
                tuple(map(RemoteJob, _listed(values["jobs"]))),
                tuple(map(StoredIntent.from_json, _listed(values["intents"]))),
                {RemoteJob(job): _seconds(at) for job, at in (values.get("not_before") or {}).items()},
                tuple(map(cls.from_json, _listed(values.get("earlier") or []))),
                {RemoteJob(job): _seconds(at) for job, at in (values.get("submitted") or {}).items()},
                {RemoteJob(job): JobEnd.from_json(end) for job, end in (values.get("ends") or {}).items()},
                _text(values.get("proof")) or "",
                bool(values.get("has_released")),
                _text(values.get("deployment")) or "",
            )
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError, RecursionError) as wrong:
            raise InvalidInput(f"This is not the record of a try: {wrong!r}.") from None

    def of(self, jobs: Collection[RemoteJob]) -> TryRecord:
        """The record with these jobs only, and without intents."""
        kept = tuple(job for job in self.jobs if job in jobs)
        return replace(self, jobs=kept, intents=())

    def is_of_another_airflow(self, deployment: str) -> bool:
        """Whether another Airflow than this wrote it: the task is at work there."""
        return self.deployment not in ("", deployment)

    def foreign(self, status: JobStatus, deployment: str, task: str | None = None) -> str | None:
        """Why a recorded job does not belong to this try, as text; None: it may.

        :param status: the job as the service shows it, with its label and the time of its submission.
        :param deployment: this Airflow's name in labels.
        :param task: for jobs of an earlier try: digest of the task instance. Only the label on the job shows
            that the try is one of this task.
        """
        label, at = status.label, status.submitted_at
        if self.is_of_another_airflow(deployment):
            return f"its record is another Airflow's ({self.deployment})"
        if label is not None and label.deployment != deployment:
            return f"its label names another Airflow ({label.deployment})"
        if label is not None and label.ti_id != self.ti_id:
            return f"its label names another try ({label.ti_id})"
        if task is not None and (label is None or label.task != task):
            return "its label does not show it to be of an earlier try of this task"
        earliest = self.not_before.get(status.job)
        if label is None and earliest is not None and (at is None or at.timestamp() < earliest):
            return "it was started before this try asked for it, by somebody with the same idempotency token"
        return None

    def foreign_intent(self, intent: StoredIntent, deployment: str) -> str | None:
        """Why the jobs of an intent do not belong to this try, as text; None: they may.

        :param deployment: this Airflow's name in labels.
        """
        label = intent.label
        if label is not None and (label.deployment, label.ti_id) != (deployment, self.ti_id):
            return f"the label {label} is another try's"
        return None

    def without_foreign_intents(self, deployment: str, say: Callable[[str], None]) -> TryRecord:
        """The record without intents for jobs of other tries; the same for its earlier tries.

        :param say: called with a sentence on each intent that is left out.
        """
        kept = []
        for intent in self.intents:
            if (why := self.foreign_intent(intent, deployment)) is None:
                kept.append(intent)
            else:
                say(f"Jobs of {intent.service} that are on record are not looked for: {why}.")
        earlier = tuple(record.without_foreign_intents(deployment, say) for record in self.earlier)
        return replace(self, intents=tuple(kept), earlier=earlier)

    def without(self, ti_id: UUID) -> TryRecord:
        """The record without the jobs and intents of one of its tries."""
        earlier = tuple(record for record in self.earlier if record.ti_id != ti_id)
        own = replace(self, jobs=(), intents=()) if self.ti_id == ti_id else self
        return replace(own, earlier=earlier)

    def with_ends(self, ends: Mapping[RemoteJob, JobEnd]) -> TryRecord:
        """The record, with how more of its jobs have ended; what it says itself stays."""
        by_identity = {job.identity: end for job, end in ends.items()}
        more = {job: by_identity[job.identity] for job in self.jobs if job.identity in by_identity}
        return replace(self, ends={**more, **self.ends})


def records_from_json(values: Any) -> tuple[TryRecord, ...]:
    """The records of a list; anybody may have written it.

    :raises InvalidInput: one of them is no record.
    """
    if not isinstance(values, list):
        raise InvalidInput(f"This is not a list of records: {type(values).__name__}.")
    return tuple(map(TryRecord.from_json, values))


def proof_of(key: str) -> str:
    """What a record holds of a key: who knows the key may report how the jobs of the record have ended."""
    return sha256(key.encode()).hexdigest()


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {type(value).__name__}")
    return value


def _text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


def _seconds(value: Any) -> float:
    seconds = float(value)
    if not EARLIEST <= seconds < LATEST:
        raise ValueError(f"{value!r} are no epoch seconds")
    return seconds
