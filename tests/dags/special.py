"""Cancel operators as people embed them: mapped, and with their connection in ``default_args``."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task
from kinds import PARAMS

from airflow_cancel_provider.operators.emr import CancelStepsOperator
from airflow_cancel_provider.sensors.emr import EmrStepTerminalSensor

with DAG("mapped", schedule=None, params=PARAMS):

    @task
    def pairs(params: dict[str, Any]) -> list[list[str]]:
        return [params["ids"][:2], params["ids"][2:]]

    CancelStepsOperator.partial(
        task_id="cancel", cluster_id="{{ params.scope }}", waiter_delay=0.5, deferrable=True
    ).expand(step_ids=pairs())

with DAG(
    "default_args",
    schedule=None,
    params=PARAMS,
    default_args={"aws_conn_id": "other_aws", "region_name": "eu-west-1"},
):
    cancel = CancelStepsOperator(
        task_id="cancel", cluster_id="{{ params.scope }}", step_ids="{{ params.ids }}", waiter_delay=0.5
    )
    # The addresses that a cancel operator returns lead to the same jobs, whatever the defaults are.
    cancel >> EmrStepTerminalSensor(
        task_id="sense", aws_conn_id="not_there", remote_jobs=cancel.output, poke_interval=1
    )
