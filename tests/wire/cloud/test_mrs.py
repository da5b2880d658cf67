"""MRS of the local cloud, as its API reference shows it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import requests

from tests.cloud.keystone import PROJECT_ID

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

CANCELLED = {
    "created_at": "2017-05-25T07:28:12",
    "updated_at": "2017-05-25T07:28:13",
    "id": "2de74673-1a78-48af-a95b-e1fec4a4ae9c",
    "tenant_id": "37caa80116e1403ab603e5eeb48a2f74",
    "job_id": "",
    "start_time": "2017-05-25T07:28:12",
    "end_time": None,
    "cluster_id": "ef7b54f2-3d92-49b2-a6d7-94607e1ea7df",
    "oozie_job_id": None,
    "return_code": None,
    "input_id": None,
    "output_id": None,
    "is_protected": None,
    "is_public": None,
    "engine_job_id": None,
    "job_configs": None,
    "data_source_urls": None,
    "info": None,
}
"""The example of mrs_02_0052."""


def token(cloud: LocalCloud) -> dict[str, str]:
    user = {"name": "demo", "password": "demo-password", "domain": {"name": "demo-domain"}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": {"id": PROJECT_ID}}}}
    answer = requests.post(f"{cloud.url}/v3/auth/tokens", json=body, timeout=30)
    return {"X-Auth-Token": answer.headers["X-Subject-Token"], "Content-Type": "application/json"}


def test_a_cancel_of_v1_answers_all_documented_fields(cloud: LocalCloud) -> None:
    job = cloud.mrs.add_job(arguments=["s3a://bucket/job.jar"], properties={"key": "value"})
    url = f"{cloud.url}/v1.1/{PROJECT_ID}/job-executions/{job}/cancel"
    answer = requests.get(url, headers=token(cloud), timeout=30)
    (shown,) = answer.json().values()
    assert list(shown) == list(CANCELLED)
    own = ("id", "cluster_id", "tenant_id", "job_configs")
    values = (job, "demo-cluster-0001", PROJECT_ID)
    assert tuple(shown[name] for name in own[:3]) == values
    assert shown["job_configs"] == {"args": ["s3a://bucket/job.jar"], "configs": {"key": "value"}}
    times = [name for name in shown if name.endswith(("_at", "start_time"))]
    for name in times:
        assert datetime.fromisoformat(shown[name]).tzinfo is None
        assert len(shown[name]) == len(CANCELLED[name] or "")
    rest = [name for name in shown if name not in (*own, *times)]
    assert {name: shown[name] for name in rest} == {name: CANCELLED[name] for name in rest}
