"""What happens to a try's submissions and jobs; ``ledger.py`` has the sum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.record import JobEnd, TryRecord
from airflow_cancel_provider.services.client_spec import ClientSpec


@dataclass(frozen=True, slots=True)
class SubmissionIntended:
    """A submission is about to be sent; the parts are those of :class:`Intent`, ``at`` is epoch seconds."""

    token: str
    client: ClientSpec
    scope: str | None
    label: Label | None
    unlabelled: tuple[str, ...] = ()
    at: float = 0.0
    ti_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class AttemptLost:
    """One attempt of a submission was sent, and its outcome is not known."""

    token: str
    at: float


@dataclass(frozen=True, slots=True)
class JobsStarted:
    """A service accepted jobs.

    :param token: of the submission; empty for jobs that were started in some other way.
    :param at: when it accepted them, in epoch seconds; 0 for long ago.
    :param not_before: as in :class:`~airflow_cancel_provider.record.TryRecord`; 0 where it does not matter.
    :param ti_id: the try whose record has the jobs; None where this process recorded their submission.
    """

    token: str
    jobs: tuple[RemoteJob, ...]
    client: ClientSpec
    at: float = 0.0
    not_before: float = 0.0
    ti_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class JobsPlaced:
    """A service accepted jobs whose ids are not known; they are in this scope and carry the label."""

    token: str
    scope: str
    at: float


@dataclass(frozen=True, slots=True)
class SubmissionClosed:
    """A submission started nothing (more)."""

    token: str


@dataclass(frozen=True, slots=True)
class JobsEnded:
    """Jobs were seen in a terminal state.

    :param ends: how they ended, for those of which it is known.
    """

    jobs: tuple[RemoteJob, ...]
    ends: Mapping[RemoteJob, JobEnd] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobsReleased:
    """Jobs were released, whatever connection their addresses name.

    :param has_more: further jobs of this try were released before this process began; which, is not known.
    """

    jobs: tuple[RemoteJob, ...]
    has_more: bool = False


@dataclass(frozen=True, slots=True)
class RecordInherited:
    """The record of earlier processes was read; the clients of its jobs are not known yet."""

    record: TryRecord


Event = (
    SubmissionIntended
    | AttemptLost
    | JobsStarted
    | JobsPlaced
    | SubmissionClosed
    | JobsEnded
    | JobsReleased
    | RecordInherited
)
