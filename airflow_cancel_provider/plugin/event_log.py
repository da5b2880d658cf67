"""Entries in Airflow's event log: who has requested which cancel, and its outcome.

All API servers can read them, also after a restart, and Airflow shows them under Browse, Audit Log.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import TaskKey

REQUESTED, FINISHED = "cancel_remote_job", "cancel_remote_job_finished"
"""Names of the events: a user asks for the cancel of a job; what became of a cancel, also of a job whose
deferred task was marked."""
SHOWN_FOR = timedelta(days=1)
GIVEN_UP_AFTER = timedelta(minutes=5)
"""A cancel without an end in the log is over then: the API server that worked on it has ended."""
GIVEN_UP = "The API server ended before the cancel was confirmed. Refresh the states; cancel again if needed."
MOST_READ = 1000
MOST_LINES = 20


@dataclass(frozen=True, slots=True)
class AskedCancel:
    """A cancel that a user has requested on the page.

    :param lines: its log; the last line has the outcome.
    :param is_over: whether it has finished.
    :param end: the terminal state of the job then; empty where it has not ended.
    """

    user: str
    at: datetime
    lines: tuple[str, ...] = ()
    is_over: bool = False
    end: str = ""


def write(session: Any, event: str, user: str, task: TaskKey, **extra: Any) -> None:
    """Put an entry into the event log, with the secrets of connections masked as in a log line."""
    from airflow.models.log import Log

    from airflow_cancel_provider.version_compat import redact

    session.add(
        Log(
            event=event,
            owner=user[:500],
            owner_display_name=user[:500],
            extra=json.dumps(redact(extra)),
            dag_id=task.dag_id,
            run_id=task.run_id,
            task_id=task.task_id,
            map_index=task.map_index,
        )
    )


def asked_cancels(session: Any, jobs: Collection[RemoteJob]) -> dict[RemoteJob, AskedCancel]:
    """The last cancel of each of these jobs that a user has asked for within a day. One query."""
    from airflow.models.log import Log
    from sqlalchemy import select

    found: dict[RemoteJob, AskedCancel] = {}
    if not jobs:
        return found
    columns: Sequence[Any] = (Log.event, Log.owner, Log.dttm, Log.extra)
    query = (
        select(*columns)
        .where(Log.event.in_((REQUESTED, FINISHED)), Log.dttm > datetime.now(UTC) - SHOWN_FOR)
        .order_by(Log.dttm.desc(), Log.id.desc())
        .limit(MOST_READ)
    )
    by_text: dict[str, RemoteJob] = {job: job for job in jobs}
    finished: dict[RemoteJob, tuple[tuple[str, ...], str]] = {}
    for event, user, at, extra in session.execute(query):
        values = _values(extra)
        job = by_text.get(str(values.get("job")))
        if job is None or job in found:
            continue
        if event == FINISHED:
            finished.setdefault(
                job, (tuple(map(str, values.get("lines") or ())), str(values.get("end") or ""))
            )
        else:
            lines, end = finished.get(job, ((), ""))
            is_lost = job not in finished and at < datetime.now(UTC) - GIVEN_UP_AFTER
            lines = (GIVEN_UP,) if is_lost else lines
            found[job] = AskedCancel(user or "", at, lines, is_lost or job in finished, end)
    return found


def _values(extra: str | None) -> dict[str, Any]:
    try:
        values = json.loads(extra or "")
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
