"""Puts remote jobs on record in an Airflow: a program that runs with that Airflow's settings."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from airflow_cancel_provider.guard.sentinel.main import TASK_ENDED
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.reaper.dead_letters import VARIABLE, text_of
from airflow_cancel_provider.record import EARLIER_KEY, RECORD_KEY, JobEnd, TryRecord

CLUSTER = "emr://aws_default@us-east-1/j-2AXV7Q9ZK1LMN"
BATCH = "batch://aws_default@us-east-1/5b1f93d2-7c7e-4c55-9b0e-"
SERVERLESS = "emr-serverless://aws_default@eu-west-1/00f1r2a8qk3lp009/"
GLUE = "glue://aws_default@us-east-1/nightly-export/jr_"
MRS = "mrs://mrs_default/4f1c0c4e-2f0e-4f6b-8a27-8d1f7b6a3b21/"
DEAD = f"{BATCH}00000000dead"

# Job, Dag, task, map index, state of the task, minutes ago, how it ended: state, who, why.
JOBS: tuple[tuple[str, str, str, int, str, float, tuple[JobState, str, str] | None], ...] = (
    (f"{CLUSTER}/s-1K7PD02VQ8XEM", "sales_daily", "aggregate", -1, "running", 4, None),
    (f"{CLUSTER}/s-3BYQ41TN6RWAC", "sales_daily", "load_region", 0, "running", 11, None),
    (f"{CLUSTER}/s-3BYQ41TN6RWAD", "sales_daily", "load_region", 1, "running", 11, None),
    (f"{SERVERLESS}00f2m41v7s0dq00b", "ml_features", "build_features", -1, "deferred", 37, None),
    (f"{BATCH}0123456789ab", "ml_features", "train", -1, "failed", 190, None),
    (
        f"{BATCH}0123456789ac",
        *("ml_features", "evaluate", -1, "failed", 6),
        (
            JobState.CANCELLED,
            "sentinel",
            TASK_ENDED,
        ),
    ),
    (
        f"{MRS}cd0a7c1e-55f2-4a5e-9a8c-77d52ab0f1de",
        *("billing", "reconcile", -1, "failed", 8),
        (JobState.CANCELLED, "trigger", "Task was ended by Airflow while it was deferred"),
    ),
    (
        f"{GLUE}7c0b5f3d9a",
        *("billing", "export", -1, "success", 300),
        (JobState.SUCCEEDED, "service", ""),
    ),
    (
        f"{SERVERLESS}00f2m41v7s0dq00a",
        *("billing", "invoice", -1, "up_for_retry", 1500),
        (JobState.FAILED, "service", ""),
    ),
)
RUN = "scheduled__2026-11-28T02:00:00+00:00"
AGAIN = "aggregate"
"""The task that runs for the second time."""
EARLIER = RemoteJob(f"{CLUSTER}/s-0H3ZC81XU5TBP")
"""What its first try has started."""
WHY = "Task failed (ValueError)"


def main() -> None:
    """Insert rows."""
    from airflow import settings
    from airflow.models.variable import Variable

    # Before Airflow 3.2 it is no function.
    get_engine: Any = getattr(settings, "get_engine", None)
    engine: Any = get_engine() if get_engine else settings.engine
    with engine.connect() as session:
        # Tries without runs and Dags: enough for a list of jobs, and nothing for the scheduler.
        session.exec_driver_sql("PRAGMA foreign_keys=OFF")
        for number, job in enumerate(JOBS):
            _insert_try(session, 9000 + number, *job)
        letter = {
            "why": "User: arn:aws:sts::123456789012:assumed-role/airflow "
            "is not authorized to perform: batch:TerminateJob",
            "code": "AccessDeniedException",
            "task": f"ml_features / {RUN} / score try 2",
            "since": "2026-11-28T21:14:09+00:00",
        }
        row = {"key": VARIABLE, "val": text_of({DEAD: letter}), "is_encrypted": False}
        variables: Any = Variable.__table__
        session.execute(variables.insert().values(row))
        session.commit()


def _insert_try(
    session: Any,
    run: int,
    text: str,
    dag_id: str,
    task_id: str,
    map_index: int,
    ti_state: str,
    minutes: float,
    end: tuple[JobState, str, str] | None,
) -> None:
    """A try with its job, and the one before it where there was one."""
    from airflow.models.taskinstance import TaskInstance

    tries: Any = TaskInstance.__table__
    job, ti_id, at = RemoteJob(text), uuid4(), time.time() - minutes * 60
    ends = {job: JobEnd(*end, at=at + 30)} if end else {}
    record = TryRecord(ti_id, jobs=(job,), submitted={job: at}, ends=ends)
    names = {"dag_id": dag_id, "run_id": RUN, "task_id": task_id, "map_index": map_index}
    row = {"id": _as_id(ti_id), "state": ti_state, "try_number": 2 if task_id == AGAIN else 1, **names}
    session.execute(tries.insert().values(pool="default_pool", **row))
    _insert_xcom(session, run, names, RECORD_KEY, record.as_json())
    if task_id == AGAIN:
        _insert_xcom(session, run, names, EARLIER_KEY, [_earlier_try(session, names, at - 900).as_json()])


def _earlier_try(session: Any, names: dict[str, Any], at: float) -> TryRecord:
    """The try before that: it failed, and its job was cancelled; its record."""
    from airflow.models.taskinstancehistory import TaskInstanceHistory

    history: Any = TaskInstanceHistory.__table__
    ti_id, end = uuid4(), JobEnd(JobState.CANCELLED, "task", WHY, at=at + 200)
    row = {"task_instance_id": _as_id(ti_id), "state": "failed", "try_number": 1, **names}
    session.execute(history.insert().values(pool="default_pool", span_status="ended", **row))
    return TryRecord(ti_id, jobs=(EARLIER,), submitted={EARLIER: at}, ends={EARLIER: end})


def _insert_xcom(session: Any, run: int, names: dict[str, Any], key: str, value: Any) -> None:
    from airflow.models.xcom import XComModel

    table: Any = XComModel.__table__
    row = {"dag_run_id": run, "key": key, "value": value, "timestamp": datetime.now(UTC), **names}
    session.execute(table.insert().values(row))


def _as_id(ti_id: UUID) -> Any:
    """Before Airflow 3.2, ids of task instances are text."""
    from airflow.models.taskinstance import TaskInstance

    table: Any = TaskInstance.__table__
    return ti_id if table.c.id.type.python_type is UUID else str(ti_id)


if __name__ == "__main__":
    main()
