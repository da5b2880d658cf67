"""MRS jobs, by this provider's operator and by its hook in a plain task."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from airflow.sdk import DAG, task

from airflow_cancel_provider.operators.mrs import MrsSubmitJobOperator
from airflow_cancel_provider.sensors.mrs import MrsJobExecutionTerminalSensor
from tests.matrix.dags.shapes import DELAY, Shape, victims

# The run's time of day: a longer name leaves no room for a label, and the reaper would know nobody to ask.
NAME = "{{ run_id.partition('T')[2][:15] | replace(':', '-') | replace('.', '-') }}-{{ ti.try_number }}"
PROGRAM = ["obs://bucket/program.jar"]


def plain(shape: Shape) -> None:
    """A task without an operator."""

    @task(task_id="t", **shape.task)
    def submit(params: Any = None) -> None:
        from airflow_cancel_provider.hooks.mrs import MrsHook
        from tests.matrix.dags.shapes import wait_plainly

        hook, cluster = MrsHook(), params["scope"]
        job = hook.submit_job(cluster, "SparkSubmit", f"m-{uuid4().hex[:8]}", PROGRAM)
        wait_plainly(shape, lambda: hook.show_job(cluster, job.id).state.is_terminal)

    submit()


for mode, shape in victims():
    with shape.open_dag("mrs", mode):
        if mode == "plain":
            plain(shape)
            continue
        MrsSubmitJobOperator(
            task_id="t",
            cluster_id="{{ params.scope }}",
            job_type="SparkSubmit",
            job_name=NAME,
            arguments=PROGRAM,
            wait_for_completion=shape.waits,
            waiter_delay=DELAY,
            waiter_max_attempts=shape.attempts,
            deferrable=mode == "deferred",
            **shape.task,
        )

with DAG("senses__mrs__sync", schedule=None, params={"scope": "", "id": ""}):
    MrsJobExecutionTerminalSensor(
        task_id="t", cluster_id="{{ params.scope }}", job_execution_ids="{{ params.id }}", poke_interval=DELAY
    )
