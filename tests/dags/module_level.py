"""AWS sessions and clients that a Dag file makes while it is parsed, and tasks that submit with them."""

from __future__ import annotations

from typing import Any

import boto3
from airflow.sdk import DAG, task

SESSION = boto3.Session(region_name="us-east-1")
CLIENT = SESSION.client("batch")
DEFAULT_CLIENT = boto3.client("batch", region_name="us-east-1")
PARAMS: dict[str, Any] = {"scope": "queue"}


def fail_after(client: Any, queue: str) -> None:
    client.submit_job(jobName="job", jobQueue=queue, jobDefinition="job")
    raise ValueError("after submitting")


with DAG("module_level_session", schedule=None, params=PARAMS):

    @task
    def session(params: dict[str, Any]) -> None:
        fail_after(SESSION.client("batch"), params["scope"])

    session()

with DAG("module_level_client", schedule=None, params=PARAMS):

    @task
    def client(params: dict[str, Any]) -> None:
        fail_after(CLIENT, params["scope"])

    client()

with DAG("module_level_default_client", schedule=None, params=PARAMS):

    @task
    def default_client(params: dict[str, Any]) -> None:
        fail_after(DEFAULT_CLIENT, params["scope"])

    default_client()
