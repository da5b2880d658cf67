"""Store the record of a try in XCom, and from Airflow 3.3 on in the task state store."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from airflow_cancel_provider.exceptions import CancelProviderError, InvalidInput
from airflow_cancel_provider.guard.events import (
    AttemptLost,
    Event,
    JobsPlaced,
    JobsReleased,
    JobsStarted,
    SubmissionClosed,
    SubmissionIntended,
)
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.record import RECORD_KEY, JobEnd, TryRecord, TryState

WRITTEN_EACH = 64
"""Up to so many jobs, the record is written after each one."""
GROWTH = 16
"""With more jobs, it is written when it has grown by a 16th."""


class RecordStore:
    """Keeps a try's record where triggers, callbacks, other tasks and the next try can read it.

    Written at once where the channel to Airflow may be used (:meth:`may_write`), and by :meth:`flush`.
    A record that can't be written is logged, and does not fail the task.

    :param proof: as in the record.
    """

    def __init__(self, ti: Any, log: Any, owner: Owner, ledger: TryLedger, *, proof: str = "") -> None:
        self._ti, self._log, self._owner, self._ledger = ti, log, owner, ledger
        self._proof = proof
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._changes = 0
        self._size = 0
        self._written: dict[str, Any] | None = None
        self.state = TryState.RUNNING

    def hear(self, event: Event) -> None:
        """Write the record, without ends, if it is time; the ledger has applied the event already."""
        if not self._changes_record(event):
            return
        self._changes += 1
        # A reader of the record must not cancel what was released, even before the task ends.
        is_due = self._is_due or (isinstance(event, JobsReleased) and self._has_few_releases)
        if is_due and self.may_write():
            with self._lock:
                self._flush(replace(self.record(), ends={}))  # each would be written again and again

    def flush(self, state: TryState | None = None) -> None:
        """Write the record if it has changed; ``state`` is its state from now on."""
        self.state = state or self.state
        if not self.may_write():
            return
        with self._lock:
            self._flush(self.record())

    def _flush(self, record: TryRecord) -> None:
        stored = record.as_json()
        is_needed = self._written is not None or not self._ledger.is_empty
        if is_needed and stored != self._written:
            # First what the next try cancels by: a host may be lost at any time.
            self.report_failure(f"Task state {RECORD_KEY}", lambda: self._keep(stored))
            self.report_failure(f"XCom {RECORD_KEY}", lambda: self._write(stored))
        self._changes, self._size = 0, self._ledger.size

    def record(self) -> TryRecord:
        """The record as it is now."""
        record = self._ledger.record(self._owner.ti_id, self.state)
        return replace(record, proof=self._proof, deployment=self._owner.deployment)

    def close(self) -> None:
        """Close the record of a try that has succeeded: no later try or trigger may cancel its jobs."""
        self.flush(TryState.RETURNED)
        if self._written is not None:
            self.report_failure("The end of the task's remote jobs", self._delete)

    def before_deferral(self) -> TryRecord | None:
        """The record of this try from before it was deferred, if there is one.

        :raises Exception: Airflow did not answer.
        """
        ti = self._ti
        stored = ti.xcom_pull(task_ids=ti.task_id, key=RECORD_KEY, map_indexes=ti.map_index)
        record = self._read(stored)
        if record is not None and record.ti_id != self._owner.ti_id:
            self._log.error(
                "The record of remote jobs (XCom %s) names another try (%s); its jobs are left alone: %s",
                RECORD_KEY,
                record.ti_id,
                ", ".join(record.jobs) or "none",
            )
            return None
        if record is not None:
            self._written = stored
            record = replace(record, earlier=self._taken_over() if record.earlier else ())
        return record

    def _taken_over(self) -> tuple[TryRecord, ...]:
        """What this try has taken over. Not read from XCom, where every task can write."""
        kept = self.of_earlier()
        return kept.earlier if kept is not None and kept.ti_id == self._owner.ti_id else ()

    def of_earlier(self) -> TryRecord | None:
        """The record that an earlier try of the task has left, from Airflow 3.3 on."""
        try:
            store = self._state_store()
            return self._read(store.get(RECORD_KEY) if store is not None else None)
        except Exception as error:  # noqa: BLE001  reported; the task must not fail for it
            self._log.warning(
                "The record of an earlier try can't be read; its jobs may still be running: %s", error
            )
            return None

    def close_earlier(self, record: TryRecord, ends: Mapping[RemoteJob, JobEnd]) -> None:
        """Delete the record that an earlier try has left, once nothing on it may still run.

        Otherwise each poke of a sensor in mode ``reschedule`` would poll its jobs again.

        :param ends: how its jobs were seen to end; GONE is no end.
        """
        tries = (record, *record.earlier)
        ended = {job for job, end in ends.items() if end.state is not JobState.GONE}
        if not any(one.intents or set(one.jobs) - ended for one in tries) and self.may_write():
            self.report_failure("The end of the remote jobs of earlier tries", self._delete)

    def may_write(self) -> bool:
        """Whether the channel to Airflow may be used here: not in an event loop, nor in a forked child.

        In another than the main thread only while no event loop uses it, and before Airflow 3.2, where it has
        no lock, not at all.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if os.getpid() != self._pid or not (is_main or _channel_takes_threads()):
            return False
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return True
        return False

    def report_failure(self, what: str, write: Callable[[], None], otherwise: str = "") -> bool:
        """Write, log a failure, and return whether it was possible. The task must not fail for it.

        :param otherwise: what follows from a failure, as text for the log.
        """
        try:
            with self._lock:
                write()
        except Exception as error:  # noqa: BLE001  reported
            if _is_of_a_try_that_is_gone(error) and not otherwise:
                words = "%s is not written: the try was cleared or retried, or its run was deleted."
                self._log.info(words, what)
            else:
                self._log.warning("%s could not be written: %s%s", what, error, otherwise)
            return False
        return True

    def check_written(self) -> None:
        """Make sure that XCom has the record as it is now.

        :raises CancelProviderError: it has not.
        """
        if self._written != self.record().as_json():
            raise CancelProviderError("its record is not in XCom, so a trigger can't check the try")

    @property
    def _is_due(self) -> bool:
        return self._ledger.size <= WRITTEN_EACH or self._changes * GROWTH >= self._size

    @property
    def _has_few_releases(self) -> bool:
        return len(self._ledger.released) <= WRITTEN_EACH

    def _changes_record(self, event: Event) -> bool:
        if isinstance(event, SubmissionIntended):
            return bool(event.unlabelled)  # such jobs can't be found by label
        if isinstance(event, SubmissionClosed):
            return bool(self._written and self._written["intents"])
        return isinstance(event, AttemptLost | JobsPlaced | JobsReleased | JobsStarted)

    def _read(self, stored: Any) -> TryRecord | None:
        if not stored:
            return None
        try:
            record = TryRecord.from_json(stored)
        except InvalidInput as error:
            self._log.error("Remote jobs of an earlier try may still be running: %s", error)
            return None
        if record.is_of_another_airflow(self._owner.deployment):
            words = "The record of remote jobs is another Airflow's (%s); its jobs are left alone: %s"
            self._log.error(words, record.deployment, ", ".join(record.jobs) or "none")
            return None
        return None if record.state is TryState.RETURNED else record

    def _write(self, stored: dict[str, Any]) -> None:
        self._written = {}  # not known, where a kill interrupts this
        self._ti.xcom_push(key=RECORD_KEY, value=stored)
        self._written = stored

    def _keep(self, stored: dict[str, Any]) -> None:
        if (store := self._state_store()) is not None:
            store.set(RECORD_KEY, stored)

    def _delete(self) -> None:
        if (store := self._state_store()) is not None:
            store.delete(RECORD_KEY)

    def _state_store(self) -> Any:
        return self._ti.get_template_context().get("task_state_store")


def _channel_takes_threads() -> bool:
    """Whether a thread may wait for the channel.

    While an event loop waits for an answer, Airflow reads that in a thread of the loop's pool: if all of them
    wait for the channel, the answer never comes. From Airflow 3.3 on, a loop that has used the channel must
    not find it in use, either.
    """
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel = getattr(task_runner, "SUPERVISOR_COMMS", None)
    loops = getattr(channel, "_async_lock", None)
    return loops is not None and not loops.locked() and getattr(channel, "_loop_thread_id", None) is None


def _is_of_a_try_that_is_gone(error: Exception) -> bool:
    """Whether Airflow says that it has no such task instance any more: each try has an id of its own."""
    detail = getattr(getattr(error, "error", None), "detail", None)
    return isinstance(detail, dict) and detail.get("status_code") == 404 and "not_found" in str(detail)
