"""Let a remote job live exactly as long as the work that needs it: cancel it in a teardown.

What it shows:

- A setup task starts a job that runs beside the work: here a simulator in AWS Batch that would never end
  by itself.
- Whether the work succeeds, fails or is marked failed by hand, ``CancelBatchJobOperator`` as its teardown
  cancels the job and sees it end. A job that has ended by itself is no error.
- ``on_failure_fail_dagrun`` makes the run fail if the teardown can't see the job end. It also takes the tasks
  right before the teardown out of the run's result, so the work is followed by a task of its own that
  decides: without ``publish`` a run whose work failed would be green.

What it needs: the connection ``aws_default``, a job queue and a job definition. Run it with ``fail`` set, and
without.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.sdk import DAG, Param, task

from airflow_cancel_provider.operators.batch import CancelBatchJobOperator

with DAG(
    dag_id="example_cancel_as_teardown",
    schedule=None,
    doc_md=__doc__,
    tags=["example", "batch", "cancel", "teardown"],
    params={
        "job_queue": Param("my-queue", type="string", description="Name or ARN of the job queue"),
        "job_definition": Param("my-simulator", type="string", description="Name or ARN of the definition"),
        "fail": Param(default=False, type="boolean", description="Let the work fail"),
    },
):
    start_job = BatchOperator(
        task_id="start_job",
        job_name="simulator",
        job_queue="{{ params.job_queue }}",
        job_definition="{{ params.job_definition }}",
        wait_for_completion=False,
    )
    cancel_job = CancelBatchJobOperator(
        task_id="cancel_job", job_ids=start_job.output, waiter_delay=5
    ).as_teardown(setups=start_job, on_failure_fail_dagrun=True)

    @task
    def work(params: dict[str, Any]) -> None:
        """Use the simulator."""
        if params["fail"]:
            raise RuntimeError("The work failed, as it was asked to.")

    @task
    def publish() -> None:
        """Hand on what the work made."""

    working = work()
    start_job >> working >> [cancel_job, publish()]
