"""The call that starts Batch jobs: how it is labelled and read. Plain data; imports no SDK.

The label is a parameter that no job definition refers to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.aws.submission import AwsSubmission, Params, bare_entry, ids
from airflow_cancel_provider.services.ratelimit import EVERY, Quotas
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER

LARGEST_SUBMIT_JOB = 30 * 1024
"""Bytes of a request."""


def _label_parameters(params: Params, label: Label) -> Params:
    return {**params, "parameters": {LABEL_PARAMETER: label.in_full, **(params.get("parameters") or {})}}


def _texts(params: Params) -> Iterator[tuple[str, str]]:
    yield params["jobName"], (params.get("parameters") or {}).get(LABEL_PARAMETER, "")


SUBMISSIONS = (
    AwsSubmission(
        "batch",
        "SubmitJob",
        scope=lambda params: params.get("jobQueue"),
        bare=lambda params: bare_entry(params, "parameters"),
        label=_label_parameters,
        texts=_texts,
        jobs=lambda _, answer: ids((None, answer.get("jobId"))),
        largest=LARGEST_SUBMIT_JOB,
    ),
)


def _state(job: Mapping[str, Any]) -> Any:
    is_ended = job.get("isCancelled") or job.get("isTerminated")
    return "CANCELLED" if is_ended and job.get("status") == "FAILED" else job.get("status")


STATE_READERS = {
    "DescribeJobs": lambda answer: ((None, job.get("jobId"), _state(job)) for job in answer.get("jobs") or [])
}

QUOTAS: Quotas = {EVERY: (50, 50.0)}
"""https://docs.aws.amazon.com/batch/latest/userguide/service_limits.html; fixed."""
