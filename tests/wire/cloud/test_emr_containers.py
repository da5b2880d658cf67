"""The local cloud's EMR on EKS, as boto3 sees it over HTTP."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cloud_fixtures import Client, client, code_of, eventually, truth
from tests.service_fixtures import create_virtual_cluster

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

__all__ = ["client"]

ROLE = "arn:aws:iam::123456789012:role/runtime"
INVALID, UNKNOWN = ("ValidationException", 400), ("ResourceNotFoundException", 400)


@pytest.fixture
def containers(client: Client) -> Any:
    return client("emr-containers")


@pytest.fixture
def cluster(containers: Any) -> str:
    return create_virtual_cluster(containers)


def start_run(containers: Any, cluster: str, **more: Any) -> str:
    params = {"virtualClusterId": cluster, "executionRoleArn": ROLE, **more}
    return str(containers.start_job_run(**params)["id"])


def shown(containers: Any, cluster: str, run: str) -> Any:
    return containers.describe_job_run(virtualClusterId=cluster, id=run)["jobRun"]


def test_lifecycle(cloud: LocalCloud, containers: Any, cluster: str) -> None:
    cloud.emr_containers.set(pending=100, starting=100, run=100)
    run = start_run(containers, cluster, name="nightly", tags={"a": "b"}, clientToken="once")
    seen = []
    for _ in range(4):
        seen.append(shown(containers, cluster, run)["state"])
        cloud.clock.advance(100)
    assert seen == ["PENDING", "SUBMITTED", "RUNNING", "COMPLETED"]
    there = shown(containers, cluster, run)
    assert (there["name"], there["tags"], there["clientToken"]) == ("nightly", {"a": "b"}, "once")
    assert there["finishedAt"] > there["createdAt"]
    assert code_of(containers.cancel_job_run, virtualClusterId=cluster, id=run) == INVALID


def test_a_run_fails_after_the_attempts_of_its_retry_policy(
    cloud: LocalCloud, containers: Any, cluster: str
) -> None:
    cloud.emr_containers.set(pending=0, starting=0, run=100, outcome="failure")
    once = start_run(containers, cluster)
    thrice = start_run(containers, cluster, retryPolicyConfiguration={"maxAttempts": 3})
    cloud.clock.advance(150)
    assert shown(containers, cluster, once)["failureReason"] == "USER_ERROR"
    assert shown(containers, cluster, thrice)["state"] == "RUNNING"
    cloud.clock.advance(200)
    assert shown(containers, cluster, thrice)["state"] == "FAILED"


def test_a_cancel_passes_through_cancel_pending_and_is_taken_once(
    cloud: LocalCloud, containers: Any, cluster: str
) -> None:
    cloud.emr_containers.set(cancel=100)
    run = start_run(containers, cluster, retryPolicyConfiguration={"maxAttempts": 5})
    eventually(lambda: shown(containers, cluster, run)["state"], "RUNNING")
    containers.cancel_job_run(virtualClusterId=cluster, id=run)
    assert shown(containers, cluster, run)["state"] == "CANCEL_PENDING"
    assert code_of(containers.cancel_job_run, virtualClusterId=cluster, id=run) == INVALID
    assert code_of(containers.delete_virtual_cluster, id=cluster) == INVALID
    cloud.clock.advance(100)
    assert shown(containers, cluster, run)["state"] == "CANCELLED"
    assert truth(cloud, run)["cancelled"]
    containers.delete_virtual_cluster(id=cluster)
    assert code_of(start_run, containers=containers, cluster=cluster) == INVALID


@pytest.mark.parametrize(
    "changed", [{"name": "other"}, {"tags": {"a": "b"}}, {"retryPolicyConfiguration": {"maxAttempts": 2}}]
)
def test_what_comes_with_a_client_token_is_compared(
    containers: Any, cluster: str, changed: dict[str, Any]
) -> None:
    same = {"clientToken": "daily", "name": "etl"}
    run = start_run(containers, cluster, **same)
    assert start_run(containers, cluster, **same) == run
    assert start_run(containers, create_virtual_cluster(containers), **same) != run
    assert code_of(start_run, containers=containers, cluster=cluster, **{**same, **changed}) == INVALID


def test_listing(cloud: LocalCloud, containers: Any, cluster: str) -> None:
    runs = [start_run(containers, cluster, name=f"run-{number % 2}") for number in range(60)]
    cloud.emr_containers.finish(runs[0], "FAILED")
    pages = list(containers.get_paginator("list_job_runs").paginate(virtualClusterId=cluster))
    assert [run["id"] for page in pages for run in page["jobRuns"]] == runs[::-1]
    assert [len(page["jobRuns"]) for page in pages] == [50, 10]

    def ids(**params: Any) -> list[str]:
        return [run["id"] for run in containers.list_job_runs(virtualClusterId=cluster, **params)["jobRuns"]]

    assert ids(states=["FAILED", "COMPLETED"]) == [runs[0]]
    assert ids(name="run-1") == runs[1::2][::-1]
    assert ids(createdAfter=time.time() + 60) == []
    assert len(ids(createdAfter=time.time() - 60)) == 50
    assert code_of(containers.list_job_runs, virtualClusterId=cluster, states=["MOON"]) == INVALID


def test_virtual_clusters_are_listed_by_state_and_page(containers: Any) -> None:
    clusters = [create_virtual_cluster(containers) for _ in range(60)]
    containers.delete_virtual_cluster(id=clusters[0])

    def listed(*states: str) -> list[list[str]]:
        pages = containers.get_paginator("list_virtual_clusters").paginate(states=list(states))
        return [[found["id"] for found in page["virtualClusters"]] for page in pages]

    assert listed("TERMINATED") == [clusters[:1]]
    assert listed("RUNNING", "ARRESTED") == [clusters[1:51], clusters[51:]]


def test_unknown_things_and_mistakes(containers: Any, cluster: str) -> None:
    for place in (cluster, "0none"):
        about = {"virtualClusterId": place, "id": "0none"}
        assert code_of(containers.describe_job_run, **about) == UNKNOWN
        assert code_of(containers.cancel_job_run, **about) == INVALID
    assert code_of(containers.describe_virtual_cluster, id="0none") == UNKNOWN
    assert containers.list_job_runs(virtualClusterId="0none")["jobRuns"] == []
    assert code_of(start_run, containers=containers, cluster="0none") == UNKNOWN
    for wrong in ({"name": "n" * 65}, {"name": "with blanks"}, {"tags": {"k": "v" * 257}}):
        assert code_of(start_run, containers=containers, cluster=cluster, **wrong) == INVALID
