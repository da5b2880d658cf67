"""What the Dags need to find in the cloud, and the connections to reach it."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import boto3
import requests

from tests.cloud.keystone import DOMAIN, PROJECT_ID
from tests.cloud.mrs_store import CLUSTER

REGION = "us-east-1"


def connections(url: str) -> list[dict[str, str]]:
    """Airflow connections to the local cloud, as the REST API takes them."""
    mrs = {"domain": DOMAIN, "project_id": PROJECT_ID, "endpoint": url, "iam_endpoint": url}
    return [
        aws_connection(url),
        {
            "connection_id": "mrs_default",
            "conn_type": "huaweicloud_mrs",
            "login": "demo",
            "password": "demo-password",
            "extra": json.dumps(mrs),
        },
    ]


def aws_connection(
    url: str, conn_id: str = "aws_default", login: str = "demo", **extra: str
) -> dict[str, str]:
    """An ``aws`` connection to the local cloud, as the REST API takes it."""
    fields = {"endpoint_url": url, "region_name": REGION, **extra}
    return {
        "connection_id": conn_id,
        "conn_type": "aws",
        "login": login,
        "password": "demo-secret",
        "extra": json.dumps({name: value for name, value in fields.items() if value}),
    }


def plain_boto3(url: str) -> dict[str, str]:
    """What boto3 finds by itself."""
    keys = {"AWS_ACCESS_KEY_ID": "PLAINKEY", "AWS_SECRET_ACCESS_KEY": "secret"}
    return {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1", **keys}


def create_places(url: str) -> dict[str, str]:
    """Create a cluster, an application and so on; their ids by the names that scenarios use."""
    return {
        "emr_cluster": create_cluster(url),
        "application": create_application(url),
        "virtual_cluster": create_virtual_cluster(url),
        "job_queue": register(url, "queues", "demo-queue"),
        "job_definition": register(url, "definitions", "demo-job"),
        "mrs_cluster": CLUSTER,
        "glue_job": create_glue_job(url),
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


def create_glue_job(url: str) -> str:
    """A Glue job of a new name."""
    reply = aws_client(url, "glue").create_job(
        Name=f"demo-{uuid4().hex[:8]}",
        Role="demo",
        Command={"Name": "glueetl", "ScriptLocation": "s3://bucket/job.py"},
    )
    return str(reply["Name"])


def create_virtual_cluster(url: str) -> str:
    """A virtual cluster of EMR on EKS, in a namespace of its own."""
    name = f"spark-{uuid4().hex[:8]}"
    container = {"id": "eks", "type": "EKS", "info": {"eksInfo": {"namespace": name}}}
    client = aws_client(url, "emr-containers")
    return str(client.create_virtual_cluster(name=name, containerProvider=container)["id"])


def aws_client(url: str, service: str, region: str = REGION) -> Any:
    """A client for the local cloud."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        region_name=region,
        endpoint_url=url,
        aws_access_key_id="demo",
        aws_secret_access_key="demo-secret",
    )
