"""The calls of AWS that start jobs: how each is labelled and read. Plain data; imports no SDK.

A label goes where it can't change what is submitted and needs no permission of its own: the name of an
EMR step or an EMR Serverless run, an unreferenced parameter of a Batch job.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.submissions import (
    LABEL_PARAMETER,
    LABEL_PROPERTY,
    Submission,
    label_in_tags,
    with_label,
    without_label,
)

Params = Mapping[str, Any]
JobIds = Iterator[tuple[str | None, str]]
"""Scope (cluster, application) and id of each job that was started."""

LONGEST_STEP = 10_240
"""Characters of all strings of a ``HadoopJarStep``."""
LARGEST_SUBMIT_JOB = 30 * 1024
"""Bytes of a request."""


@dataclass(frozen=True, slots=True)
class AwsSubmission(Submission):
    """A call that any boto3 client may make.

    :param scope: where its jobs can be listed (cluster, queue, application), from the call's parameters.
    :param label: the parameters with the label added, as new values; the caller's stay as they are.
    :param texts: name of each job, and the text that holds its label if it carries one, from the parameters.
    :param jobs: ids of what was started, from the parameters and the answer.
    :param carriers: other ways to add the label, by name.
    :param most_tags: how many tags a job of this service may have; 0: it has none.
    :param largest: how many bytes a request may have; 0: any number.
    :param place: for a call that does not tell the ids: the scope that the jobs are in, from the answer.
    """

    scope: Callable[[Params], str | None]
    label: Callable[[Params, Label], Params]
    texts: Callable[[Params], Iterator[tuple[str, str]]]
    jobs: Callable[[Params, Params], JobIds]
    place: Callable[[Params], str | None] | None = None
    carriers: Mapping[str, Callable[[Params, Label], Params]] = field(default_factory=dict)
    most_tags: int = 0
    largest: int = 0

    def labelled(self, params: Params, label: Label, carrier: str | None) -> Params:
        """The parameters with the label added, in the way that is wanted or in the usual one.

        Where there is no room for it they stay as they are. A label of another job, which came along as its
        name or parameters were copied, gives way.
        """
        written = self.carriers.get(carrier or "", self.label)(params, label)
        return written if self._fits(written) else params

    def unlabelled(self, params: Params, label: Label | None) -> tuple[str, ...]:
        """Names of those of the jobs that don't carry this label."""
        return tuple(name for name, text in self.texts(params) if not label or Label.find(text) != label)

    def tagged(self, params: Params, tags: Mapping[str, str], others: int = 0) -> Params:
        """The parameters with tags added; the caller's own win, and where there is no room none is added.

        :param others: how many tags the job gets from elsewhere.
        """
        own = params.get("tags") or {}
        if label_in_tags(own):  # of the job that they were copied from
            own = {key: value for key, value in own.items() if key != LABEL_PARAMETER}
        together = {**tags, **own}
        written = {**params, "tags": together}
        return written if len(together) + others <= self.most_tags and self._fits(written) else params

    def _fits(self, params: Params) -> bool:
        return not self.largest or len(json.dumps(params, default=str)) <= self.largest


def _label_steps(params: Params, label: Label) -> Params:
    steps = [{**step, "Name": with_label(step["Name"], label)} for step in _named(params)]
    return {**params, "Steps": steps} if steps else params


def _label_properties(params: Params, label: Label) -> Params:
    """The label alone: properties reach the step's process through a shell that takes them apart."""
    steps = [
        {
            **step,
            "Name": without_label(step["Name"]) or str(label),
            "HadoopJarStep": _with_property(step, label),
        }
        for step in _named(params)
    ]
    return {**params, "Steps": steps} if steps else params


def _named(params: Params) -> Sequence[Mapping[str, Any]]:
    """The steps; none where one has no name, which is about to be refused."""
    steps: Sequence[Mapping[str, Any]] = params.get("Steps") or []
    return steps if all(step.get("Name") and isinstance(step["Name"], str) for step in steps) else []


def _with_property(step: Params, label: Label) -> Params:
    jar = step.get("HadoopJarStep") or {}
    given = [each for each in jar.get("Properties") or [] if not _is_copied(each)]
    if any(each.get("Key") == LABEL_PROPERTY for each in given):
        return jar
    written = {**jar, "Properties": [*given, {"Key": LABEL_PROPERTY, "Value": str(label)}]}
    return written if _characters(written) <= LONGEST_STEP else jar


def _is_copied(each: Mapping[str, str]) -> bool:
    return each.get("Key") == LABEL_PROPERTY and Label.find(each.get("Value")) is not None


def _characters(value: Any) -> int:
    if isinstance(value, Mapping):
        return sum(map(_characters, value.values()))
    return len(value) if isinstance(value, str) else sum(map(_characters, value or ()))


def _texts_of_steps(params: Params) -> Iterator[tuple[str, str]]:
    for step in params.get("Steps") or []:
        properties = (step.get("HadoopJarStep") or {}).get("Properties") or []
        values = [str(each.get("Value")) for each in properties if each.get("Key") == LABEL_PROPERTY]
        yield step.get("Name", ""), " ".join([step.get("Name", ""), *values])


def _label_parameters(params: Params, label: Label) -> Params:
    given = params.get("parameters") or {}
    if Label.find(given.get(LABEL_PARAMETER)):  # of the job that they were copied from
        given = {name: value for name, value in given.items() if name != LABEL_PARAMETER}
    return {**params, "parameters": {LABEL_PARAMETER: label.in_full, **given}}


def _label_name(params: Params, label: Label) -> Params:
    name = params.get("name")
    if name is None:
        return {**params, "name": str(label)}
    return {**params, "name": with_label(name, label)} if name and isinstance(name, str) else params


def _steps(params: Params, answer: Params) -> JobIds:
    return _ids(*((params["JobFlowId"], step) for step in answer.get("StepIds") or []))


def _ids(*pairs: tuple[str, Any] | tuple[None, Any]) -> JobIds:
    """Those that are ids: a reply may be anything, as what stands between here and the service may be."""
    return ((scope, job) for scope, job in pairs if isinstance(job, str) and job)


SUBMISSIONS = (
    AwsSubmission(
        "emr",
        "AddJobFlowSteps",
        lambda params: params.get("JobFlowId"),
        _label_steps,
        _texts_of_steps,
        _steps,
        carriers={"properties": _label_properties},
    ),
    AwsSubmission(
        "emr",
        "RunJobFlow",
        lambda _: None,
        _label_steps,
        _texts_of_steps,
        lambda *_: iter(()),
        lambda answer: answer.get("JobFlowId"),
        carriers={"properties": _label_properties},
    ),
    AwsSubmission(
        "batch",
        "SubmitJob",
        lambda params: params.get("jobQueue"),
        _label_parameters,
        lambda params: iter([(params["jobName"], (params.get("parameters") or {}).get(LABEL_PARAMETER, ""))]),
        lambda _, answer: _ids((None, answer.get("jobId"))),
        most_tags=50,
        largest=LARGEST_SUBMIT_JOB,
    ),
    AwsSubmission(
        "emr-serverless",
        "StartJobRun",
        lambda params: params.get("applicationId"),
        _label_name,
        lambda params: iter([(params.get("name") or "", params.get("name") or "")]),
        lambda params, answer: _ids((params["applicationId"], answer.get("jobRunId"))),
        most_tags=200,
    ),
)
