"""A deferred task that a person marks while no triggerer runs: the API server is the only one to know.

The trigger of such a task is gone before a triggerer could be told to cancel. So the API server waits a
moment for a triggerer to do it, and then requests the end of what the task has started itself.
"""

from __future__ import annotations

import logging
import time
from threading import BoundedSemaphore, Thread
from typing import Any

log = logging.getLogger(__name__)

HEAD_START = 10.0
"""Seconds that a triggerer has to cancel first; it mostly needs two or three."""
PATIENCE = 60.0
AT_ONCE = BoundedSemaphore(4)
"""Hundreds may be marked with one click, and the API server has its database for others, too."""


def cancel_when_marked(task_instance: Any) -> None:
    """Have what a task left behind cancelled, in a thread: a person waits for the answer to the click."""
    key = (task_instance.dag_id, task_instance.run_id, task_instance.task_id, task_instance.map_index)
    thread = Thread(
        target=_cancel, args=(str(task_instance.id), *key), name="remote-jobs-marked", daemon=True
    )
    thread.start()


def _cancel(ti_id: str, dag_id: str, run_id: str, task_id: str, map_index: int) -> None:
    time.sleep(HEAD_START)
    task, jobs = f"{dag_id} / {run_id} / {task_id}", []
    with AT_ONCE:
        try:
            jobs = _jobs_left_by(ti_id, dag_id, run_id, task_id, map_index)
            if jobs:
                _request(jobs, f"Cancelled by Airflow: {task} was marked")
        except Exception:
            words = ", ".join(map(str, jobs)) or "what they are could not be read"
            log.exception("Remote jobs of %s may run on, as they could not be cancelled: %s", task, words)


def _jobs_left_by(ti_id: str, dag_id: str, run_id: str, task_id: str, map_index: int) -> list[str]:
    """Addresses on record, if this try is the one that deferred last, and is the one that was marked."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    from airflow_cancel_provider import jobs, owner

    def recorded(key: str) -> Any:
        found = XComModel.get_many(
            run_id=run_id, key=key, task_ids=task_id, dag_ids=dag_id, map_indexes=map_index
        )
        row = session.scalars(found).first()
        return XComModel.deserialize_value(row) if row is not None else None

    with create_session() as session:
        is_this_try = session.get(TaskInstance, ti_id) is not None and recorded(owner.XCOM_KEY) == ti_id
        return list(recorded(jobs.XCOM_KEY) or []) if is_this_try else []


def _request(addresses: list[str], reason: str) -> None:
    from airflow_cancel_provider.cancelling import report
    from airflow_cancel_provider.hooks.access import Access
    from airflow_cancel_provider.jobs import RemoteJob

    found, reach = [RemoteJob(address) for address in addresses], Access().reach()
    reach.check(found)
    living = [status.job for status in reach.describe(found) if not status.state.is_terminal]
    report(reach.hurried(PATIENCE).cancel(living, reason), log)
