"""A trigger for each job: ours, or the Amazon provider's of the same service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.watch import Watch
from benchmarks.account.batch import job_id
from benchmarks.account.emr import step_id
from benchmarks.account.emr_serverless import run_id
from benchmarks.account.population import SERVICES, Population
from benchmarks.waits.plan import Side

CONNECTION, REGION = "aws_default", "us-east-1"
NEVER = 10**6
"""Polls at most."""


def addresses(population: Population) -> Iterator[tuple[int, RemoteJob]]:
    """Number and address of each job of the account."""
    ids = {"batch": job_id, "emr-serverless": run_id, "emr": step_id}
    for service in SERVICES:
        for index, numbers in enumerate(population.scopes(service)):
            scope = scope_id(service, index)
            for number in numbers:
                there = {"scope": scope, "conn_id": CONNECTION, "region": REGION}
                yield number, RemoteJob.of(service, ids[service](number), **there)


def scope_id(service: str, index: int) -> str | None:
    """The cluster or application, as the account names them."""
    return {"emr": f"j-{index:013X}", "emr-serverless": f"00f{index:013x}"}.get(service)


def trigger(side: Side, job: RemoteJob, delay: float) -> Any:
    """A trigger that waits for a job, as it comes from the database."""
    return _ours(job, delay) if side == "ours" else _stock(job, int(delay))


def _ours(job: RemoteJob, delay: float) -> RemoteJobsTrigger:
    watch = Watch([job])
    # A sensor polls once before it defers.
    watch.observe([JobStatus(job, JobState.PENDING)])
    return RemoteJobsTrigger(
        watch=watch.as_json(),
        access=Access().as_json(),
        waiter_delay=delay,
        waiter_max_attempts=None,
        started_at=time.time(),
    )


def _stock(job: RemoteJob, delay: int) -> Any:
    from airflow.providers.amazon.aws.triggers.batch import BatchJobTrigger
    from airflow.providers.amazon.aws.triggers.emr import EmrServerlessJobSensorTrigger, EmrStepSensorTrigger

    common: dict[str, Any] = {
        "waiter_delay": delay,
        "waiter_max_attempts": NEVER,
        "aws_conn_id": CONNECTION,
        "region_name": REGION,
    }
    if job.service == "batch":
        return BatchJobTrigger(job_id=job.id, **common)
    if job.service == "emr":
        return EmrStepSensorTrigger(job_flow_id=str(job.scope), step_id=job.id, **common)
    return EmrServerlessJobSensorTrigger(
        application_id=str(job.scope), job_run_id=job.id, target_states={"SUCCESS"}, **common
    )
