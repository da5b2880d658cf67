"""EMR steps, by the stock operator and by plain boto3: unchanged Dags, nothing of the guard in them."""

from __future__ import annotations

from typing import Any

from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.providers.amazon.aws.sensors.emr import EmrStepSensor
from airflow.sdk import DAG, task

from tests.matrix.dags.shapes import DELAY, Shape, victims

STEPS = [{"Name": "s", "ActionOnFailure": "CONTINUE", "HadoopJarStep": {"Jar": "command-runner.jar"}}]


def plain(shape: Shape) -> None:
    """A task without an operator."""

    @task(task_id="t", **shape.task)
    def submit(params: Any = None) -> None:
        import boto3

        from tests.matrix.dags.shapes import wait_plainly

        emr, cluster = boto3.client("emr"), params["scope"]
        step = emr.add_job_flow_steps(JobFlowId=cluster, Steps=STEPS)["StepIds"][0]

        def is_over() -> bool:
            state = emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"]["State"]
            return state in ("COMPLETED", "CANCELLED", "FAILED")

        wait_plainly(shape, is_over)

    submit()


for mode, shape in victims():
    with shape.open_dag("emr", mode):
        if mode == "plain":
            plain(shape)
            continue
        EmrAddStepsOperator(
            task_id="t",
            job_flow_id="{{ params.scope }}",
            steps=STEPS,
            wait_for_completion=shape.waits,
            waiter_delay=DELAY,
            waiter_max_attempts=shape.attempts,
            deferrable=mode == "deferred",
            **shape.task,
        )

with DAG("senses__emr__sync", schedule=None, params={"scope": "", "id": ""}):
    EmrStepSensor(
        task_id="t", job_flow_id="{{ params.scope }}", step_id="{{ params.id }}", poke_interval=DELAY
    )
