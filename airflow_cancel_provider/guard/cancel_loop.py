"""Cancel what a try has started, and see it end. Runs in the sentinel, or in a thread of the task."""

from __future__ import annotations

import time
from collections.abc import Callable
from traceback import format_exc

from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.cancellation import (
    UNSEEN_SECONDS,
    Cancellation,
    Log,
    report,
    take_in,
    unknown_to_the_service,
)
from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.guard.client_pool import ClientPool
from airflow_cancel_provider.guard.events import JobsEnded, StartedJob, TryLedger
from airflow_cancel_provider.guard.label_search import LabelSearch
from airflow_cancel_provider.jobs import CancelOutcome, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.record import TryRecord
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.retry import Patience

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
CALL_SECONDS = 5.0
"""Patience of one round of calls; the loop's own patience repeats the rounds."""
AFTER_TROUBLE = 5.0
"""Seconds."""


class CancelLoop:
    """One try's jobs, from the first request to the last seen end.

    A job that this process saw the try start is cancelled at once. A job that is only on record, or that was
    answered to an idempotency token, is looked at first, and left alone where it is another's.

    :param own: the try's label. What an earlier try has left is cancelled if its label shows the same task.
    :param patience: seconds until it gives up, loudly.
    :param escalate_after: seconds after which a job that won't end is forced to.
    :param refresh: called before each round; brings the ledger up to date.
    :param unknown_seconds: for how long it is looked again for jobs that are only on record, and that the
        service does not know; None: as long as for the others.
    """

    def __init__(
        self,
        ledger: TryLedger,
        log: Log,
        *,
        own: Label,
        reason: str,
        patience: float,
        escalate_after: float,
        refresh: Callable[[], None] = lambda: None,
        unknown_seconds: float | None = None,
        cancel_log: CancelLog | None = None,
    ) -> None:
        self._cancel_log = cancel_log
        self.ledger = ledger
        self.log = log
        self.patience = patience
        self._unknown_seconds = patience if unknown_seconds is None else unknown_seconds
        self.started_at = time.monotonic()
        self.cancellation = Cancellation([], reason, escalate_after=escalate_after)
        self._own, self._refresh = own, refresh
        self._pool = ClientPool(self._client, Patience(seconds=CALL_SECONDS, longest_pause=2))
        self._search = LabelSearch(ledger, self._pool.over, log)
        self._known: dict[RemoteJob, StartedJob] = {}
        self._is_ours: dict[RemoteJob, bool] = {}
        """Jobs that had to be looked at first, and whether they are the try's."""
        self._unseen: set[RemoteJob] = set()

    def run(self, say: Callable[[str], None], wait: Callable[[float], None] = time.sleep) -> None:
        """Work until everything has ended or patience runs out, through whatever trouble.

        :param say: told ``accepted`` once every request was answered, and ``ended`` or ``failed`` last.
        """
        while True:
            try:
                return self._work(say, wait)
            except Exception:  # noqa: BLE001  whatever it is, nobody else acts: report it and go on
                self.log.error("Unexpected error while cancelling; trying again:\n%s", format_exc())  # noqa: TRY400
                if self.is_given_up:
                    return say("failed")
                wait(AFTER_TROUBLE)

    def _work(self, say: Callable[[str], None], wait: Callable[[float], None]) -> None:
        pause, said = FIRST_PAUSE, False
        self._take_stock()
        if self._cancel_log:
            self._cancel_log.begin(self._known)
        while True:
            self._take_stock()
            report(self.cancellation.request(self._pool), self.log)
            if not said and self._is_accepted:
                said = True
                say("accepted")
            if self.cancellation.open:
                self._look()
            if self._cancel_log:
                seen = self.cancellation.statuses.values()
                self._cancel_log.ended(seen, self.cancellation.requested_at)
            if self._is_over:
                if self._cancel_log:
                    self._cancel_log.close()
                say(self._close())
                return
            wait(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)

    @property
    def is_given_up(self) -> bool:
        """Whether patience has run out."""
        return self._seconds > self.patience

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self.started_at

    @property
    def _unclear(self) -> list[RemoteJob]:
        """Jobs that are to be looked at before they are cancelled."""
        return [
            job for job, known in self._known.items() if not known.is_certain and job not in self._is_ours
        ]

    @property
    def _is_accepted(self) -> bool:
        results = self.cancellation.results
        unanswered = (CancelOutcome.UNANSWERED, CancelOutcome.REFUSED)
        is_late = any(map(self.cancellation.may_appear, self.cancellation.jobs))
        return (
            self._search.has_answers
            and not is_late
            and not self._unclear
            and all(
                job in results and results[job].outcome not in unanswered for job in self.cancellation.jobs
            )
        )

    @property
    def _is_over(self) -> bool:
        if self.is_given_up:
            return True
        unclear = set(self._unclear)
        if self._seconds > self._unknown_seconds:
            unclear -= self._unseen
        return not self.cancellation.open and not unclear and self._search.is_over

    def _take_stock(self) -> None:
        self._refresh()
        self._search.update()
        # A job that was released meanwhile is in it no more.
        found = {job: known for job, known in self._search.found.items() if not self.ledger.is_released(job)}
        started = self.ledger.started
        self._known = found | {job: known for job, known in started.items() if known.client is not None}
        self._look_at_unclear()
        ours = [job for job, known in self._known.items() if known.is_certain or self._is_ours.get(job)]
        self.cancellation.taken_at = {job: self._known[job].at for job in ours}
        self.cancellation.jobs = ours

    def _look_at_unclear(self) -> None:
        for status in self._seen(
            self._unclear, "Not cancelled before they were looked at; looking again later"
        ):
            self._judge(status)

    def _judge(self, status: JobStatus) -> None:
        """Decide whether a job is this try's, now that it was looked at."""
        job = status.job
        known = self._known[job]
        if status.state is JobState.GONE:
            self._missed(job, known)
            return
        not_before = {job: known.not_before} if known.not_before else {}
        ti_id = known.ti_id or self._own.ti_id
        task = self._own.task if ti_id != self._own.ti_id else None
        why = TryRecord(ti_id, not_before=not_before).foreign(status, self._own.deployment, task)
        if why is not None:
            self.log.warning("%s is left alone, as it is not this try's: %s", job, why)
        self._is_ours[job] = why is None

    def _missed(self, job: RemoteJob, known: StartedJob) -> None:
        """Only the identity that submitted a job can tell that it is gone."""
        if known.ti_id is None:
            if time.time() - known.at > UNSEEN_SECONDS:
                self._is_ours[job] = False
        elif job not in self._unseen:
            self._unseen.add(job)
            self.log.warning("%s: %s Looking again later.", job, unknown_to_the_service(job))

    def _look(self) -> None:
        take_in(self.cancellation, self._seen(self.cancellation.open, "Looking again later"), self.log)
        report(self.cancellation.act(self._pool), self.log)

    def _seen(self, jobs: list[RemoteJob], otherwise: str) -> list[JobStatus]:
        """States of jobs; one by one, as what one identity may not look at must not hide the others' jobs."""
        seen: list[JobStatus] = []
        for _, some in self._pool.by_service(jobs):
            try:
                statuses, unknown = self._pool.described(some)
            except CancelProviderError as error:
                self.log.warning("%s %s: %s", error, otherwise, ", ".join(some))
            else:
                seen += [
                    *statuses,
                    *(JobStatus(job, JobState.GONE, reason=str(unknown[job])) for job in unknown),
                ]
        return seen

    def _client(self, job: RemoteJob) -> ClientSpec:
        known = self._known.get(job)
        if known is None or known.client is None:
            raise InvalidInput(f"{job} can't be reached: how it was submitted is not known.")
        return known.client

    def _close(self) -> str:
        left = [*self.cancellation.open, *self._unclear]
        if not left:
            # Who is told again to cancel has nothing to do.
            ends = self._cancel_log.ends if self._cancel_log else {}
            self.ledger.apply(JobsEnded(tuple(self.cancellation.jobs), ends))
            refused = [r for r in self.cancellation.results.values() if r.outcome is CancelOutcome.REFUSED]
            return "failed" if refused else "ended"
        self.log.error("Gave up after %.0f s; these jobs may still be running:", self._seconds)
        for job in left:
            self.log.error("%s", self._last_seen(job))
        return "failed"

    def _last_seen(self, job: RemoteJob) -> object:
        if job in self._unseen and job not in self._is_ours:
            return f"{job}: {unknown_to_the_service(job)}"
        return self.cancellation.statuses.get(job) or self.cancellation.results.get(job) or f"{job}: not seen"
