"""The calls that start jobs: how each is recognised, labelled and read. Plain data; imports no SDK.

A label goes where it can't change what is submitted and needs no permission of its own: the name of an
EMR step or an EMR Serverless run, an unreferenced parameter of a Batch job.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow_cancel_provider.exceptions import CancelProviderError, ServiceUnavailable
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.client_spec import ClientSpec

Params = Mapping[str, Any]
JobIds = Iterator[tuple[str | None, str]]
"""Scope (cluster, application) and id of each job that was started."""

LABEL_PARAMETER = "airflow_owner"
LABEL_PROPERTY = "airflow.owner"
LONGEST_NAME = 256
"""Bytes, though AWS says characters: it may count those beyond the basic plane twice."""
LONGEST_STEP = 10_240
"""Characters of all strings of a ``HadoopJarStep``."""
LARGEST_SUBMIT_JOB = 30 * 1024
"""Bytes of a request."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A submission that is about to be sent, or whose answer was lost."""

    token: str
    line: ClientSpec
    scope: str | None
    label: Label | None
    unlabelled: tuple[str, ...] = ()
    """Names of those of its jobs that go without the label."""
    at: float = 0.0
    """When it was sent, or when it was answered, in epoch seconds; 0 for long ago."""


class Recorder(Protocol):
    """Who is told of submissions in this process.

    A submission is under way from :meth:`intend` to the first of :meth:`lost`, :meth:`started`,
    :meth:`placed` and :meth:`closed`; its token names it in all of these.
    """

    def label(self, submission: Submission) -> Label | None:
        """What to write on a job, if anything.

        :raises SubmissionRefused: the task was told to end and may not start more jobs.
        """
        ...

    def carrier(self, service: str) -> str | None:
        """What of a service's jobs is to carry the label, where there is a choice; None: the usual."""
        ...

    def tags(self) -> Mapping[str, str]:
        """Tags to put on a job, if any."""
        ...

    def intend(self, client: ClientSpec, scope: str | None, unlabelled: tuple[str, ...]) -> str | None:
        """A submission is about to be sent; those of its jobs that have these names carry no label.

        Gives the submission's token, or None if it is not the try's (clean-up code, a callback): then nothing
        more is told of it.
        """
        ...

    def lost(self, token: str) -> None:
        """One attempt was sent and its outcome is unknown: the intent stays open whatever comes later."""
        ...

    def started(self, token: str, jobs: Sequence[tuple[str | None, str]], not_before: float = 0.0) -> None:
        """It was taken: scope and id of each job.

        :param not_before: the earliest time, in epoch seconds of the service's clock, at which this
            submission can have started the jobs; set where an older job may have been answered to it.
        :raises Killed: the task was told to end meanwhile.
        """
        ...

    def placed(self, token: str, scope: str) -> None:
        """It was taken, and its jobs are in this scope, under the label; their ids are not known."""
        ...

    def closed(self, token: str) -> None:
        """Nothing (more) can have been started: never sent, refused, or answered inside this process."""
        ...

    def ended(self, service: str, region: str | None, ids: Sequence[tuple[str | None, str]]) -> None:
        """Jobs (scope, if the reply tells it, and id) were seen in a terminal state by this process."""
        ...

    def unguarded(self, why: str) -> None:
        """The guard has a hole: say so in the task's log."""
        ...


RECORDERS: list[Recorder] = []
"""Recorders of this process; at most one in practice. Capture tells them of AWS, hooks of all else."""


@dataclass(frozen=True, slots=True)
class Submission:
    """One call of one service that starts jobs.

    :param operation: its name in boto3's service model.
    :param scope: where its jobs can be listed (cluster, queue, application), from the call's parameters.
    :param label: the parameters with the label added, as new values; the caller's stay as they are.
    :param texts: name of each job, and the text that holds its label if it carries one, from the parameters.
    :param jobs: ids of what was started, from the parameters and the answer.
    :param carriers: other ways to add the label, by name.
    :param most_tags: how many tags a job of this service may have; 0: it has none.
    :param largest: how many bytes a request may have; 0: any number.
    :param place: for a call that does not tell the ids: the scope that the jobs are in, from the answer.
    """

    service: str
    operation: str
    scope: Callable[[Params], str | None]
    label: Callable[[Params, Label], Params]
    texts: Callable[[Params], Iterator[tuple[str, str]]]
    jobs: Callable[[Params, Params], JobIds]
    place: Callable[[Params], str | None] = lambda _: None
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

    def unlabelled(self, params: Params) -> tuple[str, ...]:
        """Names of those of the jobs that carry no label."""
        return tuple(name for name, text in self.texts(params) if Label.find(text) is None)

    def tagged(self, params: Params, tags: Mapping[str, str]) -> Params:
        """The parameters with tags added; the caller's own win, and where there is no room none is added."""
        own = params.get("tags") or {}
        if label_in_tags(own):  # of the job that they were copied from
            own = {key: value for key, value in own.items() if key != LABEL_PARAMETER}
        together = {**tags, **own}
        written = {**params, "tags": together}
        return written if len(together) <= self.most_tags and self._fits(written) else params

    def _fits(self, params: Params) -> bool:
        return not self.largest or len(json.dumps(params, default=str)) <= self.largest


