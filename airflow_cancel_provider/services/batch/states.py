"""What AWS Batch says of its jobs, in the words common to all services."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.aws.answers import (
    FLAG,
    MILLISECONDS,
    TEXT,
    TEXTS,
    WORD,
    Answers,
    Shape,
)
from airflow_cancel_provider.services.results import in_utc, outcome_of
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER

STATES = {
    "SUBMITTED": JobState.PENDING,
    "PENDING": JobState.PENDING,
    "RUNNABLE": JobState.PENDING,
    "STARTING": JobState.RUNNING,
    "RUNNING": JobState.RUNNING,
    "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
}
ENDS = {state: common for state, common in STATES.items() if common.is_terminal}
ENDS["CANCELLED"] = JobState.CANCELLED  # not a word of Batch's: FAILED, as somebody has ended it
QUEUE_ENDS = frozenset({"DELETED"})
"""Statuses of a queue that nothing runs from. What an INVALID one has started runs on."""
SERVICE_QUEUE = "SAGEMAKER_TRAINING"
"""Type of a queue that takes service jobs (``SubmitServiceJob``) only."""
_STARTED = ("STARTING", "RUNNING")

JOB_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:[:#]\d{1,5})?", re.ASCII)
_JOB: dict[str, Shape] = {
    "jobId": JOB_ID,
    "status": WORD,
    "statusReason?": TEXT,
    "jobName?": TEXT,
    "createdAt?": MILLISECONDS,
    "isCancelled?": FLAG,
    "isTerminated?": FLAG,
    "arrayProperties?": {},
}
_PER_JOB: dict[str, Shape] = {
    "successful?": [TEXT],
    "errors?": [{"job": TEXT, "code": WORD, "message?": TEXT}],
}
ANSWERS: Answers = {
    "DescribeJobs": {"jobs": [_JOB | {"parameters?": TEXTS}]},
    "ListJobs": {"jobSummaryList": [_JOB], "nextToken?": TEXT},
    "DescribeJobQueues": {
        "jobQueues": [{"jobQueueName": WORD, "status?": TEXT, "jobQueueType?": TEXT}],
        "nextToken?": TEXT,
    },
    "TerminateJobs": _PER_JOB,
    "CancelJobs": _PER_JOB,
}
"""TerminateJob and CancelJob promise nothing but an object."""
NO_QUEUE = re.compile(r"queue\b.*\b(?:not exist|not found)|\b(?:no|unknown)\b.*\bqueue", re.I)
"""What Batch says of a queue that it does not know: there is no code for it."""


def status_of(job: RemoteJob, answer: dict[str, Any]) -> JobStatus:
    """A job's status from a listing or DescribeJobs."""
    # A state that is not in the table counts as running: it may be a new one.
    state = STATES.get(answer["status"], JobState.RUNNING)
    if answer.get("isCancelled") or answer.get("isTerminated"):
        stopped = {JobState.FAILED: JobState.CANCELLED, JobState.SUCCEEDED: JobState.SUCCEEDED}
        state = stopped.get(state, JobState.CANCELLING)
    return JobStatus(
        job,
        state,
        answer["status"],
        answer.get("statusReason") or None,
        answer.get("jobName"),
        _label(answer),
        in_utc(answer.get("createdAt")),
    )


class JobAnswer(NamedTuple):
    """What is read of a job's answer. The rest of it, twenty objects for each job, is not kept."""

    status: JobStatus
    was_only_cancelled: bool
    """Whether a CancelJob leaves something running."""


def answer_of(job: RemoteJob, answer: dict[str, Any]) -> JobAnswer:
    """What DescribeJobs shows of a job."""
    return JobAnswer(status_of(job, answer), _was_only_cancelled(answer))


def _label(answer: dict[str, Any]) -> Label | None:
    """The label of a job from DescribeJobs; no listing shows it."""
    return Label.find(answer.get("parameters", {}).get(LABEL_PARAMETER))


def needless(seen: JobAnswer, *, gently: bool, asked: bool = False) -> CancelResult | None:
    """Why there is nothing to send for a job, or None where there is.

    :param asked: an earlier request, whose answer was lost, may have been carried out.
    """
    status = seen.status
    if gently and status.state is JobState.RUNNING:
        return CancelResult(status.job, CancelOutcome.LEFT_RUNNING, str(status))
    if not gently and seen.was_only_cancelled:
        return None
    outcome = outcome_of(status, asked=asked)
    return CancelResult(status.job, outcome, status.reason) if outcome else None


def _was_only_cancelled(answer: dict[str, Any]) -> bool:
    """Whether a CancelJob leaves something running: it does nothing to what has started.

    A started job, or an array, which is PENDING for as long as its children run.
    """
    may_run = answer["status"] in _STARTED or "size" in answer.get("arrayProperties", {})
    cancelled = bool(answer.get("isCancelled")) and not answer.get("isTerminated")
    return may_run and cancelled and answer["status"] not in ENDS


def gone(result: CancelResult) -> CancelResult:
    """Batch takes requests for jobs that it does not know: its answer says nothing of them."""
    if result.outcome is CancelOutcome.UNANSWERED:
        return result
    return CancelResult(result.job, CancelOutcome.GONE, result.detail, result.code)
