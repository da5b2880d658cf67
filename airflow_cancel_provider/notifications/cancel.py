"""A callback that cancels what a task has started."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from asgiref.sync import sync_to_async

from airflow_cancel_provider.cancelling import report
from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import XCOM_KEY, RemoteJob
from airflow_cancel_provider.services.reach import Reach
from airflow_cancel_provider.version_compat import BaseNotifier, is_answered

PATIENCE = 30.0
"""Seconds for which a request is repeated: the Dag processor ends a callback after 50."""
_NO_ANSWERS = (
    "CancelRemoteJobs cancels nothing here: Airflow does not tell callbacks in this process (the Dag "
    "processor of Airflow 3.0, or the SyncCallback of a deadline) which jobs its tasks have started. The "
    "reaper finds those that are left. Airflow 3.1 and later tell it, as an AsyncCallback for deadlines."
)
_LIVES_ON = (
    "success",
    "running",
    "deferred",
    "awaiting_input",
    "queued",
    "scheduled",
    "up_for_reschedule",
    "up_for_retry",
)
"""What an earlier try has left, the next one ends, or goes on with."""


class CancelRemoteJobs(BaseNotifier):
    """Cancel the remote jobs of a task, or of all tasks of a run that did not succeed.

    For ``on_failure_callback`` and ``on_retry_callback`` of a task, of a Dag, and for a deadline. It reads
    the addresses from XCom ``remote_jobs``; a job that has ended, or is being cancelled, is left as it is,
    so it does no harm that Airflow may call it twice.

    :param whole_run: all tasks of the run that neither succeeded nor are at work or waiting for their next
        try, not only the one that the callback is about. A deadline, which is about none, always means
        the run.
    :param reason: words for the services.
    """

    template_fields = ("reason",)

    def __init__(self, *, whole_run: bool = False, reason: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.whole_run = whole_run
        self.reason = reason

    def notify(self, context: Any) -> None:
        """Request the end of every job, and log what became of each request."""
        if not all(map(is_answered, ("GetXCom", "GetTaskStates"))):
            self.log.error(_NO_ANSWERS)
            return
        ti = context.get("ti")
        found = self._jobs_of_run(context) if self.whole_run or ti is None else self._jobs_of_task(ti)
        jobs = list(dict.fromkeys(found))
        if not jobs:
            self.log.info("No remote jobs are on record.")
            return
        reach = Access().reach()
        reachable = [job for job in jobs if self._can_reach(job, reach)]
        report(reach.hurried(PATIENCE).cancel(reachable, self.reason or _reason(context)), self.log)

    async def async_notify(self, context: Any) -> None:
        """As :meth:`notify`, in a triggerer."""
        await sync_to_async(self.notify, thread_sensitive=False)(context)

    def _can_reach(self, job: RemoteJob, reach: Reach) -> bool:
        """Whether its connection is usable; if not, the other jobs are cancelled nevertheless."""
        try:
            reach.check([job])
        except CancelProviderError as error:
            self.log.error("%s can't be reached, and may run on: %s", job, error)  # noqa: TRY400
            return False
        return True

    def _jobs_of_task(self, ti: Any) -> list[RemoteJob]:
        return _on_record(ti.dag_id, ti.run_id, ti.task_id, getattr(ti, "map_index", -1))

    def _jobs_of_run(self, context: Any) -> Iterable[RemoteJob]:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        dag_id, run_id = _run(context)
        states = RuntimeTaskInstance.get_task_states(dag_id=dag_id, run_ids=[run_id])
        for name, state in states.get(run_id, {}).items():
            if str(state) not in _LIVES_ON:
                task_id, _, index = name.rpartition("_")
                mapped = index.isdigit() and task_id
                yield from _on_record(dag_id, run_id, name, -1)
                if mapped:
                    yield from _on_record(dag_id, run_id, task_id, int(index))


def _on_record(dag_id: str, run_id: str, task_id: str, map_index: int) -> list[RemoteJob]:
    from airflow.sdk.execution_time.xcom import XCom

    found = XCom.get_one(key=XCOM_KEY, dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=map_index)
    return [RemoteJob(uri) for uri in found or []]


def _run(context: Any) -> tuple[str, str]:
    run = context.get("dag_run")
    if run is None:  # a Dag's callback where no task is the run's last
        return context["dag"].dag_id, context["run_id"]
    if isinstance(run, dict):  # a deadline has the run as the REST API shows it
        return run["dag_id"], run.get("dag_run_id") or run["run_id"]
    return run.dag_id, run.run_id


def _reason(context: Any) -> str:
    ti = context.get("ti")
    dag_id, run_id = (ti.dag_id, ti.run_id) if ti is not None else _run(context)
    return f"Cancelled by Airflow: a callback of {dag_id} / {run_id}"
