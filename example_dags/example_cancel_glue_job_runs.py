"""Start a run of an AWS Glue job, stop it, and see it end.

What it shows:

- ``GlueJobOperator`` of the Amazon provider starts the run and does not wait for it.
- ``CancelGlueJobRunOperator`` only requests the end here (``wait_for_completion=False``), so it is done
  at once.
- ``GlueJobRunTerminalSensor`` waits for the end, in the triggerer. It takes the run by the address
  which the cancel operator returned, so it needs neither job nor connection.

What it needs: the connection ``aws_default``, and a Glue job.
"""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.glue import GlueJobOperator
from airflow.sdk import DAG, Param

from airflow_cancel_provider.operators.glue import CancelGlueJobRunOperator
from airflow_cancel_provider.sensors.glue import GlueJobRunTerminalSensor

JOB = "{{ params.job_name }}"

with DAG(
    dag_id="example_cancel_glue_job_runs",
    schedule=None,
    doc_md=__doc__,
    tags=["example", "glue", "cancel"],
    params={"job_name": Param("nightly-etl", type="string", description="Name of the Glue job")},
):
    start_run = GlueJobOperator(task_id="start_run", job_name=JOB, wait_for_completion=False)
    cancel_run = CancelGlueJobRunOperator(
        task_id="cancel_run",
        job_name=JOB,
        job_run_ids=start_run.output,
        wait_for_completion=False,
    )
    run_ended = GlueJobRunTerminalSensor(
        task_id="run_ended",
        remote_jobs=cancel_run.output,
        poke_interval=5,
        timeout=600,
        deferrable=True,
    )
