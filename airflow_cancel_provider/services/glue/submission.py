"""The call that starts job runs: how it is labelled and read. Plain data; imports no SDK.

A run has neither a name nor tags. Its arguments are all that could carry a label, and they reach the script.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.aws.submission import AwsSubmission, Params, bare_entry, ids
from airflow_cancel_provider.services.ratelimit import EVERY, Quotas
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER

LABEL_ARGUMENT = f"--{LABEL_PARAMETER}"


def _bare(params: Params) -> Params:
    # A retry of an earlier run takes that run's arguments only where none are given.
    return params if params.get("JobRunId") else bare_entry(params, "Arguments", LABEL_ARGUMENT)


def _label_arguments(params: Params, label: Label) -> Params:
    """The label alone as one argument more: Glue takes the job's own for all that are not given."""
    given = params.get("Arguments") or {}
    if LABEL_ARGUMENT in given or params.get("JobRunId"):
        return params
    return {**params, "Arguments": {**given, LABEL_ARGUMENT: str(label)}}


def _texts(params: Params) -> Iterator[tuple[str, str]]:
    arguments = {} if params.get("JobRunId") else params.get("Arguments") or {}
    yield params.get("JobName", ""), arguments.get(LABEL_ARGUMENT, "")


def _seen(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str | None, Any, Any]]:
    return ((run.get("JobName"), run.get("Id"), run.get("JobRunState")) for run in runs)


SUBMISSIONS = (
    AwsSubmission(
        "glue",
        "StartJobRun",
        scope=lambda params: params.get("JobName"),
        bare=_bare,
        label=lambda params, _: params,
        texts=_texts,
        jobs=lambda params, answer: ids((params["JobName"], answer.get("JobRunId"))),
        carriers={"arguments": _label_arguments},
    ),
)
STATE_READERS = {
    "GetJobRun": lambda answer: _seen([answer.get("JobRun") or {}]),
    "GetJobRuns": lambda answer: _seen(answer.get("JobRuns") or []),
}

QUOTAS: Quotas = {EVERY: (10, 5.0)}
"""AWS publishes none. These are well below what is known to be throttled: 15 StartJobRun at once."""
