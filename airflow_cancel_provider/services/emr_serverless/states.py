"""What EMR Serverless says of its job runs, in the words common to all services."""

from __future__ import annotations

import re

from airflow_cancel_provider.jobs import JobState
from airflow_cancel_provider.services.aws.answers import TEXT, TIME, WORD, Answers, Shape

STATES = {
    "SUBMITTED": JobState.PENDING,
    "QUEUED": JobState.PENDING,
    "PENDING": JobState.PENDING,
    "SCHEDULED": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "CANCELLING": JobState.CANCELLING,
    "SUCCESS": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
}
ENDS = {state: common for state, common in STATES.items() if common.is_terminal}
IDLE = frozenset({"CREATING", "STOPPED", "TERMINATED"})
"""States of an application in which no run lives: it starts with its first run, and stops after its last."""

RUN_ID = re.compile(r"[0-9a-z]{1,64}", re.ASCII)
_RUN: dict[str, Shape] = {
    "applicationId": RUN_ID,
    "state": WORD,
    "stateDetails?": TEXT,
    "name?": TEXT,
    "createdAt?": TIME,
}
ANSWERS: Answers = {
    "CancelJobRun": {"applicationId": RUN_ID, "jobRunId": RUN_ID},
    "GetJobRun": {"jobRun": _RUN | {"jobRunId": RUN_ID, "releaseLabel?": TEXT}},
    "ListJobRuns": {"jobRuns": [_RUN | {"id": RUN_ID}], "nextToken?": TEXT},
    "ListApplications": {"applications": [{"id": RUN_ID}], "nextToken?": TEXT},
    "GetApplication": {"application": {"applicationId": RUN_ID}},
}
