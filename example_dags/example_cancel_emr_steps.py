"""Start steps in an Amazon EMR cluster, cancel them, and see them end.

What it shows:

- ``EmrAddStepsOperator`` of the Amazon provider starts the steps and does not wait for them.
- ``CancelStepsOperator`` takes the step ids from its XCom, asks EMR to interrupt the steps, kills what
  still lives a minute later, and succeeds only when every step was seen to have ended.
- ``EmrStepTerminalSensor`` waits for the same steps beside it, in the triggerer: no worker slot is held.

What it needs: the connection ``aws_default``, and a cluster of release 5.28.0 or later that is up.
"""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.sdk import DAG, Param

from airflow_cancel_provider.operators.emr import CancelStepsOperator
from airflow_cancel_provider.sensors.emr import EmrStepTerminalSensor

CLUSTER = "{{ params.cluster_id }}"
STEPS = [
    {
        "Name": name,
        "ActionOnFailure": "CONTINUE",
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["spark-submit", f"s3://my-bucket/{name}.py"]},
    }
    for name in ("extract", "transform", "load")
]

with DAG(
    dag_id="example_cancel_emr_steps",
    schedule=None,
    doc_md=__doc__,
    tags=["example", "emr", "cancel"],
    params={"cluster_id": Param("j-1ABCDEFGHIJKL", type="string", description="Id of the EMR cluster")},
):
    start_steps = EmrAddStepsOperator(
        task_id="start_steps", job_flow_id=CLUSTER, steps=STEPS, wait_for_completion=False
    )
    cancel_steps = CancelStepsOperator(
        task_id="cancel_steps",
        cluster_id=CLUSTER,
        step_ids=start_steps.output,
        escalate_after=60,
        waiter_delay=5,
    )
    steps_ended = EmrStepTerminalSensor(
        task_id="steps_ended",
        cluster_id=CLUSTER,
        step_ids=start_steps.output,
        poke_interval=5,
        timeout=600,
        deferrable=True,
    )
