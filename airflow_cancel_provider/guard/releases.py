"""What a try lets live on, in an Airflow Variable: that outlives the task, its run and its XCom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Thread
from uuid import UUID

from airflow_cancel_provider.cancellation import Log
from airflow_cancel_provider.guard.client_pool import ClientPool, client_of
from airflow_cancel_provider.guard.events import Event, JobsEnded, JobsReleased, TryLedger
from airflow_cancel_provider.guard.store import GROWTH, WRITTEN_EACH, RecordStore
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Owner, release_key
from airflow_cancel_provider.release import MOST_JOBS
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.retry import Patience

LOOK_SECONDS = 5.0
"""For how long a resumed task that has succeeded looks whether its jobs have ended."""
"""Addresses that are spelled out."""


class Releases:
    """Writes the Variable of a try, and those of earlier tries whose jobs it took over."""

    def __init__(self, owner: Owner, ledger: TryLedger, store: RecordStore, log: Log) -> None:
        self._owner, self._ledger, self._store, self._log = owner, ledger, store, log
        self._all = False
        self._written = 0
        """How many of the try's releases are in its Variable."""
        self._others: set[UUID] = set()

    def hear(self, event: Event) -> None:
        """Take an event of the ledger."""
        if isinstance(event, JobsReleased) and self._store.may_write():
            new = len(self._ledger.released) - self._written
            if self._written <= WRITTEN_EACH or new * GROWTH >= self._written:
                self.flush()

    def flush(self) -> None:
        """Write the releases that were not written yet."""
        released = self._ledger.released
        if len(released) > self._written and self._store.may_write():
            self._write(self._owner.ti_id, released, is_all=self._all)
            self._written = len(released)

    def succeeded(self, found: Sequence[RemoteJob] = ()) -> None:
        """Before success is reported: everything that is not known to have ended may live on.

        :param found: jobs that carry the try's label, beside those that it knows.
        """
        if not self._store.may_write():
            return
        self._look_at_inherited()
        started = self._ledger.started
        own = [job for job, known in started.items() if known.ti_id in (None, self._owner.ti_id)]
        living = [*own, *found]
        # What a submission has led to and is not known by its address may live on, too.
        if living or any(intent.stored.label for intent in self._ledger.intents):
            self._all = self._write(self._owner.ti_id, [*living, *self._ledger.released], is_all=True)
        else:
            self.flush()
        others: dict[UUID, list[RemoteJob]] = {}
        for job, known in started.items():
            if known.ti_id and job not in own:
                others.setdefault(known.ti_id, []).append(job)
        for ti_id, jobs in others.items():
            self._write(ti_id, jobs, is_all=False)
        self._others = set(others)

    def withdraw(self) -> None:
        """The task fails after all: only what was released by its own word lives on."""
        if not self._all and not self._others:
            self.flush()
            return
        keys = {*self._others, *([self._owner.ti_id] if self._all else [])}
        self._all, self._others, self._written = False, set(), 0
        for ti_id in keys:
            self._store.report_failure("The withdrawal of a release", lambda: _delete(ti_id))  # noqa: B023
        self.flush()

    def _write(self, ti_id: UUID, jobs: Sequence[RemoteJob], *, is_all: bool) -> bool:
        value = {
            "all": is_all,
            "jobs": [str(job) for job in dict.fromkeys(jobs)][:MOST_JOBS],
            "at": datetime.now(UTC).isoformat(),
            "task": self._owner.task,
        }
        what = (
            f"That {len(jobs)} remote jobs may live on (Variable {release_key(ti_id)}; without it the reaper "
        )
        what += "may cancel them when the Dag run is deleted)"
        return self._store.report_failure(what, lambda: _set(ti_id, value))

    def _look_at_inherited(self) -> None:
        """One look at jobs from before this process; what does not answer in time counts as living."""
        clients: dict[RemoteJob, ClientSpec] = {}
        for job, known in self._ledger.started.items():
            if known.client is None:
                try:
                    clients[job] = client_of(job)
                except Exception as error:  # noqa: BLE001  connections have errors of their own
                    self._log.info("Whether %s has ended is not known: %s", job, error)
        if not clients:
            return
        seen: list[JobStatus] = []
        thread = Thread(target=self._describe, args=(clients, seen), name="remote-jobs-look", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            return
        thread.join(LOOK_SECONDS)
        ended = (s.job for s in list(seen) if s.state.is_terminal and s.state is not JobState.GONE)
        self._ledger.apply(JobsEnded(tuple(ended)))

    def _describe(self, clients: dict[RemoteJob, ClientSpec], seen: list[JobStatus]) -> None:
        pool = ClientPool(clients.__getitem__, Patience(seconds=LOOK_SECONDS / 2))
        for service, jobs in pool.by_service(list(clients)):
            try:
                seen.extend(service.describe(jobs))
            except Exception as error:  # noqa: BLE001  it is only a look
                self._log.info("Whether %s have ended is not known: %s", ", ".join(jobs), error)


def _set(ti_id: UUID, value: dict[str, object]) -> None:
    from airflow_cancel_provider.version_compat import Variable

    words = "Remote jobs that their task has let go; the reaper removes this when they have ended"
    Variable.set(release_key(ti_id), value, description=words, serialize_json=True)


def _delete(ti_id: UUID) -> None:
    from airflow_cancel_provider.version_compat import Variable

    Variable.delete(release_key(ti_id))
