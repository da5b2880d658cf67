"""Start AWS Batch jobs, cancel them whatever state they are in, and see them end.

What it shows:

- A mapped ``BatchOperator`` of the Amazon provider starts one job for each name, and waits for none.
- One ``CancelBatchJobOperator`` takes all the job ids from their XComs, and waits in the triggerer.
  The reason shows in the AWS console as the job's status reason.
- ``BatchJobTerminalSensor`` takes the same jobs by their addresses, which the cancel operator returned,
  and fails if one of them ended in any other way than by a cancel.

What it needs: the connection ``aws_default``, a job queue and a job definition.
"""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.sdk import DAG, Param

from airflow_cancel_provider.operators.batch import CancelBatchJobOperator
from airflow_cancel_provider.sensors.batch import BatchJobTerminalSensor

with DAG(
    dag_id="example_cancel_batch_jobs",
    schedule=None,
    doc_md=__doc__,
    tags=["example", "batch", "cancel"],
    params={
        "job_queue": Param("my-queue", type="string", description="Name or ARN of the job queue"),
        "job_definition": Param("my-job", type="string", description="Name or ARN of the job definition"),
    },
):
    start_jobs = BatchOperator.partial(
        task_id="start_jobs",
        job_queue="{{ params.job_queue }}",
        job_definition="{{ params.job_definition }}",
        wait_for_completion=False,
    ).expand(job_name=["north", "south"])
    cancel_jobs = CancelBatchJobOperator(
        task_id="cancel_jobs",
        job_ids=start_jobs.output,
        reason="The source was withdrawn ({{ dag.dag_id }}, {{ run_id }})",
        waiter_delay=5,
        deferrable=True,
    )
    jobs_ended = BatchJobTerminalSensor(
        task_id="jobs_ended",
        remote_jobs=cancel_jobs.output,
        target_states=["CANCELLED"],
        poke_interval=5,
        timeout=600,
    )
