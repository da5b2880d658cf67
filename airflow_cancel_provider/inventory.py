"""Stand-in until branch cli brings it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import JobEnd, TryRecord, TryState


@dataclass(frozen=True)
class RemoteJobEntry:
    job: RemoteJob
    service: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    ti_id: UUID
    ti_state: str | None
    state: str
    end: JobEnd | None
    submitted_at: datetime | None
    is_orphan: bool
    is_current_try: bool


@dataclass(frozen=True)
class Page:
    entries: list[RemoteJobEntry]
    total: int


def inventory(session: Any, *, dag_ids: Collection[str] | None = None, dag_id: str | None = None, run_id=None, task_id=None, map_index=None, service=None, states=None, since=None, orphans_only=False, limit=50, offset=0, order="newest") -> Page:
    from airflow.models.taskinstance import TaskInstance as TI
    from airflow.models.xcom import XComModel as X
    from sqlalchemy import and_, select

    q = select(X.dag_id, X.run_id, X.task_id, X.map_index, X.value, TI.id, TI.state, TI.try_number).join(TI, and_(X.dag_id == TI.dag_id, X.run_id == TI.run_id, X.task_id == TI.task_id, X.map_index == TI.map_index)).where(X.key == "remote_jobs")
    if dag_ids is not None:
        q = q.where(X.dag_id.in_(dag_ids))
    for column, value in ((X.dag_id, dag_id), (X.run_id, run_id), (X.task_id, task_id), (X.map_index, map_index)):
        if value is not None:
            q = q.where(column == value)
    found = []
    for d, r, t, m, v, ti_id, ti_state, n in session.execute(q):
        record = TryRecord.from_json(X.deserialize_value(type("R", (), {"value": v})))
        for one in (record, *record.earlier):
            for job in one.jobs:
                end = one.ends.get(job)
                state = "ended" if end else "released" if one.state is TryState.RETURNED else "living"
                at = one.submitted.get(job)
                current = str(one.ti_id) == str(ti_id)
                orphan = state == "living" and (not current or ti_state in ("failed", "upstream_failed"))
                found.append(RemoteJobEntry(job, job.service, d, r, t, m, n if current else n - 1, one.ti_id, ti_state, state, end, datetime.fromtimestamp(at, UTC) if at else None, orphan, current))
    found = [e for e in found if (not service or e.service == service) and (not states or e.state in states) and (not orphans_only or e.is_orphan) and (not since or (e.submitted_at and e.submitted_at >= since))]
    found.sort(key=lambda e: -(e.submitted_at.timestamp() if e.submitted_at else 0))
    return Page(found[offset : offset + limit], len(found))
