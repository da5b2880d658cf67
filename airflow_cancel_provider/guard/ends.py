"""Jobs that a reply shows in a terminal state, whoever asked: what has ended need not be released by name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

from airflow_cancel_provider.services.submissions import tell_ended

log = logging.getLogger(__name__)
Seen = Iterator[tuple[str | None, Any, Any]]
"""Scope (where the reply tells it), id and state of each job."""


def _batch(answer: Mapping[str, Any]) -> Seen:
    for job in answer.get("jobs") or []:
        yield None, job.get("jobId"), job.get("status")


def _step(answer: Mapping[str, Any]) -> Seen:
    return _steps({"Steps": [answer.get("Step") or {}]})


def _steps(answer: Mapping[str, Any]) -> Seen:
    for step in answer.get("Steps") or []:
        yield None, step.get("Id"), (step.get("Status") or {}).get("State")


def _run(answer: Mapping[str, Any]) -> Seen:
    return _runs({"jobRuns": [answer.get("jobRun") or {}]})


def _runs(answer: Mapping[str, Any]) -> Seen:
    for run in answer.get("jobRuns") or []:
        yield run.get("applicationId"), run.get("jobRunId") or run.get("id"), run.get("state")


LOOKS: dict[str, dict[str, Callable[[Mapping[str, Any]], Seen]]] = {
    "batch": {"DescribeJobs": _batch},
    "emr": {"DescribeStep": _step, "ListSteps": _steps},
    "emr-serverless": {"GetJobRun": _run, "ListJobRuns": _runs},
}
"""By service and operation: how its reply shows jobs."""
_STATES = {
    "batch": "airflow_cancel_provider.services.batch_answers",
    "emr": "airflow_cancel_provider.services.emr_answers",
    "emr-serverless": "airflow_cancel_provider.services.emr_serverless",
}
"""Modules that know which states are an end; they may import botocore, which a reply's reader has."""


def note_ends(service: str, operation: str, region: str | None, answer: Any) -> None:
    """Tell the recorders which jobs of a reply have ended; no reply makes the caller's call fail."""
    try:
        ends = import_module(_STATES[service]).ENDS
        ids = [
            (scope, job) for scope, job, state in LOOKS[service][operation](answer) if job and state in ends
        ]
    except Exception:
        # A reply may be anything; the caller's call succeeds or fails for reasons of its own.
        log.exception("A reply to %s could not be read", operation)
        return
    tell_ended(service, region, ids)
