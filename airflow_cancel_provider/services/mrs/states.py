"""States of MRS jobs, and what is read of a reply of either API version.

Replies repeat ``arguments`` and ``properties`` of every job, which may hold passwords: they are not kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.services.results import labelled_by_name, submitted

SPARK_SQL = "MRS can't stop SparkSql jobs: this one runs to its end, or until its cluster is stopped."
KILL_FAILED = frozenset({"0160", "0175", "0200"})
"""Codes of a kill that failed; MRS also gives them for a job that is ending."""
_RESULTS = {
    "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "KILLED": JobState.CANCELLED,
}
STATES = {
    "NEW": JobState.PENDING,
    "NEW_SAVING": JobState.PENDING,
    "SUBMITTED": JobState.PENDING,
    "ACCEPTED": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    # The job has ended, but only its result shows whether it succeeded: without one it counts as failed.
    "FINISHED": JobState.FAILED,
    "FAILED": JobState.FAILED,
    "KILLED": JobState.CANCELLED,
}
ENDS = {state: common for state, common in STATES.items() if common.is_terminal}
_OLD_STATES = {
    "-1": ("Terminated", JobState.CANCELLED),
    "1": ("Starting", JobState.PENDING),
    "2": ("Running", JobState.RUNNING),
    "3": ("Completed", JobState.FAILED),
    "4": ("Abnormal", JobState.FAILED),
    "5": ("Error", JobState.FAILED),
}
_OLD_RESULTS = {
    "1": ("terminated by an error", JobState.FAILED),
    "2": ("successful", JobState.SUCCEEDED),
    "3": ("cancelled", JobState.CANCELLED),
    # 3 in the reference, 4 in older clients of the vendor.
    "4": ("cancelled", JobState.CANCELLED),
}
_OLD_TYPES = {
    "1": "MapReduce",
    "2": "Spark",
    "3": "HiveScript",
    "5": "DistCp",
    "6": "SparkScript",
    "7": "SparkSql",
}


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job execution. ``submitted`` is in epoch milliseconds, or None where the reply has none."""

    id: str
    state: JobState
    service_state: str
    result: str | None = None
    name: str | None = None
    type: str | None = None
    submitted: int | None = None
    arguments: str | None = None
    """:func:`fingerprint` of what it was started with; V2 only."""

    @classmethod
    def of_v2(cls, fields: Mapping[str, Any]) -> JobRecord:
        """Read a ``job_detail`` or an item of a ``job_list`` (mrs_02_0086, mrs_02_0087)."""
        state, result = _word(fields, "job_state").upper(), _word(fields, "job_result").upper()
        return cls(
            id=_word(fields, "job_id"),
            # A state that is not in the table counts as running: it may be a new one.
            state=_RESULTS.get(result) or STATES.get(state, JobState.RUNNING),
            service_state=state,
            result=result if result in _RESULTS else None,
            name=_word(fields, "job_name") or None,
            type=_word(fields, "job_type") or None,
            submitted=_number(fields, "submitted_time"),
            arguments=fingerprint(fields["arguments"]) if fields.get("arguments") else None,
        )

    @classmethod
    def of_v1(cls, fields: Mapping[str, Any]) -> JobRecord:
        """Read a ``job_execution`` (mrs_02_0046, mrs_02_0047).

        ``job_state`` alone says whether it is over: the reference's own samples show running jobs with a
        ``job_final_status`` of an error.
        """
        code = _word(fields, "job_state")
        words, state = _OLD_STATES.get(code, (code, JobState.RUNNING))
        result, end = _OLD_RESULTS.get(_word(fields, "job_final_status"), (None, None))
        over = state.is_terminal
        return cls(
            id=_word(fields, "id"),
            state=end if over and end else state,
            service_state=words,
            result=result if over else None,
            name=_word(fields, "job_name") or None,
            type=_OLD_TYPES.get(_word(fields, "job_type")),
            submitted=_milliseconds(_number(fields, "create_at") or _number(fields, "created_at")),
        )

    @property
    def reason(self) -> str | None:
        """How the job ended, in words."""
        if self.result:
            return f"Result: {self.result}"
        return "MRS gives no result." if self.state.is_terminal else None


def fingerprint(arguments: object) -> str:
    """A hash of a job's arguments, to compare them without keeping them.

    MRS repeats the list ``["a", "b"]`` as the text ``[a, b]``: only text between blanks and commas counts.
    """
    words = arguments if isinstance(arguments, list) else [str(arguments).strip("[]")]
    plain = " ".join(re.sub(r"[\s,\"]+", " ", str(word)).strip() for word in words)
    return hashlib.sha256(plain.strip().encode()).hexdigest()


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return str(value).strip() if isinstance(value, (str, int)) else ""


def _number(fields: Mapping[str, Any], name: str) -> int | None:
    word = _word(fields, name)
    # A time of more than 14 digits is beyond datetime's range.
    return int(word) if word.isascii() and word.isdecimal() and len(word) <= 14 else None


def _milliseconds(time: int | None) -> int | None:
    """A time in milliseconds: V1.1 gives some times in seconds."""
    return time * 1000 if time is not None and time < 10**11 else time


def retried_if_refused(result: CancelResult) -> CancelResult:
    """A refusal, as one to be repeated: UNANSWERED."""
    refused = result.outcome is CancelOutcome.REFUSED
    return replace(result, outcome=CancelOutcome.UNANSWERED) if refused else result


def is_unexplained(result: CancelResult) -> bool:
    """Whether MRS itself refused the cancel of a running job, with a code of its own."""
    own = bool(result.code) and not str(result.code).startswith("HTTP")
    return own and result.outcome is CancelOutcome.REFUSED


def status_of(job: RemoteJob, record: JobRecord) -> JobStatus:
    """A job's status, from its record."""
    status = JobStatus(job, record.state, record.service_state, record.reason, record.name)
    return submitted(labelled_by_name(status), record.submitted)
