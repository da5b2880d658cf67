"""The owners of the account's jobs, in an Airflow metadata database of their own.

``python -m benchmarks.scale.owners 10000`` fills the database that Airflow's settings name.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from airflow_cancel_provider.owner import release_key
from benchmarks.account.population import WITHOUT_A_TRACE, Owner, kind_of, try_id

STATES: dict[Owner, str] = {
    Owner.RUNNING: "running",
    Owner.DEFERRED: "deferred",
    Owner.QUEUED: "queued",
    Owner.SUCCEEDED: "success",
    Owner.RECONNECTS: "up_for_retry",
    Owner.FAILED: "failed",
    Owner.RETRYING: "up_for_retry",
    Owner.REMOVED: "removed",
}
ARCHIVED: dict[Owner, str] = {
    Owner.CLEARED: "success",
    Owner.RECONNECTED: "failed",
    Owner.REPLACED: "failed",
}
"""States of tries that are history: another one runs in their place."""
TASKS, RUNS = 10, 100
"""Tasks of a run, runs of a Dag."""


def main() -> None:
    """Insert so many owners, each a task instance."""
    owners = int(sys.argv[1])
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.taskinstancehistory import TaskInstanceHistory
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session

    names = list(dict.fromkeys(_names(owner)[:2] for owner in range(owners)))
    current = [_current(owner) for owner in range(owners) if kind_of(owner) not in WITHOUT_A_TRACE]
    history = [_archived(owner) for owner in range(owners) if kind_of(owner) in ARCHIVED]
    released = [_release(owner) for owner in range(owners) if kind_of(owner) is Owner.TIDIED_UP]
    with create_session() as session:
        session.execute(insert(DagRun.__table__), [_run(*name) for name in names])
        session.execute(insert(TaskInstance.__table__), current)
        session.execute(insert(TaskInstanceHistory.__table__), history)
        session.execute(insert(Variable.__table__), released)


def _names(owner: int) -> tuple[str, str, str]:
    """Dag, run and task."""
    return f"dag_{owner // (TASKS * RUNS)}", f"run_{owner // TASKS % RUNS}", f"task_{owner % TASKS}"


def _run(dag_id: str, run_id: str) -> dict[str, Any]:
    now = datetime.now(UTC)
    words = {"dag_id": dag_id, "run_id": run_id, "run_type": "manual", "state": "running"}
    return {
        **words,
        "run_after": now,
        "clear_number": 0,
        "span_status": "not_started",
        "log_template_id": None,
    }


def _task(owner: int) -> dict[str, Any]:
    dag_id, run_id, task_id = _names(owner)
    names = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": -1}
    return {**names, "max_tries": 3, "pool": "default_pool", "pool_slots": 1, "span_status": "not_started"}


def _current(owner: int) -> dict[str, Any]:
    is_later = kind_of(owner) in ARCHIVED
    return {
        **_task(owner),
        "id": _as_id(try_id(owner, later=is_later)),
        "try_number": 2 if is_later else 1,
        "state": STATES.get(kind_of(owner), "running"),
    }


def _archived(owner: int) -> dict[str, Any]:
    return {
        **_task(owner),
        "task_instance_id": _as_id(try_id(owner)),
        "try_number": 1,
        "state": ARCHIVED[kind_of(owner)],
    }


def _release(owner: int) -> dict[str, Any]:
    value = {"all": True, "jobs": [], "at": datetime.now(UTC).isoformat(), "task": ""}
    return {"key": release_key(try_id(owner)), "val": json.dumps(value), "is_encrypted": False}


def _as_id(ti_id: UUID) -> Any:
    # Text up to Airflow 3.2.
    from airflow.models.taskinstance import TaskInstance

    is_text = TaskInstance.__table__.c.id.type.python_type is str
    return str(ti_id) if is_text else ti_id


if __name__ == "__main__":
    main()
