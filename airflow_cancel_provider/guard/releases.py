"""Write what a try has released to an Airflow Variable, which survives the Dag run and its XCom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import RLock, Thread
from uuid import UUID

from airflow_cancel_provider.guard.client_pool import ClientPool, client_of
from airflow_cancel_provider.guard.events import Event, JobsEnded, JobsReleased
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.store import GROWTH, WRITTEN_EACH, RecordStore
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.variables import read_release, write_release
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Owner, release_key
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.retry import Patience
from airflow_cancel_provider.task_log import Log

DESCRIBE_SECONDS = 5.0
"""Longest time for which a task that has succeeded checks whether jobs from before a deferral have ended."""
_BY_HAND = '{"all": true, "jobs": []}'


class Releases:
    """Writes the Variable of a try, and those of earlier tries whose jobs it took over.

    What is in a Variable already is kept: it is read before the first write.
    """

    def __init__(self, owner: Owner, ledger: TryLedger, store: RecordStore, access: Access, log: Log) -> None:
        self._owner, self._ledger, self._store = owner, ledger, store
        self._access, self._log = access, log
        self._before: dict[UUID, Release | None] = {}
        """The contents of the Variables before this process wrote to them."""
        self._withdrawable: set[UUID] = set()
        """Tries whose jobs were released because the task has succeeded."""
        self._released: dict[tuple[str, str | None, str], RemoteJob] = {}
        """What this process has released. The ledger also has the releases of earlier tries."""
        self._written = 0
        """How many of them were in the last attempt to write the Variable."""
        self._has_failed = False
        """Whether the last of these attempts has failed."""
        self._lock = RLock()
        """Two threads may release at the same time."""

    def hear(self, event: Event) -> None:
        """Write releases if it is time."""
        if not isinstance(event, JobsReleased):
            return
        self._released |= {job.identity: job for job in event.jobs}
        if self._store.may_write():
            new = len(self._released) - self._written
            if self._written <= WRITTEN_EACH or new * GROWTH >= self._written:
                self.flush()

    def flush(self) -> None:
        """Write the releases that were not written yet."""
        if not self._store.may_write():
            return
        with self._lock:
            released = [*self._released.values()]
            if len(released) > self._written or self._has_failed:
                own = self._owner.ti_id
                self._has_failed = not self._write(own, released, is_all=own in self._withdrawable)
                self._written = len(released)

    def succeeded(
        self, found: Mapping[RemoteJob, UUID | None] | None = None, *, has_more: bool = False
    ) -> None:
        """Release all jobs that are not known to have ended; called before the success is reported.

        :param found: further jobs that carry a label, with the try's id; None stands for this try.
        :param has_more: forked children of the task have started jobs of which nothing else is known here.
        """
        if not self._store.may_write():
            return
        self._describe_inherited()
        own = self._owner.ti_id
        living: dict[UUID, list[RemoteJob]] = {}
        known_of = {job: known.ti_id for job, known in self._ledger.started.items()}
        for job, ti_id in (known_of | dict(found or {})).items():
            living.setdefault(ti_id or own, []).append(job)
        # Jobs of submissions without an answer are released as well, though their addresses are not known.
        unnamed = {intent.ti_id or own for intent in self._ledger.intents if intent.stored.label}
        unnamed |= {own} if has_more else set()
        with self._lock:
            for ti_id in living.keys() | unnamed:
                jobs = [*living.get(ti_id, ()), *(self._released.values() if ti_id == own else ())]
                is_all = ti_id == own or ti_id in unnamed
                # Before: a kill may interrupt it when it is written.
                self._withdrawable.add(ti_id)
                if not self._write(ti_id, jobs, is_all=is_all):
                    self._withdrawable.discard(ti_id)
        if own not in living.keys() | unnamed:
            self.flush()

    def withdraw(self) -> None:
        """Withdraw the releases of a success, as the task fails after all. Explicit releases stay."""
        for ti_id in self._withdrawable:
            self._store.report_failure("The withdrawal of a release", lambda: self._restore(ti_id))  # noqa: B023
        if self._withdrawable:
            self._withdrawable, self._written = set(), 0
        self.flush()

    def _write(self, ti_id: UUID, jobs: Sequence[RemoteJob], *, is_all: bool) -> bool:
        what = f"The release of {len(jobs)} remote jobs (Variable {release_key(ti_id)})"
        otherwise = (
            " Without it the reaper may cancel them once the Dag run is deleted. Do not delete the Dag run "
            f"before they have ended, or set the Variable to {_BY_HAND}. The jobs: {', '.join(jobs)}"
        )
        return self._store.report_failure(what, lambda: self._add(ti_id, jobs, is_all), otherwise)

    def _add(self, ti_id: UUID, jobs: Sequence[RemoteJob], is_all: bool) -> None:  # noqa: FBT001  of _write
        if ti_id not in self._before:
            self._before[ti_id] = read_release(ti_id)
        before = self._before[ti_id] or Release(all=False)
        unnamed = [
            i.stored for i in self._ledger.intents if (i.ti_id or self._owner.ti_id) == ti_id and is_all
        ]
        self._set(ti_id, before.with_jobs(jobs, unnamed, is_all=is_all))

    def _restore(self, ti_id: UUID) -> None:
        from airflow_cancel_provider.version_compat import Variable

        if ti_id not in self._before:
            return  # a kill came before anything was written
        if before := self._before[ti_id]:
            self._set(ti_id, before)
        else:
            Variable.delete(release_key(ti_id))

    def _set(self, ti_id: UUID, release: Release) -> None:
        write_release(ti_id, release, self._owner.task)

    def _describe_inherited(self) -> None:
        """Check which inherited jobs have ended; without an answer in time they count as running."""
        clients, opened = dict[RemoteJob, ClientSpec](), self._access.pool()
        for job, known in self._ledger.started.items():
            if known.client is None:
                try:
                    clients[job] = client_of(opened, job)
                except Exception as error:  # noqa: BLE001  connections have errors of their own
                    self._log.info("It is not known whether %s has ended: %s", job, error)
        if not clients:
            return
        seen: list[JobStatus] = []
        thread = Thread(target=self._describe, args=(clients, seen), name="remote-jobs-describe", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            return
        thread.join(DESCRIBE_SECONDS)
        ended = (s.job for s in list(seen) if s.state.is_terminal and s.state is not JobState.GONE)
        self._ledger.apply(JobsEnded(tuple(ended)))

    def _describe(self, clients: dict[RemoteJob, ClientSpec], seen: list[JobStatus]) -> None:
        pool = ClientPool(clients.__getitem__, Patience(seconds=DESCRIBE_SECONDS / 2))
        for service, jobs in pool.by_service(clients)[0]:
            try:
                seen.extend(service.describe(jobs))
            except Exception as error:  # noqa: BLE001  reported; such jobs count as running
                self._log.info("It is not known whether %s have ended: %s", ", ".join(jobs), error)
