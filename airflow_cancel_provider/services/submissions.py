"""The interface through which submissions are recorded, and labels in job names. Imports no SDK."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.replies import answered_inside

log = logging.getLogger(__name__)

LABEL_PARAMETER = "airflow_owner"
LABEL_PROPERTY = "airflow.owner"
ANSWERED_INSIDE = (
    "[remote jobs] %s was answered inside this process (by a test double such as moto): no job is recorded"
)
"""Log message."""
UNNAMED = "job"
"""For a job whose name was only a label."""
LONGEST_NAME = 256
"""Bytes, though AWS says characters: it may count those beyond the basic plane twice."""

SeenEnd = tuple[str | None, str, JobState]
"""A job that has ended: its scope, where the reply tells it, its id, and the state that was seen."""


class Recorder(Protocol):
    """Records the submissions of this process.

    A submission is under way from :meth:`intend` to the first of :meth:`lost`, :meth:`started`,
    :meth:`placed` and :meth:`closed`; its token names it in all of these.
    """

    @property
    def is_empty(self) -> bool:
        """Whether nothing was started, and no submission is open."""
        ...

    def cancels(self, job: RemoteJob) -> bool:
        """Whether this job is cancelled if the task fails or is killed, so that nobody else has to."""
        ...

    def if_killed(
        self, groups: Iterable[tuple[ClientSpec, Sequence[RemoteJob]]]
    ) -> AbstractContextManager[None]:
        """While this lasts, jobs that other tasks have started are cancelled if this process is killed."""
        ...

    def label(self, submission: Submission) -> Label | None:
        """What to write on a job, if anything.

        :raises SubmissionRefused: the task received SIGTERM and may not start more jobs.
        """
        ...

    def carrier(self, service: str) -> str | None:
        """What of a service's jobs is to carry the label, where there is a choice; None: the usual."""
        ...

    def intend(
        self, client: ClientSpec, scope: str | None, unlabelled: tuple[str, ...], *, is_labelled: bool
    ) -> str | None:
        """A submission is about to be sent; those of its jobs that have these names carry no label.

        Return the submission's token, or None for a submission that is not the try's own (clean-up code, a
        callback): the later methods are not called for it.
        """
        ...

    def lost(self, token: str) -> None:
        """One attempt was sent and its outcome is unknown: the intent stays open, whatever comes later."""
        ...

    def started(self, token: str, jobs: Sequence[tuple[str | None, str]], not_before: float = 0.0) -> None:
        """The service accepted it: scope and id of each job.

        :param not_before: the earliest time, in epoch seconds of the service's clock, at which this
            submission can have started the jobs; set where an older job may have been answered to it.
        :raises Killed: the task received SIGTERM meanwhile.
        """
        ...

    def placed(self, token: str, scope: str) -> None:
        """The service accepted it; its jobs are in this scope and have the label; no ids are known."""
        ...

    def closed(self, token: str) -> None:
        """Nothing (more) can have been started: never sent, refused, or answered inside this process."""
        ...

    def ended(self, service: str, region: str | None, seen: Sequence[SeenEnd]) -> None:
        """Jobs were seen to have ended by this process."""
        ...

    def unguarded(self, why: str) -> None:
        """Log that something is not guarded, and why."""
        ...


_recorder: Recorder | None = None
_is_switched_off = False


def current_recorder() -> Recorder | None:
    """The recorder of this process, if it has one. The capture calls it for AWS, hooks for other services."""
    return _recorder


def is_switched_off() -> bool:
    """Whether the task of this process is not to be guarded."""
    return _is_switched_off


def set_recorder(recorder: Recorder | None, *, is_off: bool = False) -> None:
    """Set the recorder of this process; None: nothing is recorded from now on.

    :param is_off: whether the task that runs here is not to be guarded.
    """
    global _recorder, _is_switched_off
    _recorder, _is_switched_off = recorder, is_off


