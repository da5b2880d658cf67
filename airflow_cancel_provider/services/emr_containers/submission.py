"""The call that starts job runs: how it is labelled and read. Plain data; imports no SDK.

A name has up to 64 characters, and a label takes up to 46 of them. Where a name leaves no room, the label
goes into the idempotency token, which EMR on EKS shows like the name. A token of the user's stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.aws.submission import (
    AwsSubmission,
    Params,
    bare_name,
    ids,
    label_name,
)
from airflow_cancel_provider.services.ratelimit import Quotas

JOINT = "-"
LONGEST = 64
"""Characters of a name, and of a token."""


def label_of(run: Mapping[str, Any]) -> Label | None:
    """The label that a job run carries: in its name or its idempotency token."""
    return Label.find(f"{run.get('name')} {run.get('clientToken')}")


def _bare(params: Params) -> Params:
    # With the token of a labelled run it is that run's own submission, repeated.
    return params if Label.find(params.get("clientToken")) else bare_name(params)


def _label(params: Params, label: Label) -> Params:
    named = label_name(params, label, JOINT, LONGEST)
    name, token = named.get("name"), named.get("clientToken")
    if not name or not token or Label.find(name) == label:
        return named
    # The same for each attempt of a submission, and another for each submission of a try.
    return {**named, "clientToken": f"{label}.{re.sub(r'[^0-9A-Za-z]', '', token)}"[:LONGEST]}


def _texts(params: Params) -> Iterator[tuple[str, str]]:
    name = params.get("name") or ""
    yield name, f"{name} {params.get('clientToken')}"


def _seen(runs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str | None, Any, Any]]:
    return ((run.get("virtualClusterId"), run.get("id"), run.get("state")) for run in runs)


SUBMISSIONS = (
    AwsSubmission(
        "emr-containers",
        "StartJobRun",
        joint=JOINT,
        longest_name=LONGEST,
        scope=lambda params: params.get("virtualClusterId"),
        bare=_bare,
        label=_label,
        texts=_texts,
        jobs=lambda params, answer: ids((params["virtualClusterId"], answer.get("id"))),
    ),
)
STATE_READERS = {
    "DescribeJobRun": lambda answer: _seen([answer.get("jobRun") or {}]),
    "ListJobRuns": lambda answer: _seen(answer.get("jobRuns") or []),
}

QUOTAS: Quotas = dict.fromkeys(
    ("CancelJobRun", "DescribeJobRun", "ListJobRuns", "DescribeVirtualCluster", "ListVirtualClusters"),
    (25, 1.0),
)
"""Those of EMR Serverless: AWS publishes none for this service."""
