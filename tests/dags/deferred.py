"""Tasks that are deferred while their Batch jobs run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.sdk import DAG

PARAMS: dict[str, Any] = {"scope": "queue"}
OPTIONS: dict[str, Any] = {
    "task_id": "batch",
    "job_name": "job",
    "job_definition": "job",
    "poll_interval": 1,
    "deferrable": True,
}

with DAG("deferred_mapped", schedule=None, params=PARAMS):
    BatchOperator.partial(**OPTIONS).expand(job_queue=["{{ params.scope }}"] * 3)

with DAG("deferred_once", schedule=None, params=PARAMS):
    BatchOperator(**OPTIONS, job_queue="{{ params.scope }}")

with DAG("deferred_timeout", schedule=None, params=PARAMS):
    BatchOperator(**OPTIONS, job_queue="{{ params.scope }}", execution_timeout=timedelta(seconds=25))
