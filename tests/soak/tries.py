"""What Airflow says of a task and its run."""

from __future__ import annotations

from typing import Any

from tests.matrix.victim import TASK, Victim, moment
from tests.soak.record import FOR_EVER, Try

DELETED = "deleted"
NOT_FOUND = "HTTP 404"


def tries_of(victim: Victim) -> list[Try]:
    """All tries so far, the first one first; none if the run was deleted or never began."""
    if not victim.runs:
        return []
    path = f"dags/{victim.dag_id}/dagRuns/{victim.runs[0]}/taskInstances/{TASK}/tries"
    try:
        found = victim.ground.rest.call("GET", path)["task_instances"]
    except RuntimeError as error:
        if NOT_FOUND not in str(error):
            raise
        return []
    return sorted((_try(each) for each in found), key=lambda each: (each.number, each.start))


def run_state(victim: Victim) -> str:
    """The state of its run, ``deleted`` for one that was."""
    try:
        return victim.ground.rest.run_state(victim.dag_id, victim.runs[0])
    except RuntimeError as error:
        if NOT_FOUND not in str(error):
            raise
        return DELETED


def _try(found: dict[str, Any]) -> Try:
    start, end = found["start_date"], found["end_date"]
    return Try(
        found["try_number"],
        found["state"],
        start=moment(start) if start else FOR_EVER,
        end=moment(end) if end else None,
    )
