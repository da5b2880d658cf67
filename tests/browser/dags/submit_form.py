"""A job over the connection that was made in the browser."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator

with DAG("submit_form", schedule=None, params={"scope": ""}):
    MrsSubmitJobOperator(
        task_id="submit",
        mrs_conn_id="mrs_form",
        cluster_id="{{ params.scope }}",
        job_type="SparkSubmit",
        job_name="from-the-form",
        arguments=["obs://bucket/program.jar"],
        waiter_delay=0.5,
    )
