"""What EMR on EKS says of its job runs, in the words common to all services."""

from __future__ import annotations

import re

from airflow_cancel_provider.jobs import JobState
from airflow_cancel_provider.services.aws.answers import TEXT, TIME, WORD, Answers, Shape

STATES = {
    "PENDING": JobState.PENDING,
    "SUBMITTED": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "CANCEL_PENDING": JobState.CANCELLING,
    "COMPLETED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
}
ENDS = {state: common for state, common in STATES.items() if common.is_terminal}
IDLE = frozenset({"TERMINATED"})
"""States of a virtual cluster in which no run lives."""

NO_CLUSTER = re.compile(r"virtual cluster\b.*(?:n't|not) (?:exist|found)", re.I)
"""What EMR on EKS says of a virtual cluster that it does not know."""
NO_RUN = re.compile(r"\bjob run\b.*(?:n't|not) (?:exist|found)", re.I)
"""What EMR on EKS says of a job run that it does not know: to a cancel it has no code for that."""
RESOURCE_ID = re.compile(r"[0-9a-z]{1,64}", re.ASCII)
_RUN: dict[str, Shape] = {
    "id": RESOURCE_ID,
    "virtualClusterId": RESOURCE_ID,
    "state": WORD,
    "stateDetails?": TEXT,
    "failureReason?": TEXT,
    "name?": TEXT,
    "clientToken?": TEXT,
    "createdAt?": TIME,
}
ANSWERS: Answers = {
    "CancelJobRun": {"id": RESOURCE_ID, "virtualClusterId": RESOURCE_ID},
    "DescribeJobRun": {"jobRun": _RUN},
    "ListJobRuns": {"jobRuns": [_RUN], "nextToken?": TEXT},
    "ListVirtualClusters": {"virtualClusters": [{"id": RESOURCE_ID}], "nextToken?": TEXT},
    "DescribeVirtualCluster": {"virtualCluster": {"id": RESOURCE_ID}},
}
