"""An Airflow whose tasks find the local cloud by AWS's own variables, and no connection."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.cloud import LocalCloud
from tests.real_airflow.system import airflow_system
from tests.real_airflow.world import World

if find_spec("awswrangler") is None:
    # Not the virtual environment of ``make clients``.
    collect_ignore = ["test_clients.py"]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An Airflow with the Dags of this folder."""
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    shutil.copytree(Path(__file__).parent / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    with LocalCloud() as cloud, airflow_system(home, dags, environment(cloud.url)) as airflow:
        there = World(cloud, airflow)
        airflow.rest.wait_for_dags("client_boto3_batch")
        yield there
        there.close()


def environment(url: str) -> dict[str, str]:
    """What boto3 finds by itself, and what keeps the libraries from calling home."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "PLAINKEY",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": "clients",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        # No agent of Datadog's is there.
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "OTEL_SDK_DISABLED": "false",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
