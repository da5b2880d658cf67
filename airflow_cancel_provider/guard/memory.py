"""The ledger where it outlives the task: XCom, Variables, and from Airflow 3.3 the task state store."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.jobs import INTENTS_KEY, XCOM_KEY, RemoteJob, released_key
from airflow_cancel_provider.owner import OWNER_PREFIX, RETURNED, Owner
from airflow_cancel_provider.owner import XCOM_KEY as MARKER
from airflow_cancel_provider.services.submissions import Intent

RELEASED_BY = ("dag_id", "run_id", "task_id", "map_index", "try_number")
"""What the Variable of a released job says of its task, beside the time."""


class Memory:
    """Keeps a try's addresses where callbacks, other tasks, the next try and a sweep can read them.

    In XCom ``remote_jobs`` and the task state store what was started; in XCom ``remote_jobs_intents`` what is
    being submitted without a label, so that nothing else tells of it; in a Variable, which outlives the Dag
    run, each job that was released, and with ``owner`` the try itself until its work is done.

    Written at once where the channel to Airflow may be used: on the task's own main thread, outside an
    event loop. Otherwise at the end, by :meth:`flush`. What can't be kept is said, and is no error.
    """

    def __init__(self, ti: Any, log: Any, owner: Owner | None = None) -> None:
        self._ti, self._log = ti, log
        self._owner, self._is_owner_kept = owner, False
        self._pid = os.getpid()
        self._jobs: dict[str, None] = {}
        self._kept: list[str] = []
        self._settled: list[str] | None = None
        self._intents: dict[str, Intent] = {}
        self._kept_intents: list[dict[str, str | None]] = []
        self._released: dict[str, datetime] = {}
        self._has_deferred = False
        self._is_submitting = False

    def read(self, what: str, whom: Any) -> None:
        """Take an entry of the ledger."""
        if what == "started":
            self._intents.pop(whom[0].token, None)
            self._jobs |= dict.fromkeys(map(str, whom[1]))
        elif what == "released":
            for job in map(str, whom):
                self._jobs.pop(job, None)
                self._released[job] = datetime.now(UTC)
        elif what == "refused":
            self._intents.pop(whom.token, None)
        else:  # an intent, or the place of its jobs
            self._is_submitting = True
            if whom.unlabelled:
                self._intents[whom.token] = whom
        if self._may_write():
            self.flush()

    def flush(self) -> None:
        """Write what was not written yet."""
        if os.getpid() != self._pid:
            return
        if self._owner and not self._is_owner_kept and (self._jobs or self._intents or self._is_submitting):
            self._write("The owner's Variable", self._keep_owner)
        if (jobs := list(self._jobs)) != self._kept:
            self._write(f"XCom {XCOM_KEY}", lambda: self._keep_jobs(jobs))
        entries = [entry for intent in list(self._intents.values()) for entry in _entries(intent)]
        if entries != self._kept_intents:
            self._write(f"XCom {INTENTS_KEY}", lambda: self._keep_intents(entries))
        for job in list(self._released):
            self._write(f"The release of {job}", lambda: self._keep_release(job))  # noqa: B023

    def _write(self, what: str, write: Callable[[], None]) -> None:
        try:
            write()
        except Killed:
            raise  # the signal came while Airflow was asked
        except Exception as error:  # noqa: BLE001  the sentinel has it too; a task must not fail for the second copy
            self._log.warning("%s could not be written: %s", what, error)

    def _keep_owner(self) -> None:
        from airflow_cancel_provider.version_compat import Variable

        # Tried once, as it is not worth a task's time to try for each job.
        self._is_owner_kept = True
        words = "A try that has started remote jobs and is not done with them"
        Variable.set(self._owner_key, str(self._owner), description=words)

    def forget_owner(self) -> None:
        """The work of the try is done, or its jobs were seen to end: no sweep has to know it."""
        if not self._is_owner_kept or not self._may_write():
            return
        from airflow_cancel_provider.version_compat import Variable

        self._write("The owner's Variable", lambda: Variable.delete(self._owner_key))

    @property
    def _owner_key(self) -> str:
        return f"{OWNER_PREFIX}{self._ti.id}"

    def _keep_jobs(self, jobs: list[str]) -> None:
        self._ti.xcom_push(key=XCOM_KEY, value=jobs)
        self._kept = jobs
        if (store := self._store()) is not None:
            store.set(XCOM_KEY, jobs)

    def _keep_intents(self, entries: list[dict[str, str | None]]) -> None:
        self._ti.xcom_push(key=INTENTS_KEY, value=entries)
        self._kept_intents = entries

    def _keep_release(self, job: str) -> None:
        from airflow_cancel_provider.version_compat import Variable

        at = self._released.pop(job)  # tried once: what can't be a key now can't be one later
        record = {name: getattr(self._ti, name) for name in RELEASED_BY}
        Variable.set(
            released_key(RemoteJob(job)),
            {**record, "job": job, "at": at.isoformat()},
            description="A remote job that its task has let go",
            serialize_json=True,
        )

    def mark_owner(self) -> None:
        """Leave the id of this try, for a trigger to see whether it is still the one that counts."""
        self.flush()
        self._ti.xcom_push(key=MARKER, value=str(self._ti.id))

    def settle(self) -> None:
        """The try's work is done: no later try, no trigger and no person's mark may end what lives on."""
        if self._settled == list(self._jobs):
            return  # nothing since
        self.flush()
        self.forget_owner()
        self._settled = list(self._jobs)
        if not self._jobs:
            return
        # Should the task fail after all, it is kept anew.
        self._kept = []
        try:
            if (store := self._store()) is not None:
                store.delete(XCOM_KEY)
            if self._has_deferred:
                self._ti.xcom_push(key=MARKER, value=f"{self._ti.id}{RETURNED}")
        except Killed:
            raise
        except Exception as error:  # noqa: BLE001  a task must not fail for it; its jobs have mostly ended
            self._log.warning("What is on record of remote jobs could not be closed: %s", error)

    def jobs_before_deferral(self) -> list[RemoteJob]:
        """What this same try had started before it was deferred."""
        ti = self._ti
        found = ti.xcom_pull(task_ids=ti.task_id, key=XCOM_KEY, map_indexes=ti.map_index) or []
        self._jobs = dict.fromkeys(map(str, found))
        self._kept = list(self._jobs)
        self._has_deferred = True
        self._is_owner_kept = self._owner is not None and bool(found)
        return [RemoteJob(uri) for uri in found]

    def inherit(self, jobs: Iterable[RemoteJob]) -> None:
        """Keep on record what earlier tries have left, too; written with this one's own, or at the end."""
        self._jobs |= dict.fromkeys(map(str, jobs))

    def jobs_of_earlier_tries(self) -> list[RemoteJob]:
        """What tries before this one have started, where Airflow keeps that (3.3)."""
        return self.jobs_on_record() if self._ti.try_number > 1 else []

    def jobs_on_record(self) -> list[RemoteJob]:
        """What the task has started and left to whoever comes next, where Airflow keeps that (3.3)."""
        try:
            store = self._store()
            return [RemoteJob(uri) for uri in (store.get(XCOM_KEY) if store is not None else None) or []]
        except Exception as error:  # noqa: BLE001  a task must not fail for what an earlier one may have left
            self._log.warning("Jobs that were started before could not be read: %s", error)
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


def _entries(intent: Intent) -> list[dict[str, str | None]]:
    line = intent.line
    place = {
        "service": line.service,
        "conn_id": line.conn_id,
        "region": line.region,
        "scope": intent.scope,
        "at": datetime.fromtimestamp(intent.at, UTC).isoformat(),
    }
    return [{**place, "name": name} for name in intent.unlabelled]
