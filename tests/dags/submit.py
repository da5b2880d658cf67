"""A job started in MRS and waited for, in the task and in the triggerer."""

from __future__ import annotations

from airflow.sdk import DAG
from kinds import SYNC_OR_DEFERRABLE

from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator

for mode, options in SYNC_OR_DEFERRABLE.items():
    with DAG(f"submit_{mode}", schedule=None, params={"scope": ""}):
        MrsSubmitJobOperator(
            task_id="submit",
            cluster_id="{{ params.scope }}",
            job_type="SparkSubmit",
            job_name="end-to-end",
            arguments=["obs://bucket/program.jar"],
            waiter_delay=0.5,
            **options,
        )
