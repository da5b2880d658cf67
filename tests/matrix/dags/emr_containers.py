"""EMR on EKS runs, by the stock operator and by plain boto3: unchanged Dags, nothing of the guard."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.operators.emr import EmrContainerOperator
from airflow.providers.amazon.aws.sensors.emr import EmrContainerSensor
from airflow.sdk import DAG, task

from tests.matrix.dags.shapes import DELAY, Shape, victims

ROLE = "arn:aws:iam::123456789012:role/job"
DRIVER = {"sparkSubmitJobDriver": {"entryPoint": "s3://bucket/job.py"}}
NAME = "daily-sales-aggregation"
"""As long as names are: there is no room for a label behind it."""


def plain(shape: Shape) -> None:
    """A task without an operator."""

    @task(task_id="t", **shape.task)
    def submit(params: Any = None) -> None:
        import boto3

        from tests.matrix.dags.shapes import wait_plainly

        client, cluster = boto3.client("emr-containers"), params["scope"]
        run = client.start_job_run(virtualClusterId=cluster, executionRoleArn=ROLE, jobDriver=DRIVER)

        def is_over() -> bool:
            reply = client.describe_job_run(virtualClusterId=cluster, id=run["id"])
            return reply["jobRun"]["state"] in ("COMPLETED", "FAILED", "CANCELLED")

        wait_plainly(shape, is_over)

    submit()


for mode, shape in victims():
    with shape.open_dag("emr-containers", mode):
        if mode == "plain":
            plain(shape)
            continue
        EmrContainerOperator(
            task_id="t",
            name=NAME,
            virtual_cluster_id="{{ params.scope }}",
            execution_role_arn=ROLE,
            release_label="emr-7.9.0-latest",
            job_driver=DRIVER,
            wait_for_completion=shape.waits,
            poll_interval=DELAY,
            max_polling_attempts=shape.attempts,
            deferrable=mode == "deferred",
            **shape.task,
        )

with DAG("senses__emr-containers__sync", schedule=None, params={"scope": "", "id": ""}):
    EmrContainerSensor(
        task_id="t",
        virtual_cluster_id="{{ params.scope }}",
        job_id="{{ params.id }}",
        poll_interval=DELAY,
        poke_interval=DELAY,
    )
