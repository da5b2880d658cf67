"""EMR Serverless runs, by the stock operator and by plain boto3: unchanged Dags, nothing of the guard."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.operators.emr import EmrServerlessStartJobOperator
from airflow.providers.amazon.aws.sensors.emr import EmrServerlessJobSensor
from airflow.sdk import DAG, task

from tests.matrix.dags.shapes import DELAY, Shape, victims

ROLE = "arn:aws:iam::123456789012:role/job"
DRIVER = {"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}}


def plain(shape: Shape) -> None:
    """A task without an operator."""

    @task(task_id="t", **shape.task)
    def submit(params: Any = None) -> None:
        import boto3

        from tests.matrix.dags.shapes import wait_plainly

        client, application = boto3.client("emr-serverless"), params["scope"]
        run = client.start_job_run(applicationId=application, executionRoleArn=ROLE, jobDriver=DRIVER)

        def is_over() -> bool:
            reply = client.get_job_run(applicationId=application, jobRunId=run["jobRunId"])
            return reply["jobRun"]["state"] in ("SUCCESS", "FAILED", "CANCELLED")

        wait_plainly(shape, is_over)

    submit()


for mode, shape in victims():
    with shape.open_dag("emr-serverless", mode):
        if mode == "plain":
            plain(shape)
            continue
        EmrServerlessStartJobOperator(
            task_id="t",
            application_id="{{ params.scope }}",
            execution_role_arn=ROLE,
            job_driver=DRIVER,
            wait_for_completion=shape.waits,
            waiter_delay=DELAY,
            waiter_max_attempts=shape.attempts,
            deferrable=mode == "deferred",
            **shape.task,
        )

with DAG("senses__emr-serverless__sync", schedule=None, params={"scope": "", "id": ""}):
    EmrServerlessJobSensor(
        task_id="t",
        application_id="{{ params.scope }}",
        job_run_id="{{ params.id }}",
        poke_interval=DELAY,
    )
