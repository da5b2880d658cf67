"""What AWS Glue says of its job runs, in the words common to all services."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.aws.answers import NUMBER, TEXT, TEXTS, TIME, WORD, Answers, Shape
from airflow_cancel_provider.services.aws.cancel_requests import Said
from airflow_cancel_provider.services.glue.submission import LABEL_ARGUMENT
from airflow_cancel_provider.services.results import submitted

STATES = {
    "WAITING": JobState.PENDING,
    "STARTING": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "STOPPING": JobState.CANCELLING,
    "STOPPED": JobState.CANCELLED,
    "SUCCEEDED": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "TIMEOUT": JobState.FAILED,
    "ERROR": JobState.FAILED,
    "EXPIRED": JobState.FAILED,
}
ENDS = {state: common for state, common in STATES.items() if common.is_terminal}
LONGEST_LIFE = timedelta(days=30)
"""No run with a timeout lives so long: Glue grants it 7 days at most, and lets it wait for minutes."""

JOB_NAME = re.compile(r"[\t\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]{1,255}")
"""Glue says so of all names. Its jobs are known by nothing else."""
RUN_ID = re.compile(r"jr_[0-9a-z_]{1,252}", re.ASCII)
"""64 hexadecimal digits; a run that Glue retries has ``_attempt_1`` behind them."""
_RUN: dict[str, Shape] = {
    "Id": RUN_ID,
    "JobRunState": WORD,
    "StateDetail?": TEXT,
    "ErrorMessage?": TEXT,
    "StartedOn?": TIME,
    "Timeout?": NUMBER,
    "Arguments?": TEXTS,
    "PreviousRunId?": TEXT,
}
ANSWERS: Answers = {
    "BatchStopJobRun": {
        "SuccessfulSubmissions?": [{"JobRunId?": TEXT}],
        "Errors?": [
            {"JobRunId?": TEXT, "ErrorDetail?": {"ErrorCode?": TEXT, "ErrorMessage?": TEXT}},
        ],
    },
    "GetJobRun": {"JobRun": _RUN},
    "GetJobRuns": {"JobRuns": [_RUN], "NextToken?": TEXT},
    "ListJobs": {"JobNames": [JOB_NAME], "NextToken?": TEXT},
}


def status_of(job: RemoteJob, run: Mapping[str, Any]) -> JobStatus:
    """A run's status, with its label, from GetJobRun or GetJobRuns."""
    status = JobStatus(
        job,
        # A state that Glue adds some day is a live one until it is known to be an end.
        STATES.get(run["JobRunState"], JobState.RUNNING),
        service_state=run["JobRunState"],
        reason=run.get("ErrorMessage") or run.get("StateDetail") or None,
        label=_label(run),
    )
    return submitted(status, run.get("StartedOn"))


def _label(run: Mapping[str, Any]) -> Label | None:
    """A run's label. A retry shows the arguments of the run before it, whose owner may be another."""
    if run.get("PreviousRunId"):
        return None
    return Label.find(run.get("Arguments", {}).get(LABEL_ARGUMENT))


def is_long_over(run: Mapping[str, Any], now: datetime) -> bool:
    """Whether a run, and every run of its job that was started earlier, must have ended.

    A streaming run has no timeout, so that it says nothing of those before it.
    """
    started = run.get("StartedOn")
    has_limit = bool(run.get("Timeout")) and run["JobRunState"] in ENDS
    return has_limit and started is not None and now - started > LONGEST_LIFE


def said_of(answer: Mapping[str, Any]) -> dict[str, Said]:
    """What BatchStopJobRun says, by run."""
    taken: dict[str, Said] = {
        run["JobRunId"]: {} for run in answer.get("SuccessfulSubmissions") or [] if run.get("JobRunId")
    }
    errors = {run.get("JobRunId"): run.get("ErrorDetail") or {} for run in answer.get("Errors") or []}
    return taken | {
        run: {"code": error.get("ErrorCode"), "message": error.get("ErrorMessage")}
        for run, error in errors.items()
        if run
    }
