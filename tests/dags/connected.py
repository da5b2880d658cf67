"""Tasks whose connections are kept in different places: database, environment, secrets backend."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.sdk import DAG

PARAMS: dict[str, Any] = {"scope": "queue", "aws_conn_id": "aws_default"}

for mode in ("sync", "deferrable"):
    with DAG(f"connected_{mode}", schedule=None, params=PARAMS):
        BatchOperator(
            task_id="batch",
            job_name="job",
            job_definition="job",
            job_queue="{{ params.scope }}",
            aws_conn_id="{{ params.aws_conn_id }}",
            region_name="us-east-1",
            deferrable=mode == "deferrable",
            poll_interval=1,
            max_retries=600,
        )
