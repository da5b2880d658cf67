"""What Amazon EMR says of its steps, in the words common to all services."""

from __future__ import annotations

import re
from typing import Any

from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob

STATES = {
    "PENDING": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "CANCEL_PENDING": JobState.CANCELLING,
    "COMPLETED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    # The cluster ended under the step. botocore's waiter does not know this state and would wait on.
    "INTERRUPTED": JobState.CANCELLED,
}
ENDS = frozenset(state for state, common in STATES.items() if common.is_terminal)
CLUSTER_ENDS = frozenset({"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"})
"""States of a cluster in which no step lives, or not for long."""

_ENDED = re.compile(r"already (COMPLETED|CANCELLED|FAILED|INTERRUPTED)", re.I)
_ENDING = re.compile(r"already CANCEL_PENDING", re.I)


def status_of(job: RemoteJob, step: dict[str, Any]) -> JobStatus:
    """A step's status, from ListSteps."""
    status = step["Status"]
    reason = status.get("StateChangeReason", {}).get("Message") or status.get("FailureDetails", {}).get(
        "Message"
    )
    return JobStatus(
        job,
        # A state that EMR adds some day is a live one until it is known to be an end.
        STATES.get(status["State"], JobState.RUNNING),
        service_state=status["State"],
        reason=reason or None,
        name=step.get("Name"),
    )


def result_of(step: RemoteJob, info: dict[str, str]) -> CancelResult:
    """What CancelSteps says of one step."""
    reason = info.get("Reason") or ""
    if info.get("Status") == "SUBMITTED":
        return CancelResult(step, CancelOutcome.REQUESTED)
    if _ENDED.search(reason):
        return CancelResult(step, CancelOutcome.ALREADY_ENDED, reason)
    if _ENDING.search(reason):
        return CancelResult(step, CancelOutcome.ALREADY_CANCELLING, reason)
    return CancelResult(step, CancelOutcome.REFUSED, reason or "EMR did not say why.")


def is_unclear(result: CancelResult) -> bool:
    """A refusal that may only mean "ended" or "ending"; "already RUNNING" is looked at for its release."""
    return result.outcome is CancelOutcome.REFUSED
