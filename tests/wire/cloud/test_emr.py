"""The local cloud's Amazon EMR, as boto3 sees it over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from tests.cloud_fixtures import Client, client, code_of, eventually, truth

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

__all__ = ["client"]


def steps(count: int, name: str = "step", **more: Any) -> list[dict[str, Any]]:
    jar = {
        "Jar": "command-runner.jar",
        "Args": ["spark-submit"],
        "Properties": [{"Key": "owner", "Value": "me"}],
    }
    return [{"Name": f"{name}-{index}", "HadoopJarStep": jar, **more} for index in range(count)]


def state_of(emr: Any, cluster: str, step: str) -> Any:
    return emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"]["State"]


def test_steps_run_one_after_the_other(cloud: LocalCloud, client: Client) -> None:
    cloud.emr.set(pending=100, run=100)
    emr, cluster = client("emr"), cloud.emr.create_cluster()
    first, second = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(2))["StepIds"]
    assert state_of(emr, cluster, first) == "PENDING"
    cloud.clock.advance(100)
    assert state_of(emr, cluster, first) == "RUNNING"
    assert state_of(emr, cluster, second) == "PENDING"
    assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == "RUNNING"
    cloud.clock.advance(100)
    assert [state_of(emr, cluster, step) for step in (first, second)] == ["COMPLETED", "RUNNING"]
    cloud.clock.advance(100)
    assert state_of(emr, cluster, second) == "COMPLETED"
    assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == "WAITING"
    ran = [emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"] for step in (first, second)]
    assert ran[1]["Timeline"]["StartDateTime"] >= ran[0]["Timeline"]["EndDateTime"]


def test_step_concurrency_level_is_kept(cloud: LocalCloud, client: Client) -> None:
    cloud.emr.set(pending=0.0)
    emr, cluster = client("emr"), cloud.emr.create_cluster(concurrency=3)
    emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(5))

    def running() -> int:
        return len(emr.list_steps(ClusterId=cluster, StepStates=["RUNNING"])["Steps"])

    assert running() == 3
    emr.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=5)
    assert running() == 5


def test_running_step_passes_through_cancel_pending(cloud: LocalCloud, client: Client) -> None:
    cloud.emr.set(pending=0.0, cancel=100)
    emr, cluster = client("emr"), cloud.emr.create_cluster()
    running, pending = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(2))["StepIds"]
    answer = emr.cancel_steps(ClusterId=cluster, StepIds=[running, pending])["CancelStepsInfoList"]
    assert answer == [
        {"StepId": running, "Status": "SUBMITTED"},
        {"StepId": pending, "Status": "SUBMITTED"},
    ]
    assert state_of(emr, cluster, running) == "CANCEL_PENDING"
    eventually(lambda: state_of(emr, cluster, pending), "CANCELLED")
    assert state_of(emr, cluster, running) == "CANCEL_PENDING"
    cloud.clock.advance(100)
    assert state_of(emr, cluster, running) == "CANCELLED"
    seen = truth(cloud, running)
    assert (seen["cancelled"], seen["scope"], seen["labels"]["properties"]) == (
        True,
        cluster,
        {"owner": "me"},
    )
    assert seen["created_at"] <= seen["cancel_requested_at"] < seen["ended_at"]


def test_outcomes_per_id(cloud: LocalCloud, client: Client) -> None:
    cloud.emr.set(pending=0.0)
    emr, cluster = client("emr"), cloud.emr.create_cluster(concurrency=3)
    ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(3))["StepIds"]
    cloud.emr.finish(ids[0], "COMPLETED")
    cloud.emr.override(ids[1], refuse="no")
    unknown = "s-0000000000000"
    answer = emr.cancel_steps(ClusterId=cluster, StepIds=[*ids, unknown])["CancelStepsInfoList"]
    assert [info["Status"] for info in answer] == ["FAILED", "FAILED", "SUBMITTED", "FAILED"]
    assert answer[0]["Reason"] == "Cannot cancel the step. It is already COMPLETED."
    assert answer[1]["Reason"] == "This step cannot be cancelled."
    assert unknown in answer[3]["Reason"]


def test_stubborn_step_ends_on_terminate_process_only(cloud: LocalCloud, client: Client) -> None:
    cloud.emr.set(pending=0.0, cancel=0.1)
    cloud.emr.override("deaf-*", stubborn=True)
    emr, cluster = client("emr"), cloud.emr.create_cluster()
    (step,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(1, "deaf"))["StepIds"]
    emr.cancel_steps(ClusterId=cluster, StepIds=[step])
    cloud.clock.advance(100)
    assert state_of(emr, cluster, step) == "CANCEL_PENDING"
    emr.cancel_steps(ClusterId=cluster, StepIds=[step], StepCancellationOption="TERMINATE_PROCESS")
    eventually(lambda: state_of(emr, cluster, step), "CANCELLED")


def test_step_may_complete_before_the_cancel_takes_effect(cloud: LocalCloud, client: Client) -> None:
    cloud.emr.set(pending=0.0, run=100, cancel=1000)
    emr, cluster = client("emr"), cloud.emr.create_cluster()
    (step,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(1))["StepIds"]
    emr.cancel_steps(ClusterId=cluster, StepIds=[step])
    cloud.clock.advance(100)
    assert state_of(emr, cluster, step) == "COMPLETED"
    assert truth(cloud, step)["cancelled"] is False


def test_releases_decide_what_can_be_cancelled(cloud: LocalCloud, client: Client) -> None:
    cloud.emr.set(pending=0.0)
    emr = client("emr")
    for release in ("emr-4.7.2", "emr-5.0.0"):
        cluster = cloud.emr.create_cluster(release)
        (step,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(1))["StepIds"]
        assert code_of(emr.cancel_steps, ClusterId=cluster, StepIds=[step])[0] == "InvalidRequestException"
    cluster = cloud.emr.create_cluster("emr-5.27.1")
    ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(2))["StepIds"]
    running, pending = emr.cancel_steps(ClusterId=cluster, StepIds=ids)["CancelStepsInfoList"]
    assert running["Reason"] == "Cannot cancel the step. It is already RUNNING."
    assert pending["Status"] == "SUBMITTED"


def test_limits(cloud: LocalCloud, client: Client) -> None:
    emr, cluster = client("emr"), cloud.emr.create_cluster()
    add, cancel, show = emr.add_job_flow_steps, emr.cancel_steps, emr.list_steps
    assert code_of(add, JobFlowId=cluster, Steps=steps(257)) == ("ValidationException", 400)
    assert code_of(add, JobFlowId=cluster, Steps=steps(1, "n" * 256)) == ("ValidationException", 400)
    assert code_of(add, JobFlowId="j-NONE", Steps=steps(1)) == ("ValidationException", 400)
    add(JobFlowId=cluster, Steps=steps(256))
    assert code_of(add, JobFlowId=cluster, Steps=steps(1)) == ("ValidationException", 400)
    ids = [f"s-{index:013}" for index in range(257)]
    assert code_of(cancel, ClusterId=cluster, StepIds=ids) == ("InvalidRequestException", 400)
    assert code_of(cancel, ClusterId="j-NONE", StepIds=ids[:1]) == ("InvalidRequestException", 400)
    assert code_of(show, ClusterId=cluster, StepIds=ids[:11]) == ("InvalidRequestException", 400)
    with pytest.raises(ClientError, match=r"Cluster id 'j-NONE' is not valid\."):
        show(ClusterId="j-NONE")
    with pytest.raises(ClientError, match=rf"Step id '{ids[0]}' is not valid\."):
        emr.describe_step(ClusterId=cluster, StepId=ids[0])


def test_lists_pages_newest_first_and_filtered_oldest_first(cloud: LocalCloud, client: Client) -> None:
    emr, cluster = client("emr"), cloud.emr.create_cluster()
    ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(120))["StepIds"]
    pages = list(emr.get_paginator("list_steps").paginate(ClusterId=cluster))
    assert [len(page["Steps"]) for page in pages] == [50, 50, 20]
    assert [step["Id"] for page in pages for step in page["Steps"]] == ids[::-1]
    living = emr.get_paginator("list_steps").paginate(ClusterId=cluster, StepStates=["PENDING", "RUNNING"])
    assert [step["Id"] for page in living for step in page["Steps"]] == ids
    assert [s["Id"] for s in emr.list_steps(ClusterId=cluster, StepIds=ids[3:6])["Steps"]] == ids[3:6]


def test_clusters_are_listed_by_state_and_page(cloud: LocalCloud, client: Client) -> None:
    emr, ids = client("emr"), {cloud.emr.create_cluster() for _ in range(60)}
    ended = sorted(ids)[:2]
    emr.terminate_job_flows(JobFlowIds=ended)
    pages = list(emr.get_paginator("list_clusters").paginate(ClusterStates=["WAITING", "RUNNING"]))
    assert [len(page["Clusters"]) for page in pages] == [50, 8]
    assert {cluster["Id"] for page in pages for cluster in page["Clusters"]} == ids - set(ended)
    over = emr.list_clusters(ClusterStates=["TERMINATED"])["Clusters"]
    assert sorted(cluster["Id"] for cluster in over) == ended


def test_run_job_flow_queues_its_steps_and_ends_with_the_last(cloud: LocalCloud, client: Client) -> None:
    cloud.emr.set(pending=0.0, run=0.2)
    emr = client("emr")
    cluster = emr.run_job_flow(
        Name="transient",
        ReleaseLabel="emr-7.5.0",
        Instances={"InstanceCount": 1, "MasterInstanceType": "m5.xlarge"},
        Steps=steps(2),
    )["JobFlowId"]
    assert len(emr.list_steps(ClusterId=cluster)["Steps"]) == 2

    def state() -> Any:
        return emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"]

    assert state() == "RUNNING"
    eventually(state, "TERMINATED")
    assert {step["Status"]["State"] for step in emr.list_steps(ClusterId=cluster)["Steps"]} == {"COMPLETED"}


def test_terminated_cluster_ends_its_steps(cloud: LocalCloud, client: Client) -> None:
    emr, cluster = client("emr"), cloud.emr.create_cluster()
    ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(2))["StepIds"]
    emr.terminate_job_flows(JobFlowIds=[cluster])
    assert {state_of(emr, cluster, step) for step in ids} == {"CANCELLED"}
    assert truth(cloud, ids[0])["cancelled"]
    assert code_of(emr.add_job_flow_steps, JobFlowId=cluster, Steps=steps(1))[0] == "ValidationException"


@pytest.mark.parametrize(
    "action, second, cluster_state",
    [
        ("CONTINUE", "RUNNING", "RUNNING"),
        ("CANCEL_AND_WAIT", "CANCELLED", "WAITING"),
        ("TERMINATE_CLUSTER", "CANCELLED", "TERMINATED"),
    ],
)
def test_action_on_failure(
    cloud: LocalCloud, client: Client, action: str, second: str, cluster_state: str
) -> None:
    cloud.emr.set(pending=0.0)
    cloud.emr.override("bad-*", run=0.05, outcome="failure")
    emr, cluster = client("emr"), cloud.emr.create_cluster()
    both = steps(1, "bad", ActionOnFailure=action) + steps(1, "good")
    ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=both)["StepIds"]
    eventually(lambda: state_of(emr, cluster, ids[0]), "FAILED")
    assert state_of(emr, cluster, ids[1]) == second
    assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == cluster_state


def test_regions_are_apart(cloud: LocalCloud, client: Client) -> None:
    cluster = cloud.emr.create_cluster(region="eu-west-1")
    assert client("emr", region="eu-west-1").list_steps(ClusterId=cluster)["Steps"] == []
    assert code_of(client("emr").list_steps, ClusterId=cluster)[0] == "InvalidRequestException"
