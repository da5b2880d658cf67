"""The call that starts job runs: how it is labelled and read, and what a cancel takes. Imports no SDK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.services.aws.submission import (
    AwsSubmission,
    bare_name,
    ids,
    label_name,
    text_of_name,
)
from airflow_cancel_provider.services.ratelimit import Quotas

SHORTEST_GRACE, LONGEST_GRACE = 15, 1800


def _seen(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str | None, Any, Any]]:
    return (
        (run.get("applicationId"), run.get("jobRunId") or run.get("id"), run.get("state")) for run in runs
    )


def _seen_run(run: Mapping[str, Any]) -> Iterator[tuple[str | None, Any, Any]]:
    """The run of a GetJobRun, unless it may only be an attempt that has ended, of a run that goes on."""
    policy = run.get("retryPolicy") or {}
    most = policy.get("maxAttempts") or (inf if run.get("mode") == "STREAMING" else 1)
    is_last = run.get("state") == "SUCCESS" or (run.get("attempt") or 1) >= most
    return _seen([run] if is_last else [])


SUBMISSIONS = (
    AwsSubmission(
        "emr-serverless",
        "StartJobRun",
        scope=lambda params: params.get("applicationId"),
        bare=bare_name,
        label=label_name,
        texts=text_of_name,
        jobs=lambda params, answer: ids((params["applicationId"], answer.get("jobRunId"))),
    ),
)

STATE_READERS = {
    "GetJobRun": lambda answer: _seen_run(answer.get("jobRun") or {}),
    "ListJobRuns": lambda answer: _seen(answer.get("jobRuns") or []),
}

QUOTAS: Quotas = {
    "CancelJobRun": (25, 1.0),
    "ListJobRuns": (25, 1.0),
    "GetJobRun": (50, 10.0),
    "ListApplications": (50, 10.0),
    "GetApplication": (50, 10.0),
}
"""https://docs.aws.amazon.com/emr-serverless/latest/EMR-Serverless-UserGuide/endpoints-quotas.html"""


def grace_period(param: str, value: Any) -> int:
    """Seconds that a run has to shut down, also as a template's text.

    :raises InvalidInput: it is neither 0 nor from 15 to 1,800.
    """
    seconds = int(value) if str(value).isdecimal() else -1
    if seconds != 0 and not SHORTEST_GRACE <= seconds <= LONGEST_GRACE:
        raise InvalidInput(
            f"{param} is {value!r}; it must be 0 or {SHORTEST_GRACE} to {LONGEST_GRACE} seconds."
        )
    return seconds
