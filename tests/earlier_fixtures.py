"""What an earlier try has left in a service."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.record import StoredIntent, TryRecord
from tests.service_fixtures import BatchBench, Bench
from tests.try_fixtures import (
    CANCEL,
)

THIS = Owner(CANCEL.deployment, "nightly", "manual__2026", "stop", -1, 1, UUID(int=0))


def earlier(**changes: Any) -> Owner:
    return replace(THIS, ti_id=uuid4(), **changes)


def submitted(bench: Bench, owner: Owner, scope: str | None) -> RemoteJob:
    """A job with the label of a try, as the service carries it."""
    if isinstance(bench, BatchBench):
        return bench.submit("job", parameters={"airflow_owner": str(owner.label)})[0]
    return bench.submit(f"job-{owner.label}", scope=scope)[0]


def recorded(
    bench: Bench, owner: Owner, what: str, label: Label | None = None
) -> tuple[TryRecord, RemoteJob]:
    """What a try has left, by its address or as a submission that was not answered."""
    scope = bench.new_scope()
    job = submitted(bench, owner, scope)
    if what == "job":
        return TryRecord(owner.ti_id, jobs=(job,)), job
    where = scope if scope is not None else "queue"
    stored = StoredIntent(bench.name, job.conn_id, job.region, where, label or owner.label, 1.0)
    return TryRecord(owner.ti_id, intents=(stored,)), job


def asked(bench: Bench) -> set[str]:
    return {job_id for job_id, job in bench.truth().items() if job["cancel_requested_at"]}
