"""The local cloud's own controls over HTTP, and the cloud as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.cloud_fixtures import Client, client, eventually

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

__all__ = ["client"]


def test_over_http(cloud: LocalCloud, client: Client) -> None:
    control = f"{cloud.url}/_cloud"
    wanted = {
        "batch": {"run": 9, "bulk": False, "overrides": {"slow": {"cancel": 7}}},
        "bad_access_keys": ["X"],
    }
    settings = requests.put(f"{control}/settings", json=wanted, timeout=5).json()
    assert (settings["batch"]["run"], settings["batch"]["overrides"]) == (9, {"slow": {"cancel": 7}})
    assert cloud.bad_access_keys == {"X"}
    job = client("batch").submit_job(jobName="n", jobQueue="q", jobDefinition="d")["jobId"]
    finish = {"service": "batch", "id": job, "state": "SUCCEEDED"}
    assert requests.post(f"{control}/jobs/finish", json=finish, timeout=5).ok
    (shown,) = requests.get(f"{control}/jobs?service=batch&state=SUCCEEDED", timeout=5).json()
    assert shown["id"] == job
    requests.post(f"{control}/faults", json={"service": "batch", "kind": "throttle"}, timeout=5)
    assert requests.get(f"{control}/faults", timeout=5).json()[0]["kind"] == "throttle"
    requests.delete(f"{control}/faults", timeout=5)
    journal = requests.get(f"{control}/journal?service=batch&operation=SubmitJob", timeout=5).json()
    assert [entry["scope"] for entry in journal] == ["q"]
    requests.delete(f"{control}/journal", timeout=5)
    assert len(cloud.journal) == 0
    cluster = requests.post(f"{control}/clusters", json={"release": "emr-6.15.0"}, timeout=5).json()["id"]
    assert client("emr").describe_cluster(ClusterId=cluster)["Cluster"]["ReleaseLabel"] == "emr-6.15.0"
    requests.post(f"{control}/queues", json={"name": "mine", "state": "DISABLED"}, timeout=5)
    (queue,) = client("batch").describe_job_queues(jobQueues=["mine"])["jobQueues"]
    assert queue["state"] == "DISABLED"
    requests.post(f"{control}/definitions", json={"name": "load"}, timeout=5)
    assert client("batch").submit_job(jobName="n", jobQueue="mine", jobDefinition="load:3")["jobId"]
    requests.post(f"{control}/reset", timeout=5)
    assert cloud.jobs() == []


@pytest.mark.parametrize(
    "method, path, body, status",
    [
        ("POST", "jobs/finish", {"service": "batch", "id": "none", "state": "FAILED"}, 404),
        ("POST", "jobs/finish", {"service": "none", "id": "none", "state": "FAILED"}, 404),
        ("POST", "faults", {"kind": "earthquake"}, 400),
        ("PUT", "settings", {"batch": {"colour": "red"}}, 400),
        ("GET", "nowhere", None, 404),
    ],
)
def test_mistakes(cloud: LocalCloud, method: str, path: str, body: Any, status: int) -> None:
    answer = requests.request(method, f"{cloud.url}/_cloud/{path}", json=body, timeout=5)
    assert (answer.status_code, "error" in answer.json()) == (status, True)


def test_as_a_program(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = [sys.executable, "-m", "tests.cloud", "--port", "0", "--ready-file", str(ready)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        command, cwd=root, env=dict(os.environ), stdout=subprocess.PIPE, text=True
    ) as process:
        eventually(ready.exists, wanted=True, seconds=20)
        url = ready.read_text()
        assert requests.get(f"{url}/_cloud/health", timeout=5).json()["status"] == "ok"
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert f"export AWS_ENDPOINT_URL={url}" in output
