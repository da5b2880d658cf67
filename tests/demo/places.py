"""What the Dags need to find in the cloud, and the connections to reach it."""

from __future__ import annotations

import json
from typing import Any

import boto3
import requests

from tests.cloud.keystone import DOMAIN, PROJECT_ID
from tests.cloud.mrs_store import CLUSTER

REGION = "us-east-1"


def connections(url: str) -> dict[str, str]:
    """Airflow connections to the local cloud, as environment variables."""
    aws = {
        "conn_type": "aws",
        "login": "demo",
        "password": "demo-secret",
        "extra": {"region_name": REGION, "endpoint_url": url},
    }
    mrs = {
        "conn_type": "huaweicloud_mrs",
        "login": "demo",
        "password": "demo-password",
        "extra": {"domain": DOMAIN, "project_id": PROJECT_ID, "endpoint": url, "iam_endpoint": url},
    }
    return {"AIRFLOW_CONN_AWS_DEFAULT": json.dumps(aws), "AIRFLOW_CONN_MRS_DEFAULT": json.dumps(mrs)}


def create_places(url: str) -> dict[str, str]:
    """Create a cluster, an application and so on; their ids by the names that scenarios use."""
    return {
        "emr_cluster": create_cluster(url),
        "application": create_application(url),
        "job_queue": register(url, "queues", "demo-queue"),
        "job_definition": register(url, "definitions", "demo-job"),
        "mrs_cluster": CLUSTER,
    }


def register(url: str, kind: str, name: str) -> str:
    """Have a Batch queue or job definition of this name in the local cloud; the name."""
    requests.post(f"{url}/_cloud/{kind}", json={"name": name}, timeout=30).raise_for_status()
    return name


def create_cluster(url: str, name: str = "demo", concurrency: int = 1) -> str:
    """An EMR cluster that waits for steps."""
    reply = aws_client(url, "emr").run_job_flow(
        Name=name,
        ReleaseLabel="emr-7.5.0",
        StepConcurrencyLevel=concurrency,
        Instances={"KeepJobFlowAliveWhenNoSteps": True, "InstanceCount": 1},
    )
    return str(reply["JobFlowId"])


def create_application(url: str, name: str = "demo") -> str:
    """An EMR Serverless application."""
    reply = aws_client(url, "emr-serverless").create_application(
        name=name, releaseLabel="emr-7.9.0", type="SPARK"
    )
    return str(reply["applicationId"])


def aws_client(url: str, service: str, region: str = REGION) -> Any:
    """A client for the local cloud."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id="demo",
        aws_secret_access_key="demo-secret",
    )