@dataclass(frozen=True, slots=True)
class Submission:
    """One call of one service that starts jobs.

    :param operation: its name in the service's API.
    :param joint: what stands between a job's name and the label behind it.
    :param longest_name: bytes that the two may have together.
    """

    service: str
    operation: str
    joint: str = " "
    longest_name: int = LONGEST_NAME

    def named(self, name: str, label: Label | None) -> str:
        """A job's name with the label behind it, or as it was where there is none or both don't fit."""
        bare = without_label(name)
        return with_label(bare, label, self.joint, self.longest_name) if label else bare


def with_label(name: str, label: Label, joint: str = " ", longest: int = LONGEST_NAME) -> str:
    """A name with the label behind it, or as it was where both don't fit."""
    text = f"{name}{joint}{label}"
    return text if len(text.encode("utf-8", "surrogatepass")) <= longest else name


def without_label(name: str) -> str:
    """A name without the label of the job that it was copied from, which names another owner."""
    bare = name
    while found := Label.find(bare):
        bare = bare.replace(str(found), "").rstrip(" -")
    return bare or (UNNAMED if name else "")


class OpenSubmission:
    """A submission by a hook of this package, as it is recorded."""

    def __init__(self, kind: Submission, spec: Callable[[], ClientSpec], scope: str, name: str) -> None:
        self._kind, self._recorder = kind, current_recorder()
        label = self._recorder.label(kind) if self._recorder else None
        self.name = kind.named(name, label)
        """The job's name with the label behind it, or as it was where both don't fit."""
        self._token: str | None = None
        if self._recorder:
            is_labelled = bool(label and Label.find(self.name))
            unlabelled = () if is_labelled else (name,)
            self._token = self._recorder.intend(spec(), scope, unlabelled, is_labelled=is_labelled)

    def started(self, scope: str | None, id: str) -> None:
        """The service accepted it. An answer of a test double is not recorded as a job."""
        if self._token is not None and answered_inside.get():
            log.info(ANSWERED_INSIDE, self._kind.operation)
            self.closed()
        self._tell(lambda recorder, token: recorder.started(token, [(scope, id)]))

    def lost(self) -> None:
        """It is not known whether the service accepted it."""
        self._tell(lambda recorder, token: recorder.lost(token))

    def closed(self) -> None:
        """The service did not accept it."""
        self._tell(lambda recorder, token: recorder.closed(token))

    def _tell(self, outcome: Callable[[Recorder, str], None]) -> None:
        """Record the outcome, once: a submission has one."""
        token, self._token = self._token, None
        if self._recorder and token is not None:
            outcome(self._recorder, token)


@contextmanager
def recorded(
    kind: Submission, spec: Callable[[], ClientSpec], scope: str, name: str
) -> Iterator[OpenSubmission]:
    """Record the submission that is made in this context.

    Call :meth:`OpenSubmission.started` when the service has accepted it. One of our errors means that nothing
    was started, unless :meth:`OpenSubmission.lost` was called before. Whatever else ends it (a time-out of
    the task, a signal) leaves it lost.

    :param spec: gives the client that submits it.
    :param name: of the job; it is to be submitted as :attr:`OpenSubmission.name`.
    :raises SubmissionRefused: a recorder allows no more submissions.
    """
    submission = OpenSubmission(kind, spec, scope, name)
    try:
        yield submission
    except CancelProviderError:
        submission.closed()
        raise
    except BaseException:
        submission.lost()
        raise


def tell_ended(service: str, region: str | None, seen: Sequence[SeenEnd]) -> None:
    """Record jobs that were seen in a terminal state. An error of a recorder is logged, not raised."""
    recorder = current_recorder()
    if recorder is None or not seen:
        return
    try:
        recorder.ended(service, region, seen)
    except Exception:
        # The caller only asked for a job's state, and must not fail for this.
        log.exception("[remote jobs] %d jobs of %s that have ended could not be noted", len(seen), service)
