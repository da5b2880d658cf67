"""Start a job run in an EMR Serverless application, cancel it, and see it end.

What it shows:

- ``EmrServerlessStartJobOperator`` of the Amazon provider starts the run and does not wait for it.
- ``CancelJobRunOperator`` only requests the end here (``wait_for_completion=False``), so it is done at once.
- ``EmrServerlessJobRunTerminalSensor`` waits for the end, in the triggerer. It takes the run by the address
  which the cancel operator returned, so it needs neither application nor connection.

What it needs: the connection ``aws_default``, an application, and a role for its runs.
"""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.emr import EmrServerlessStartJobOperator
from airflow.sdk import DAG, Param

from airflow_cancel_provider.operators.emr_serverless import CancelJobRunOperator
from airflow_cancel_provider.sensors.emr_serverless import EmrServerlessJobRunTerminalSensor

APPLICATION = "{{ params.application_id }}"
ROLE = "arn:aws:iam::123456789012:role/my-emr-serverless-role"

with DAG(
    dag_id="example_cancel_emr_serverless_job_runs",
    schedule=None,
    doc_md=__doc__,
    tags=["example", "emr-serverless", "cancel"],
    params={
        "application_id": Param("00f1abcdefghij09", type="string", description="Id of the application"),
        "role": Param(ROLE, type="string", description="ARN of the role that the run takes"),
    },
):
    start_run = EmrServerlessStartJobOperator(
        task_id="start_run",
        application_id=APPLICATION,
        execution_role_arn="{{ params.role }}",
        job_driver={"sparkSubmit": {"entryPoint": "s3://my-bucket/aggregate.py"}},
        wait_for_completion=False,
    )
    cancel_run = CancelJobRunOperator(
        task_id="cancel_run",
        application_id=APPLICATION,
        job_run_ids=start_run.output,
        wait_for_completion=False,
    )
    run_ended = EmrServerlessJobRunTerminalSensor(
        task_id="run_ended",
        remote_jobs=cancel_run.output,
        poke_interval=5,
        timeout=600,
        deferrable=True,
    )
