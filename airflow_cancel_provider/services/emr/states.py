"""What Amazon EMR says of its steps, in the words common to all services."""

from __future__ import annotations

import re
from typing import Any

from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.services.aws.answers import TEXT, TEXTS, TIME, WORD, Answers
from airflow_cancel_provider.services.aws.cancel_requests import UNSAID, Said

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
ENDS = {state: common for state, common in STATES.items() if common.is_terminal}
CLUSTER_ENDS = frozenset({"TERMINATING", "TERMINATED", "TERMINATED_WITH_ERRORS"})
"""States of a cluster in which no step lives, or not for long."""

CLUSTER_ID = re.compile(r"j-[0-9A-Z]+", re.ASCII)
STEP_ID = re.compile(r"s-[0-9A-Z]+", re.ASCII)
ANSWERS: Answers = {
    "ListSteps": {
        "Steps": [
            {
                "Id": STEP_ID,
                "Name?": TEXT,
                "Status": {
                    "State": WORD,
                    "StateChangeReason?": {"Message?": TEXT},
                    "FailureDetails?": {"Message?": TEXT},
                    "Timeline?": {"CreationDateTime?": TIME},
                },
                "Config?": {"Properties?": TEXTS},
            }
        ],
        "Marker?": TEXT,
    },
    "CancelSteps": {"CancelStepsInfoList": [{"StepId?": TEXT, "Status?": TEXT, "Reason?": TEXT}]},
    "ListClusters": {"Clusters": [{"Id": CLUSTER_ID}], "Marker?": TEXT},
    "DescribeCluster": {"Cluster": {"Id": CLUSTER_ID, "ReleaseLabel?": TEXT}},
}
NO_CLUSTER = re.compile(r"cluster id .* is not valid|job flow id (?:is not valid|does not exist)", re.I)
"""What EMR says of a cluster that it does not know: there is no code for it."""
NO_STEP = re.compile(r"step id \S* is not valid", re.I)
"""The same of a step."""

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
        # A state that is not in the table counts as running: it may be a new one.
        STATES.get(status["State"], JobState.RUNNING),
        service_state=status["State"],
        reason=reason or None,
        name=step.get("Name"),
    )


def said_of(answer: dict[str, Any]) -> dict[str, Said]:
    """What CancelSteps says, by step; entries that say nothing that EMR can say are left out."""
    infos = answer["CancelStepsInfoList"]
    return {
        info["StepId"]: info
        for info in infos
        if info.get("StepId") and info.get("Status") in ("SUBMITTED", "FAILED")
    }


def result_of(step: RemoteJob, info: Said | None, *, asked: bool = False) -> CancelResult:
    """What CancelSteps says of one step.

    :param info: None where it said nothing.
    :param asked: an earlier request, whose answer was lost, may have been carried out.
    """
    if info is None:
        return CancelResult(step, CancelOutcome.UNANSWERED, UNSAID)
    reason = info.get("Reason") or ""
    if info.get("Status") == "SUBMITTED":
        return CancelResult(step, CancelOutcome.REQUESTED)
    if ended := _ENDED.search(reason):
        ours = asked and STATES[ended[1].upper()] is JobState.CANCELLED
        return CancelResult(step, CancelOutcome.REQUESTED if ours else CancelOutcome.ALREADY_ENDED, reason)
    if _ENDING.search(reason):
        outcome = CancelOutcome.REQUESTED if asked else CancelOutcome.ALREADY_CANCELLING
        return CancelResult(step, outcome, reason)
    return CancelResult(step, CancelOutcome.REFUSED, reason or "EMR did not say why.")
