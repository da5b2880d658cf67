"""A stock operator; the Dag of the pictures of the log."""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.sdk import DAG

with DAG("sales_weekly", schedule=None, params={"scope": ""}):
    EmrAddStepsOperator(
        task_id="load",
        job_flow_id="{{ params.scope }}",
        steps=[
            {
                "Name": "load",
                "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["spark-submit", "load.py"]},
            }
        ],
        wait_for_completion=True,
        waiter_delay=1,
    )
