"""Batch jobs, by the stock operator and by plain boto3: unchanged Dags, nothing of the guard in them."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.providers.amazon.aws.sensors.batch import BatchSensor
from airflow.sdk import DAG, task

from tests.matrix.dags.shapes import DELAY, Shape, victims


def plain(shape: Shape) -> None:
    """A task without an operator."""

    @task(task_id="t", **shape.task)
    def submit(params: Any = None) -> None:
        import boto3

        from tests.matrix.dags.shapes import wait_plainly

        batch = boto3.client("batch")
        job = batch.submit_job(jobName="j", jobQueue=params["scope"], jobDefinition="d")["jobId"]

        def is_over() -> bool:
            return batch.describe_jobs(jobs=[job])["jobs"][0]["status"] in ("SUCCEEDED", "FAILED")

        wait_plainly(shape, is_over)

    submit()


for mode, shape in victims():
    with shape.open_dag("batch", mode):
        if mode == "plain":
            plain(shape)
            continue
        BatchOperator(
            task_id="t",
            job_name="j",
            job_queue="{{ params.scope }}",
            job_definition="d",
            wait_for_completion=shape.waits,
            max_retries=shape.attempts,
            status_retries=1,
            poll_interval=DELAY,
            deferrable=mode == "deferred",
            **shape.task,
        )

with DAG("senses__batch__sync", schedule=None, params={"scope": "", "id": ""}):
    BatchSensor(task_id="t", job_id="{{ params.id }}", poke_interval=DELAY)
