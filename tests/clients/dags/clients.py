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
    with DAG(f"client_{name}", schedule=None, params={"place": "", "end": "raise"}):
        PythonOperator(task_id="submit", python_callable=run, op_kwargs={"client": name})
