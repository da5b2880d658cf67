"""Glue job runs, by the stock operator and by plain boto3: unchanged Dags, nothing of the guard in them."""

from __future__ import annotations

from inspect import signature
from typing import Any

from airflow.providers.amazon.aws.operators.glue import GlueJobOperator
from airflow.providers.amazon.aws.sensors.glue import GlueJobSensor
from airflow.sdk import DAG, task

from tests.matrix.dags.shapes import DELAY, Shape, victims


def plain(shape: Shape) -> None:
    """A task without an operator."""

    @task(task_id="t", **shape.task)
    def submit(params: Any = None) -> None:
        import boto3

        from tests.matrix.dags.shapes import wait_plainly

        glue, job = boto3.client("glue"), params["scope"]
        run = glue.start_job_run(JobName=job)["JobRunId"]

        def is_over() -> bool:
            state = glue.get_job_run(JobName=job, RunId=run)["JobRun"]["JobRunState"]
            return state in ("SUCCEEDED", "FAILED", "STOPPED", "TIMEOUT", "ERROR", "EXPIRED")

        wait_plainly(shape, is_over)

    submit()


def durability(*, is_durable: bool) -> dict[str, bool]:
    """A durable task's next try goes on with the same run, also after a clear of a deferred one.

    The Amazon provider has it from 9.39 on.
    """
    return {"durable": is_durable} if "durable" in signature(GlueJobOperator.__init__).parameters else {}


for mode, shape in victims():
    with shape.open_dag("glue", mode):
        if mode == "plain":
            plain(shape)
            continue
        GlueJobOperator(
            task_id="t",
            job_name="{{ params.scope }}",
            wait_for_completion=shape.waits,
            job_poll_interval=DELAY,
            waiter_delay=DELAY,
            waiter_max_attempts=shape.attempts,
            deferrable=mode == "deferred",
            **durability(is_durable=mode == "sync" and shape.name != "retries"),
            **shape.task,
        )

with DAG("senses__glue__sync", schedule=None, params={"scope": "", "id": ""}):
    GlueJobSensor(task_id="t", job_name="{{ params.scope }}", run_id="{{ params.id }}", poke_interval=DELAY)
