"""Cancel what a dead or dying task has started, and see it end. Runs in the sentinel, or in a thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from airflow_cancel_provider.cancelling import Cancellation, Log, look, report
from airflow_cancel_provider.exceptions import CancelProviderError, ServiceError
from airflow_cancel_provider.jobs import CancelOutcome, RemoteJob
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.lines import Line
from airflow_cancel_provider.services.opening import open_line
from airflow_cancel_provider.services.patience import Patience
from airflow_cancel_provider.services.reach import Reach
from airflow_cancel_provider.services.submissions import Intent

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
SEARCH_SECONDS = 60.0
"""For how long a job is looked for whose submission was under way when the task died."""
CALL_SECONDS = 5.0
"""Patience of one round of calls; the undertaking's own patience repeats the rounds."""


class Estate(Protocol):
    """What a task leaves behind; may still grow while it is being dealt with."""

    def jobs(self) -> Iterable[RemoteJob]:
        """Addresses of what was started."""
        ...

    def intents(self) -> Iterable[Intent]:
        """Submissions without an answer."""
        ...

    def line(self, job: RemoteJob) -> Line:
        """How to reach a job's service."""
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
        self._reach = Reach(self._open)
        self._lines: dict[tuple[str, str | None, str | None], Line] = {}
        self._searching: dict[str, Intent] = {}
        self._found_tokens: set[str] = set()

    def run(self, say: Callable[[str], None], wait: Callable[[float], None] = time.sleep) -> bool:
        """Work until everything has ended or patience runs out; whether everything has.

        :param say: told ``accepted`` once every request was answered, and ``ended`` or ``failed`` last.
        """
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
                return self._close(say)
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
        return not self._searching and all(
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
        for token, intent in intents.items():
            for job in self._found(intent) if token not in self._found_tokens else ():
                # One submission is taken as a whole, so where there is one job there are all of them.
                self._found_tokens.add(token)
                self._add(job)
        self._searching = {token: intents[token] for token in intents if token not in self._found_tokens}

    def _add(self, job: RemoteJob) -> None:
        if job not in self.cancellation.jobs:
            self.cancellation.jobs.append(job)

    def _request_new(self) -> None:
        for job in self.estate.jobs():
            self._lines.setdefault((job.service, job.conn_id, job.region), self.estate.line(job))
            self._add(job)
        report(self.cancellation.request(self._reach), self.log)

    def _look(self) -> None:
        try:
            look(self.cancellation, self._reach, self.log)
        except CancelProviderError as error:
            self.log.error("%s", error)  # noqa: TRY400  the words say it all

    def _found(self, intent: Intent) -> Iterable[RemoteJob]:
        """Jobs that carry the label of a submission whose answer was lost."""
        label = intent.label
        if label is None or intent.scope is None:
            return
        line = intent.line
        key = (line.service, line.conn_id, line.region)
        self._lines.setdefault(key, line)
        try:
            yield from self._reach.service(*key).labelled(intent.scope, label)
        except ServiceError as error:
            self.log.warning("%s Searching again later.", error)

    def _open(self, service: str, conn_id: str | None, region: str | None) -> JobService:
        return open_line(
            self._lines[service, conn_id, region], Patience(seconds=CALL_SECONDS, longest_pause=2)
        )

    def _close(self, say: Callable[[str], None]) -> bool:
        if not self.cancellation.open:
            refused = [r for r in self.cancellation.results.values() if r.outcome is CancelOutcome.REFUSED]
            say("failed" if refused else "ended")
            return not refused
        self.log.error("Gave up after %s s; these may still be running:", self.patience)
        for job in self.cancellation.open:
            self.log.error(
                "%s", self.cancellation.statuses.get(job) or self.cancellation.results.get(job) or job
            )
        say("failed")
        return False
