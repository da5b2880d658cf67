"""Record the submissions of one try, and give the labels for its jobs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import count
from typing import Any
from weakref import WeakSet

from airflow_cancel_provider.engine.label_search import Intent
from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.guard.client_pool import client_of
from airflow_cancel_provider.guard.events import (
    AttemptLost,
    Event,
    JobsEnded,
    JobsPlaced,
    JobsReleased,
    JobsStarted,
    SubmissionClosed,
    SubmissionIntended,
)
from airflow_cancel_provider.guard.forks import SharedFlag, is_alive
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import SeenEnd
from airflow_cancel_provider.settings import Settings

FOUND_BY_LABEL = "If this task fails, living jobs with its label are looked for and cancelled."
NOT_FOUND = "If this task fails, what it started may run on: it carries no label to be found by."


class TryRecorder:
    """The label and the ledger of one try; refuses submissions after a kill.

    See :class:`~airflow_cancel_provider.services.submissions.Recorder`. Only what is submitted before
    ``execute`` ends belongs to the try, and what threads submit that it has left running. What the operator's
    ``on_kill`` and callbacks submit does not.

    :param goes_on: whether the next try takes over the jobs.
    :param is_reported: tells whether Airflow has recorded how the try ended: its callbacks are at work then.
    """

    def __init__(
        self,
        owner: Owner,
        settings: Settings,
        log: Any,
        ledger: TryLedger,
        *,
        goes_on: bool = False,
        is_reported: Callable[[], bool] = lambda: False,
    ) -> None:
        self._owner, self._settings, self._log = owner, settings, log
        self._goes_on, self._is_reported = goes_on, is_reported
        self._tokens = count(1)
        self._pid = os.getpid()
        self._clean_up_beside: WeakSet[threading.Thread] | None = None
        """While clean-up code runs: the threads that ran before it."""
        self._left: WeakSet[threading.Thread] = WeakSet()
        """Threads that ran on when ``execute`` ended: a pool works off its queue even then."""
        self._reported: set[str] = set()
        self._interrupted: list[Event] = []
        """Events that a signal has kept from some of the readers."""
        self.ledger = ledger
        self.sentinel_over: Callable[[TryLedger], AbstractContextManager[None]] = lambda _: nullcontext()
        """Has the jobs of another ledger cancelled if the task is killed."""
        self.readers: list[Callable[[Event], None]] = []
        """Called with each event; an error of one does not stop the others."""
        self.is_killed = SharedFlag()
        """Whether the task received SIGTERM: then it, and its forked children, may not start more jobs."""
        self.is_failed = SharedFlag()
        """Whether the task has failed: then its threads and forked children may not start more jobs."""
        self.is_over = False
        """Whether ``execute`` has ended; not in a child that was forked before, which works on."""
        self._has_ended = SharedFlag()
        """The same, in all of them."""

    @property
    def is_empty(self) -> bool:
        """Whether no job was started, and no submission is open."""
        return self.ledger.is_empty

    def cancels(self, job: RemoteJob) -> bool:
        """Whether this job is cancelled however the task fails, and not kept for the next try."""
        return not self._goes_on and self.ledger.is_running(job)

    @contextmanager
    def if_killed(self, groups: Iterable[tuple[ClientSpec, Sequence[RemoteJob]]]) -> Iterator[None]:
        """While this lasts, have jobs that are not of the try cancelled if its process is killed.

        :param groups: jobs, each with how they are reached.
        """
        ledger = TryLedger()
        for client, jobs in groups:
            ledger.apply(JobsStarted("", tuple(jobs), client, ledger.clock.now()))
        with self.sentinel_over(ledger):
            yield

    def label(self, submission: object) -> Label | None:
        """The label for a job, if it gets one.

        :raises SubmissionRefused: the task received SIGTERM, or has failed.
        """
        if not self._is_own:
            return None
        self._refuse_after_end()
        return self._label

    def carrier(self, service: str) -> str | None:
        """The field of a service's jobs that carries the label, where there is a choice."""
        return self._settings.carriers.get(service)

    def intend(
        self, client: ClientSpec, scope: str | None, unlabelled: tuple[str, ...], *, is_labelled: bool
    ) -> str | None:
        """Record a submission that is about to be sent, and return its token.

        :param unlabelled: names of its jobs that carry no label.
        :raises SubmissionRefused: the task received SIGTERM, or has failed.
        """
        if not self._is_own:
            return None
        self._refuse_after_end()
        token = f"{_here()}{next(self._tokens)}"
        label = self._label if is_labelled else None
        self.tell(SubmissionIntended(token, client, scope, label, unlabelled, self.ledger.clock.now()))
        return token

    def lost(self, token: str) -> None:
        """Record that the outcome of an attempt that was sent is not known."""
        if intent := self.ledger.intent(token):
            self._log.warning(
                "It is not known whether the service carried out %s. If it is repeated, it may be carried "
                "out twice. %s",
                intent,
                FOUND_BY_LABEL if intent.stored.label else NOT_FOUND,
            )
            if intent.stored.label:
                self._say_unlabelled(intent, "jobs that may have been started")
            self.tell(AttemptLost(token, self.ledger.clock.now()))

    def started(self, token: str, jobs: Sequence[tuple[str | None, str]], not_before: float = 0.0) -> None:
        """Record that the service accepted a submission.

        :raises Killed: the task received SIGTERM meanwhile.
        """
        intent = self.ledger.intent(token)
        if intent is None or intent.client is None:
            self.unguarded(f"jobs whose submission is not known: {', '.join(job_id for _, job_id in jobs)}")
            return
        addresses = tuple(intent.client.address(scope, job_id) for scope, job_id in jobs)
        self.tell(JobsStarted(token, addresses, intent.client, self.ledger.clock.now(), not_before))
        self._end_if_killed(addresses)

    def placed(self, token: str, scope: str) -> None:
        """Record that the service accepted a submission whose jobs are known by scope and label alone."""
        intent = self.ledger.intent(token)
        self.tell(JobsPlaced(token, scope, self.ledger.clock.now()))
        if intent:
            self._say_unlabelled(intent, f"jobs that are in {scope}")

    def _say_unlabelled(self, intent: Intent, which: str) -> None:
        """Log which jobs of a submission can't be found: of several, only some may carry the label."""
        if intent.unlabelled:
            self.unguarded(f"{which} without a label: {', '.join(intent.unlabelled)}")

    def closed(self, token: str) -> None:
        """Record that a submission started nothing (more)."""
        self.tell(SubmissionClosed(token))

    def ended(self, service: str, region: str | None, seen: Sequence[SeenEnd]) -> None:
        """Record jobs that were seen in a terminal state."""
        ends = {
            job: JobEnd.seen(JobStatus(job, state), Actor.SERVICE, "")
            for scope, job_id, state in seen
            for job in self.ledger.find(service, scope, job_id)
            if self.ledger.is_running(job) and (region is None or job.region in (None, region))
        }
        if ends:
            self.tell(JobsEnded(tuple(ends), ends))

    def unguarded(self, why: str) -> None:
        """Log that something is not guarded, and why; the same once."""
        if why not in self._reported:
            self._reported.add(why)
            self._log.warning("Not guarded: %s", why)

    def track(self, job: RemoteJob) -> None:
        """Guard a job whose submission was not captured; it is reached over the connection in its address.

        :raises Killed: the task received SIGTERM.
        """
        self.tell(JobsStarted("", (job,), client_of(Access(), job), ti_id=self._owner.ti_id))
        self._end_if_killed((job,))

    def release(self, job: RemoteJob) -> None:
        """Leave a job running however the task ends, whatever connection its address names."""
        known = {each.identity for each in self.ledger.find(*job.identity)}
        if job.identity not in known and not self.ledger.is_released(job):
            self._log.warning("This task has not started %s, which it releases: is the address right?", job)
        if os.getpid() != self._pid:
            self._log.warning(
                "%s is released in a forked child, so its release is on no record: if the task fails, a "
                "later try or the reaper may cancel it. Release it in the task itself.",
                job,
            )
        self.tell(JobsReleased((job,)))

    @contextmanager
    def clean_up(self) -> Iterator[None]:
        """Run clean-up code: what it submits, also in threads that it starts, does not belong to the try."""
        before, self._clean_up_beside = self._clean_up_beside, _other_threads()
        try:
            yield
        finally:
            self._clean_up_beside = before

    def end(self, *, is_successful: bool) -> None:
        """Note that ``execute`` has ended.

        :param is_successful: whether the jobs that its threads still start are nobody's to cancel.
        """
        self._left = WeakSet() if is_successful else _other_threads()
        self.is_over = True
        self._has_ended.set()

    def tell(self, event: Event) -> None:
        """Apply an event to the ledger, then pass it on to every reader."""
        try:
            self.ledger.apply(event)
            for reader in self.readers:
                self._pass_on(event, reader)
        except BaseException:  # a kill or a time-out of the task; readers may be waiting for a network
            self._interrupted.append(event)
            raise

    def tell_again(self) -> None:
        """Pass the events on that a signal has interrupted."""
        events, self._interrupted = self._interrupted, []
        for event in events:
            self.tell(event)

    def _pass_on(self, event: Event, reader: Callable[[Event], None]) -> None:
        try:
            reader(event)
        except Exception as trouble:  # noqa: BLE001  reported; the other readers still get the event
            self.unguarded(f"an event ({type(event).__name__}) that could not be handled: {trouble!r}")

    @property
    def is_submitting_here(self) -> bool:
        """Whether a submission of this thread is waiting for its answer."""
        here = _here()
        return any(each.is_under_way and each.token.startswith(here) for each in self.ledger.intents)

    def _end_if_killed(self, jobs: tuple[RemoteJob, ...]) -> None:
        """End code that has started jobs in a task that received SIGTERM: with it they are cancelled."""
        if self.is_killed:
            raise Killed("The task was killed while it started a job, which is being cancelled.", jobs)

    def _refuse_after_end(self) -> None:
        if self.is_killed:
            raise SubmissionRefused("This task received SIGTERM; it may not start more remote jobs.")
        if self.is_failed:
            raise SubmissionRefused("This task has failed; it may not start more remote jobs.")
        if not self._has_ended and not is_alive(self._pid):
            raise SubmissionRefused("This task's process was killed; it may not start more remote jobs.")

    @property
    def _is_own(self) -> bool:
        """Whether the calling code is the task's own work, and not a callback or clean-up code."""
        if self.is_over or self._is_reported():
            return threading.current_thread() in self._left
        beside = self._clean_up_beside
        return beside is None or threading.current_thread() in beside

    @property
    def _label(self) -> Label | None:
        return replace(self._owner.label, reconnects=self._goes_on) if self._settings.labels else None


def _here() -> str:
    """How the tokens of this thread's submissions begin; a forked child has tokens of its own."""
    return f"{os.getpid()}.{threading.get_ident()}."


def _other_threads() -> WeakSet[threading.Thread]:
    """The threads that run now, without the calling one. Not their ids, which later threads get again."""
    return WeakSet(set(threading.enumerate()) - {threading.current_thread()})
