"""The verdict on each job. Pure: it rests on what the cloud and Airflow say in the end, and on the record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.matrix.victim import ALIVE
from tests.soak.disturbances import Trouble
from tests.soak.record import Record, Try

CLOCKS = 1.0
"""Seconds by which moments that were noted in different places may be out of order."""
Job = dict[str, Any]
"""The truth about a job, as the cloud tells it."""


class Fate(StrEnum):
    """What became of a job."""

    CANCELLED = "cancelled"
    KEPT = "kept"
    ENDED = "ended by itself"
    ORPHAN = "ORPHAN"
    WRONG = "WRONG"


@dataclass
class Verdict:
    """One job.

    :param whose: ``task``, ``by hand``, ``foreign`` or ``nobody's``.
    :param seconds: from the fault that ended its task to the request, where a fault was planned.
    :param is_calm: no component was down and no service in trouble between its start and the request.
    """

    job: str
    service: str
    fate: Fate
    whose: str
    task: int | None = None
    seconds: float | None = None
    is_calm: bool = True
    why: str = ""


def judge(
    jobs: Iterable[Job],
    records: Sequence[Record],
    troubles: Sequence[Trouble],
    company: dict[str, str],
) -> list[Verdict]:
    """A verdict on each job.

    :param company: whose the jobs are that no task of the soak has started, by id.
    """
    return [_verdict(job, records, troubles, company) for job in jobs]


def owner_of(job: Job, records: Sequence[Record]) -> Record | None:
    """The task that had a job's place when it was started."""
    tenants = [each for each in records if each.scope == job["scope"] and each.leased <= job["created_at"]]
    return max(tenants, key=lambda record: record.leased, default=None)


def _verdict(
    job: Job, records: Sequence[Record], troubles: Sequence[Trouble], company: dict[str, str]
) -> Verdict:
    record = None if job["id"] in company else owner_of(job, records)
    if record is None:
        return _of_others(job, company.get(job["id"], "nobody's"))
    mine = [trouble for trouble in troubles if trouble.service in ("", job["service"])]
    fate, why = _of_task(job, record, mine)
    verdict = Verdict(job["id"], job["service"], fate, "task", record.task.number, why=why)
    if job["cancel_requested_at"] and fate is Fate.CANCELLED:
        verdict.seconds = _seconds(job, record)
        verdict.is_calm = not list(_overlapping(mine, job["created_at"], job["cancel_requested_at"]))
    return verdict


def _of_others(job: Job, whose: str) -> Verdict:
    fate, why = Fate.KEPT, ""
    if job["cancel_requested_at"]:
        fate, why = Fate.WRONG, f"a job that is {whose}"
    elif whose == "nobody's" and not job["ended_at"]:
        fate, why = Fate.ORPHAN, "no task is known to have started it"
    return Verdict(job["id"], job["service"], fate, whose, why=why)


def _of_task(job: Job, record: Record, troubles: Sequence[Trouble]) -> tuple[Fate, str]:
    its = try_of(job, record.tries)
    if its is None:
        return Fate.ENDED if job["ended_at"] else Fate.ORPHAN, "none of its task's tries is known"
    state = f"try {its.number} is {its.state}"
    asked = job["cancel_requested_at"]
    is_alive = its.state in ALIVE and its is record.tries[-1]
    if is_alive or (its.state == "success" and not record.is_marked_success):
        return (Fate.WRONG, f"cancelled, and {state}") if asked else (Fate.KEPT, "")
    return _of_failed(job, state, is_explained=_has_cause(job, its, record, troubles))


def _of_failed(job: Job, state: str, *, is_explained: bool) -> tuple[Fate, str]:
    """A job whose task did not succeed; ``is_explained``: the task was over or struck before the request."""
    if not job["cancel_requested_at"]:
        return (Fate.ENDED, "") if job["ended_at"] else (Fate.ORPHAN, f"lives on though {state}")
    if not job["ended_at"]:
        return Fate.ORPHAN, f"asked to end, has not ended, and {state}"
    if not is_explained:
        return Fate.WRONG, f"cancelled before anything had happened to its task; {state}"
    return Fate.CANCELLED, ""


def try_of(job: Job, tries: Sequence[Try]) -> Try | None:
    """The try that started a job: the last that had begun by then."""
    begun = [each for each in tries if each.start <= job["created_at"] + CLOCKS / 2]
    return begun[-1] if begun else next(iter(tries), None)


def _has_cause(job: Job, its: Try, record: Record, troubles: Sequence[Trouble]) -> bool:
    """Whether the task had ended, or something had happened that ends tasks, before the request."""
    if not job["cancel_requested_at"]:
        return False
    asked = job["cancel_requested_at"] + CLOCKS
    if its.end is not None and its.end <= asked:
        return True
    struck = any(cause.begin <= asked and cause.end >= its.start - CLOCKS for cause in record.causes)
    # A component that goes down ends only what it takes along: the record knows of that.
    in_cloud = (trouble for trouble in troubles if trouble.service)
    return struck or any(_overlapping(in_cloud, job["created_at"] - CLOCKS, asked))


def _overlapping(troubles: Iterable[Trouble], begin: float, end: float) -> Iterator[Trouble]:
    return (trouble for trouble in troubles if trouble.begin <= end and trouble.end >= begin)


def _seconds(job: Job, record: Record) -> float | None:
    """From the first fault that this job saw to the request; None for one that was asked to end before it."""
    strikes = [at for at in record.strikes if job["created_at"] < at <= job["cancel_requested_at"] + CLOCKS]
    return max(0.0, job["cancel_requested_at"] - min(strikes)) if strikes else None
