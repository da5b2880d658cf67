"""An Airflow in which no connection is defined, and one to define."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cloud.server import LocalCloud
from tests.service_fixtures import REGION
from tests.task_fixtures import SECRET

CONN = "team_aws"


IDS = {
    "batch": "00000000-0000-0000-0000-000000000000",
    "emr": "j-2AXX/s-3BYY",
    "emr-serverless": "00f1abcdefghij/00f1abcdefghik",
    "glue": "etl%20nightly/jr_0123",
    "emr-containers": "0f1abcdefghij/0f1abcdefghik",
    "mrs": "11111111-0000-0000-0000-000000000000/22222222-0000-0000-0000-000000000000",
}


@pytest.fixture
def nowhere(connections: None, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> LocalCloud:  # noqa: ARG001
    """No connection is defined anywhere; boto3 by itself would reach the local cloud."""
    for name in ("AWS_DEFAULT", "MRS_DEFAULT"):
        monkeypatch.delenv(f"AIRFLOW_CONN_{name}")
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    return cloud


def aws(url: str, login: str = "DBKEY") -> dict[str, Any]:
    """An ``aws`` connection to the local cloud."""
    extra = json.dumps({"region_name": REGION, "endpoint_url": url})
    return {"conn_type": "aws", "login": login, "password": SECRET, "extra": extra}
