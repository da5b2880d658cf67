"""The reaper as a Dag, and a task of another Dag whose job is meant to live on."""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.emr import EmrServerlessStartJobOperator
from airflow.sdk import DAG, Param

from airflow_cancel_provider.reaper.dag import reaper_dag

reaper = reaper_dag(
    "reap_by_endpoint",
    at=[f"{service}://aws_default@us-east-1" for service in ("emr", "batch", "emr-serverless")],
    schedule=None,
    airflow_conn_id="airflow_api",
    grace=2,
    confirm_seconds=30,
    share=1,
)

with DAG("reap_forget", schedule=None, params={"scope": Param("", type="string")}):
    EmrServerlessStartJobOperator(
        task_id="forget",
        application_id="{{ params.scope }}",
        execution_role_arn="arn:aws:iam::123456789012:role/job",
        job_driver={"sparkSubmit": {"entryPoint": "s3://bucket/stream.py"}},
        wait_for_completion=False,
        deferrable=True,
    )