def _label_steps(params: Params, label: Label) -> Params:
    steps = [{**step, "Name": _labelled(step["Name"], label)} for step in _named(params)]
    return {**params, "Steps": steps} if steps else params


def _label_properties(params: Params, label: Label) -> Params:
    """The label alone: properties reach the step's process through a shell that takes them apart."""
    steps = [
        {**step, "Name": _bare(step["Name"]) or str(label), "HadoopJarStep": _with_property(step, label)}
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
    return {**params, "name": _labelled(name, label)} if name and isinstance(name, str) else params


def _labelled(name: str, label: Label, joint: str = " ", longest: int = LONGEST_NAME) -> str:
    """A name with the label behind it, or as it was where both don't fit."""
    bare = _bare(name)
    text = f"{bare}{joint}{label}" if bare else str(label)
    return text if len(text.encode("utf-8", "surrogatepass")) <= longest else bare


def _bare(name: str) -> str:
    """A name without the label of the job that it was copied from: it would name the wrong owner."""
    while found := Label.find(name):
        name = name.replace(str(found), "").rstrip(" -")
    return name


def label_in_tags(tags: Mapping[str, str]) -> Label | None:
    """The label in a job's tags, if there is one."""
    return Label.find(tags.get(LABEL_PARAMETER))


def _steps(params: Params, answer: Params) -> JobIds:
    return ((params["JobFlowId"], step) for step in answer.get("StepIds", []))


SUBMISSIONS = (
    Submission(
        "emr",
        "AddJobFlowSteps",
        lambda params: params.get("JobFlowId"),
        _label_steps,
        _texts_of_steps,
        _steps,
        carriers={"properties": _label_properties},
    ),
    Submission(
        "emr",
        "RunJobFlow",
        lambda _: None,
        _label_steps,
        _texts_of_steps,
        lambda *_: iter(()),
        lambda answer: answer.get("JobFlowId"),
        {"properties": _label_properties},
    ),
    Submission(
        "batch",
        "SubmitJob",
        lambda params: params.get("jobQueue"),
        _label_parameters,
        lambda params: iter([(params["jobName"], (params.get("parameters") or {}).get(LABEL_PARAMETER, ""))]),
        lambda _, answer: iter([(None, answer["jobId"])]),
        most_tags=50,
        largest=LARGEST_SUBMIT_JOB,
    ),
    Submission(
        "emr-serverless",
        "StartJobRun",
        lambda params: params.get("applicationId"),
        _label_name,
        lambda params: iter([(params.get("name") or "", params.get("name") or "")]),
        lambda params, answer: iter([(params["applicationId"], answer["jobRunId"])]),
        most_tags=200,
    ),
)


class Recorded:
    """A submission that a hook of ours makes itself, as its recorders see it."""

    def __init__(self, line: Callable[[], ClientSpec], scope: str, name: str, longest: int) -> None:
        label = next((recorder.label() for recorder in RECORDERS), None)
        self.name = _labelled(name, label, "-", longest) if label else name
        """The job's name with the label behind it, or as it was where both don't fit."""
        unlabelled = () if label and Label.find(self.name) else (name,)
        self._intents = [(recorder, recorder.intend(line(), scope, unlabelled)) for recorder in RECORDERS]

    def started(self, scope: str | None, id: str) -> None:
        """The service took it."""
        for recorder, intent in self._intents:
            recorder.started(intent, [(scope, id)])

    def refused(self) -> None:
        """The service took nothing."""
        for recorder, intent in self._intents:
            recorder.refused(intent)


@contextmanager
def recorded(line: Callable[[], ClientSpec], scope: str, name: str, longest: int) -> Iterator[Recorded]:
    """Tell the recorders of a submission that is made within; call :meth:`Recorded.started` when it is taken.

    An error means that nothing was started, unless the service did not answer.

    :param name: of the job; it is to be submitted as :attr:`Recorded.name`.
    :param longest: characters that a name may have.
    :raises SubmissionRefused: a recorder allows no more submissions.
    """
    submission = Recorded(line, scope, name, longest)
    try:
        yield submission
    except ServiceUnavailable:
        raise
    except CancelProviderError:
        submission.refused()
        raise
