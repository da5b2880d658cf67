"""The calls that start steps: how each is labelled and read, and how a cancel may be. Imports no SDK.

A label goes behind a step's name, or into a property of its jar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.aws.submission import AwsSubmission, JobIds, Params, ids
from airflow_cancel_provider.services.ratelimit import EVERY, Quotas
from airflow_cancel_provider.services.submissions import LABEL_PROPERTY, with_label, without_label

CancellationOption = Literal["SEND_INTERRUPT", "TERMINATE_PROCESS"]
CANCELLATION_OPTIONS: tuple[CancellationOption, ...] = ("SEND_INTERRUPT", "TERMINATE_PROCESS")
LONGEST_STEP = 10_240
"""Characters of all strings of a ``HadoopJarStep``."""


def _bare(params: Params) -> Params:
    steps = params.get("Steps") or []
    bare = [_bare_step(step) for step in steps]
    return {**params, "Steps": bare} if bare != list(steps) else params


def _bare_step(step: Params) -> Params:
    name, jar = step.get("Name"), step.get("HadoopJarStep") or {}
    given = jar.get("Properties") or []
    own = [each for each in given if not _is_label(each)]
    if isinstance(name, str):
        step = {**step, "Name": without_label(name)}
    return step if own == given else {**step, "HadoopJarStep": {**jar, "Properties": own}}


def _label_steps(params: Params, label: Label) -> Params:
    steps = [{**step, "Name": with_label(step["Name"], label)} for step in _named(params)]
    return {**params, "Steps": steps} if steps else params


def _label_properties(params: Params, label: Label) -> Params:
    """The label alone: properties reach the step's process through a shell that takes them apart."""
    steps = [{**step, "HadoopJarStep": _with_property(step, label)} for step in _named(params)]
    return {**params, "Steps": steps} if steps else params


def _named(params: Params) -> Sequence[Mapping[str, Any]]:
    """The steps; none where one has no name, which is about to be refused."""
    steps: Sequence[Mapping[str, Any]] = params.get("Steps") or []
    return steps if all(step.get("Name") and isinstance(step["Name"], str) for step in steps) else []


def _with_property(step: Params, label: Label) -> Params:
    jar = step.get("HadoopJarStep") or {}
    given = jar.get("Properties") or []
    if any(each.get("Key") == LABEL_PROPERTY for each in given):
        return jar
    written = {**jar, "Properties": [*given, {"Key": LABEL_PROPERTY, "Value": str(label)}]}
    return written if _characters(written) <= LONGEST_STEP else jar


def _is_label(each: Mapping[str, str]) -> bool:
    return each.get("Key") == LABEL_PROPERTY and Label.find(each.get("Value")) is not None


def _characters(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return len(value) if isinstance(value, str) else sum(map(_characters, value or ()))


def _texts(params: Params) -> Iterator[tuple[str, str]]:
    for step in params.get("Steps") or []:
        properties = (step.get("HadoopJarStep") or {}).get("Properties") or []
        values = [str(each.get("Value")) for each in properties if each.get("Key") == LABEL_PROPERTY]
        yield step.get("Name", ""), " ".join([step.get("Name", ""), *values])


def _steps_of(params: Params, answer: Params) -> JobIds:
    return ids(*((params["JobFlowId"], step) for step in answer.get("StepIds") or []))


def _seen(steps: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str | None, Any, Any]]:
    return ((None, step.get("Id"), (step.get("Status") or {}).get("State")) for step in steps)


SUBMISSIONS = (
    AwsSubmission(
        "emr",
        "AddJobFlowSteps",
        scope=lambda params: params.get("JobFlowId"),
        bare=_bare,
        label=_label_steps,
        texts=_texts,
        jobs=_steps_of,
        carriers={"properties": _label_properties},
    ),
    AwsSubmission(
        "emr",
        "RunJobFlow",
        scope=lambda _: None,
        bare=_bare,
        label=_label_steps,
        texts=_texts,
        jobs=lambda *_: iter(()),
        place=lambda answer: answer.get("JobFlowId"),
        carriers={"properties": _label_properties},
    ),
)
STATE_READERS = {
    "DescribeStep": lambda answer: _seen([answer.get("Step") or {}]),
    "ListSteps": lambda answer: _seen(answer.get("Steps") or []),
}

QUOTAS: Quotas = {
    "CancelSteps": (10, 0.5),
    "ListSteps": (10, 0.5),
    "ListClusters": (20, 0.5),
    "DescribeCluster": (10, 1.0),
    EVERY: (25, 5.0),
}
"""https://docs.aws.amazon.com/general/latest/gr/emr.html; all of them can be raised."""
