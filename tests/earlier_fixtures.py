"""What an earlier try has left in a service."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.record import StoredIntent, TryRecord
from tests.service_fixtures import Bench, submitted
from tests.try_fixtures import CANCEL

THIS = Owner(CANCEL.deployment, "nightly", "manual__2026", "stop", -1, 1, UUID(int=0))


def earlier(**changes: Any) -> Owner:
    return replace(THIS, ti_id=uuid4(), **changes)


def recorded(
    bench: Bench, owner: Owner, what: str, label: Label | None = None
) -> tuple[TryRecord, RemoteJob]:
    """What a try has left, by its address or as a submission that was not answered."""
    scope = bench.new_scope()
    job = submitted(bench, owner.label, scope)
    if what == "job":
        return TryRecord(owner.ti_id, jobs=(job,)), job
    where = scope if scope is not None else "queue"
    stored = StoredIntent(bench.name, job.conn_id, job.region, where, label or owner.label, 1.0)
    return TryRecord(owner.ti_id, intents=(stored,)), job
