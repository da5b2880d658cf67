"""A Dag for each client: its task starts jobs, and raises or waits to be killed."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG
from submissions import BY_NAME


def run(client: str, params: dict[str, Any]) -> None:
    BY_NAME[client](params["place"], waits=params["end"] != "raise")
    raise ValueError("after submitting")


for name in BY_NAME:
    # Run by ``dags test`` alone: the scheduler leaves the runs of a paused Dag to it.
    paused = name == "instrumented_before"
    params = {"place": "", "end": "raise"}
    with DAG(f"client_{name}", schedule=None, params=params, is_paused_upon_creation=paused):
        PythonOperator(task_id="submit", python_callable=run, op_kwargs={"client": name})
