"""Cancel what a dead or dying task has started, and see it end. Runs in the sentinel, or in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from traceback import format_exc
from typing import Protocol

from airflow_cancel_provider.cancelling import Cancellation, Log, report, take_in
from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.guard.reaching import LineReach
from airflow_cancel_provider.jobs import CancelOutcome, RemoteJob, released_key
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.patience import Patience
from airflow_cancel_provider.services.submissions import Intent

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
SEARCH_SECONDS = 60.0
"""For how long a job is looked for whose submission was under way when the task died."""
CALL_SECONDS = 5.0
"""Patience of one round of calls; the undertaking's own patience repeats the rounds."""
AFTER_TROUBLE = 5.0
"""Seconds."""


class Estate(Protocol):
    """What a task leaves behind; may still grow while it is being dealt with."""

    def jobs(self) -> Iterable[RemoteJob]:
        """Addresses of what was started."""
        ...

    def intents(self) -> Iterable[Intent]:
        """Submissions without an answer."""
        ...

    def released(self) -> Collection[str]:
        """What is to live on: ``released_key`` of each of these jobs."""
        ...

    def line(self, job: RemoteJob) -> ClientSpec:
        """How to reach the service of one of these jobs, as the client did that submitted it."""
        ...

    def taken_at(self, job: RemoteJob) -> float:
        """When the service took one of these jobs, in epoch seconds; 0 for long ago."""
        ...


class Undertaking:
    """One task's jobs, from the first request to the last seen end.

    :param patience: seconds until it gives up, loudly.
    :param escalate_after: seconds after which a job that won't end is forced to.
    """

    def __init__(
        self, estate: Estate, reason: str, log: Log, *, patience: float, escalate_after: float
    ) -> None:
        self.estate = estate
        self.log = log
        self.patience = patience
        self.started_at = time.monotonic()
        self.cancellation = Cancellation([], reason, escalate_after=escalate_after)
        self._reach = LineReach(self._line, Patience(seconds=CALL_SECONDS, longest_pause=2))
        self._found_over: dict[RemoteJob, ClientSpec] = {}
        self._searching: dict[str, Intent] = {}
        self._found_tokens: set[str] = set()

    def run(self, say: Callable[[str], None], wait: Callable[[float], None] = time.sleep) -> None:
        """Work until everything has ended or patience runs out, through whatever trouble.

        :param say: told ``accepted`` once every request was answered, and ``ended`` or ``failed`` last.
        """
        while True:
            try:
                return self._work(say, wait)
            except Exception:  # noqa: BLE001  whatever it is, there is nobody else: say it, and go on
                self.log.error("Something unforeseen; going on:\n%s", format_exc())  # noqa: TRY400
                if self.is_given_up:
                    return say("failed")
                wait(AFTER_TROUBLE)

    def _work(self, say: Callable[[str], None], wait: Callable[[float], None]) -> None:
        pause, said = FIRST_PAUSE, False
        while True:
            self._take_stock()
            self._request_new()
            if not said and self._is_accepted:
                said = True
                say("accepted")
            if self.cancellation.jobs:
                self._look()
            if self._is_over:
                say(self._close())
                return
            wait(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    @property
    def is_given_up(self) -> bool:
        """Whether patience has run out."""
        return time.monotonic() - self.started_at > self.patience

    @property
    def _is_accepted(self) -> bool:
        results = self.cancellation.results
        unanswered = (CancelOutcome.UNANSWERED, CancelOutcome.REFUSED)
        is_late = any(map(self.cancellation.may_appear, self.cancellation.jobs))
        return not (self._searching or is_late) and all(
            job in results and results[job].outcome not in unanswered for job in self.cancellation.jobs
        )

    @property
    def _is_over(self) -> bool:
        if self.is_given_up:
            return True
        elapsed = time.monotonic() - self.started_at
        return not self.cancellation.open and (not self._searching or elapsed > SEARCH_SECONDS)

    def _take_stock(self) -> None:
        intents = {intent.token: intent for intent in self.estate.intents()}
        for token in intents.keys() - self._found_tokens:
            # The label is that of all jobs of the try: those of its other submissions are not this one's.
            others = {*map(released_key, [*self.estate.jobs(), *self._found_over]), *self.estate.released()}
            for job in self._found(intents[token]):
                # One submission is taken as a whole, so where there is one job there are all of them.
                if released_key(job) not in others:
                    self._found_tokens.add(token)
                    self._found_over[job] = intents[token].line
        self._searching = {token: intents[token] for token in intents if token not in self._found_tokens}

    def _request_new(self) -> None:
        taken_at = {job: self.estate.taken_at(job) for job in self.estate.jobs()}
        self.cancellation.taken_at = taken_at
        # A job that was released meanwhile is in it no more.
        released = self.estate.released()
        found = [job for job in self._found_over if released_key(job) not in released]
        self.cancellation.jobs = list(dict.fromkeys([*taken_at, *found]))
        report(self.cancellation.request(self._reach), self.log)

    def _look(self) -> None:
        # One by one: what one identity may not look at must not hide the jobs of the others.
        for service, jobs in self._reach.by_service(self.cancellation.open):
            try:
                take_in(self.cancellation, service.describe(jobs), self.log)
            except CancelProviderError as error:
                self.log.error("%s", error)  # noqa: TRY400  the words say it all
        report(self.cancellation.act(self._reach), self.log)

    def _found(self, intent: Intent) -> Iterable[RemoteJob]:
        """Jobs that carry the label of a submission whose answer was lost."""
        if intent.label is None or intent.scope is None:
            return
        try:
            yield from self._reach.over(intent.line).labelled(intent.scope, intent.label)
        except CancelProviderError as error:
            self.log.warning("%s Searching again later.", error)

    def _line(self, job: RemoteJob) -> ClientSpec:
        return self._found_over.get(job) or self.estate.line(job)

    def _close(self) -> str:
        if not self.cancellation.open:
            refused = [r for r in self.cancellation.results.values() if r.outcome is CancelOutcome.REFUSED]
            return "failed" if refused else "ended"
        self.log.error("Gave up after %s s; these may still be running:", self.patience)
        for job in self.cancellation.open:
            self.log.error(
                "%s", self.cancellation.statuses.get(job) or self.cancellation.results.get(job) or job
            )
        return "failed"
