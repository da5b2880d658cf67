"""The ledger where it outlives the task: XCom ``remote_jobs``, and from Airflow 3.3 the task state store."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from airflow_cancel_provider.jobs import XCOM_KEY, RemoteJob
from airflow_cancel_provider.owner import RETURNED
from airflow_cancel_provider.owner import XCOM_KEY as MARKER


class Memory:
    """Keeps a try's addresses where callbacks, other tasks and the next try can read them.

    Written at once where the channel to Airflow may be used: on the task's own main thread, outside an
    event loop. Otherwise at the end, by :meth:`flush`. What can't be kept is said, and is no error.
    """

    def __init__(self, ti: Any, log: Any) -> None:
        self._ti, self._log = ti, log
        self._pid = os.getpid()
        self._jobs: dict[str, None] = {}
        self._kept = 0
        self._has_deferred = False

    def read(self, what: str, whom: Any) -> None:
        """Take an entry of the ledger."""
        if what == "started":
            self._jobs |= dict.fromkeys(map(str, whom[1]))
        elif what == "released":
            for job in whom:
                self._jobs.pop(str(job), None)
            self._kept = -1
        else:
            return
        if self._may_write():
            self.flush()

    def flush(self) -> None:
        """Write what was not written yet."""
        if os.getpid() != self._pid or self._kept == len(self._jobs):
            return
        try:
            self._ti.xcom_push(key=XCOM_KEY, value=list(self._jobs))
            self._kept = len(self._jobs)
            if (store := self._store()) is not None:
                store.set(XCOM_KEY, list(self._jobs))
        except Exception as error:  # noqa: BLE001  the sentinel has it too; a task must not fail for the second copy
            self._log.warning("XCom %s could not be written: %s", XCOM_KEY, error)

    def mark_owner(self) -> None:
        """Leave the id of this try, for a trigger to see whether it is still the one that counts."""
        self.flush()
        self._ti.xcom_push(key=MARKER, value=str(self._ti.id))

    def settle(self) -> None:
        """The try's work is done: no later try, no trigger and no person's mark may end what lives on."""
        self.flush()
        if not self._jobs:
            return
        try:
            if (store := self._store()) is not None:
                store.delete(XCOM_KEY)
            if self._has_deferred:
                self._ti.xcom_push(key=MARKER, value=f"{self._ti.id}{RETURNED}")
        except Exception as error:  # noqa: BLE001  a task must not fail for it; its jobs have mostly ended
            self._log.warning("What is on record of remote jobs could not be closed: %s", error)

    def jobs_before_deferral(self) -> list[RemoteJob]:
        """What this same try had started before it was deferred."""
        ti = self._ti
        found = ti.xcom_pull(task_ids=ti.task_id, key=XCOM_KEY, map_indexes=ti.map_index) or []
        self._jobs = dict.fromkeys(map(str, found))
        self._kept = len(self._jobs)
        self._has_deferred = True
        return [RemoteJob(uri) for uri in found]

    def jobs_of_earlier_tries(self) -> list[RemoteJob]:
        """What tries before this one have started, where Airflow keeps that (3.3)."""
        if self._ti.try_number <= 1 or (store := self._store()) is None:
            return []
        try:
            return [RemoteJob(uri) for uri in store.get(XCOM_KEY) or []]
        except Exception as error:  # noqa: BLE001  a task must not fail for what an earlier one may have left
            self._log.warning("Jobs of earlier tries could not be read: %s", error)
            return []

    def _store(self) -> Any:
        return self._ti.get_template_context().get("task_state_store")

    def _may_write(self) -> bool:
        if os.getpid() != self._pid or threading.current_thread() is not threading.main_thread():
            return False
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return True
        return False
