"""Cancel the jobs of a try, and wait for their end. Runs in the sentinel, or in a thread of the task."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from math import inf
from traceback import format_exc

from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.engine.cancel import CancelEngine, Claim
from airflow_cancel_provider.engine.label_search import Intent, LabelSearch
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.guard.client_pool import ClientPool
from airflow_cancel_provider.guard.events import JobsEnded
from airflow_cancel_provider.guard.ledger import StartedJob, TryLedger
from airflow_cancel_provider.jobs import CancelOutcome, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.record import TryRecord
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.task_log import Log

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 10.0
CALL_SECONDS = 5.0
"""Seconds for which one round of calls is retried; the loop repeats the rounds."""
AFTER_TROUBLE = 5.0
"""Seconds."""


class LedgerClaimant:
    """The jobs of a try's ledger, reached with the clients that submitted them, for :class:`CancelEngine`."""

    def __init__(self, ledger: TryLedger, log: Log, own: Label, reason: str) -> None:
        self.log, self.reason = log, reason
        self.pool = ClientPool(self._client, Patience(seconds=CALL_SECONDS, longest_pause=2))
        self._ledger, self._own = ledger, own
        self._known: dict[RemoteJob, StartedJob] = {}
        self.search = LabelSearch(
            self._searchable,
            lambda: [*ledger.jobs, *ledger.released],
            self._service,
            log,
            ledger.clock,
        )

    def _searchable(self) -> list[Intent]:
        """Submissions whose jobs can be told by their label: others of it may have been released."""
        spared = self._ledger.has_unknown_releases
        return [each for each in self._ledger.intents if each.client and (each.ti_id or not spared)]

    def claims(self) -> dict[RemoteJob, Claim]:
        """Every job that can be reached and was not released."""
        found = {job: StartedJob(by.client, ti_id=by.ti_id) for job, by in self.search.found.items()}
        found = {job: known for job, known in found.items() if not self._ledger.is_released(job)}
        started = self._ledger.started.items()
        self._known = found | {job: known for job, known in started if known.client is not None}
        return {job: self._claim(known) for job, known in self._known.items()}

    def _claim(self, known: StartedJob) -> Claim:
        objection = None if known.is_certain else partial(self._objection, known)
        return Claim(objection, known.at, is_by_submitter=known.ti_id is None)

    def _objection(self, known: StartedJob, status: JobStatus) -> str | None:
        not_before = {status.job: known.not_before} if known.not_before else {}
        ti_id = known.ti_id or self._own.ti_id
        task = self._own.task if ti_id != self._own.ti_id else None
        return TryRecord(ti_id, not_before=not_before).foreign(status, self._own.deployment, task)

    def _client(self, job: RemoteJob) -> ClientSpec:
        known = self._known.get(job)
        if known is None or known.client is None:
            raise InvalidInput(f"{job} can't be reached: how it was submitted is not known.")
        return known.client

    def _service(self, intent: Intent) -> JobService:
        if intent.client is None:
            raise InvalidInput(f"How {intent} was made is not known.")
        return self.pool.over(intent.client)


class CancelLoop:
    """Cancels the jobs of one try, from the first request until all have ended.

    A job whose submission this process recorded is cancelled at once. A job that is only on record, or that
    was answered to an idempotency token of the user's, is described first, and left alone if it belongs to
    another try.

    :param own: the try's label. What an earlier try has left is cancelled if its label shows the same task.
    :param patience: seconds until it gives up, and logs which jobs may still be running.
    :param escalate_after: seconds after which a harder cancel is requested, where there is one.
    :param refresh: called before each round; brings the ledger up to date.
    :param unknown_seconds: as for :class:`CancelEngine`.
    :param cancel_log: logs how the jobs have ended; None: that is not logged.
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
        unknown_seconds: float = inf,
        cancel_log: CancelLog | None = None,
    ) -> None:
        self.ledger, self.log = ledger, log
        self._refresh, self._cancel_log = refresh, cancel_log
        self._given_up_at = time.monotonic() + patience
        claimant = LedgerClaimant(ledger, log, own, reason)
        self.engine = CancelEngine(
            [claimant],
            claimant.pool,
            escalate_after=escalate_after,
            unknown_seconds=unknown_seconds,
            clock=ledger.clock,
        )

    def run(self, say: Callable[[str], None], wait: Callable[[float], None] = time.sleep) -> None:
        """Cancel until everything has ended or patience runs out; after an error the round is repeated.

        :param say: gets ``accepted`` once every request was answered, and ``ended`` or ``failed`` last.
        """
        pause, is_said = FIRST_PAUSE, False
        self._begin()
        while True:
            try:
                self._refresh()
                self._step()
                if not is_said and self.engine.is_accepted:
                    is_said = True
                    say("accepted")
                is_over = self.engine.is_done
            except Exception:  # noqa: BLE001  reported; no other process cancels these jobs, so go on
                self.log.error("Unexpected error while cancelling; trying again:\n%s", format_exc())  # noqa: TRY400
                pause, is_over = AFTER_TROUBLE, False
            if is_over or time.monotonic() > self._given_up_at:
                return say(self._close())
            wait(min(pause, self.engine.unknown_seconds_left or pause))
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _begin(self) -> None:
        """Log what is about to be cancelled; who could not reach a job has logged that."""
        jobs = [job for job, known in self.ledger.started.items() if known.client]
        if jobs or any(intent.client for intent in self.ledger.intents):
            self._write(lambda log: log.begin(jobs))

    def _step(self) -> None:
        self.engine.step()
        self._write(lambda log: log.ended(self.engine.cancellation))

    def _write(self, write: Callable[[CancelLog], None]) -> None:
        if self._cancel_log is None:
            return
        try:
            write(self._cancel_log)
        except Exception as error:  # noqa: BLE001  reported; an error of the log must not stop the cancel
            self.log.warning("How remote jobs have ended could not be logged: %r", error)

    def _close(self) -> str:
        self._write(lambda log: log.close())
        if self.engine.close():
            return "failed"
        cancellation = self.engine.cancellation
        # A second cancel then has nothing to do.
        self.ledger.apply(
            JobsEnded(tuple(cancellation.jobs), self._cancel_log.ends if self._cancel_log else {})
        )
        is_refused = any(r.outcome is CancelOutcome.REFUSED for r in cancellation.results.values())
        return "failed" if is_refused else "ended"
