"""The local cloud's AWS services, as boto3 sees them over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

ROLE = "arn:aws:iam::123456789012:role/runtime"
ENDING = ["CANCELLING", "CANCELLED"]
SPARK = {"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}}
Client = Callable[..., Any]


@pytest.fixture(scope="module")
def session() -> Any:
    # One for all, since reading the SDK's models of the services takes most of the time of a short test.
    return boto3.session.Session()


@pytest.fixture
def client(cloud: LocalCloud, session: Any) -> Iterator[Client]:
    made: list[Any] = []

    def make(
        service: str, *, region: str = "us-east-1", key: str = "AKIDTEST", attempts: int = 1, **config: Any
    ) -> Any:
        settings = Config(retries={"mode": "standard", "total_max_attempts": attempts}, **config)
        identity = {"aws_access_key_id": key, "aws_secret_access_key": "secret", "region_name": region}
        made.append(session.client(service, endpoint_url=cloud.url, config=settings, **identity))
        return made[-1]

    yield make
    for one in made:
        one.close()


def eventually(read: Callable[[], Any], wanted: Any, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while (seen := read()) != wanted:
        assert time.monotonic() < deadline, f"{seen!r} instead of {wanted!r}"
        time.sleep(0.02)


def code_of(call: Callable[..., Any], **params: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def truth(cloud: LocalCloud, job_id: str) -> dict[str, Any]:
    return next(job for job in cloud.jobs() if job["id"] == job_id)


def steps(count: int, name: str = "step", **more: Any) -> list[dict[str, Any]]:
    jar = {
        "Jar": "command-runner.jar",
        "Args": ["spark-submit"],
        "Properties": [{"Key": "owner", "Value": "me"}],
    }
    return [{"Name": f"{name}-{index}", "HadoopJarStep": jar, **more} for index in range(count)]


class TestEmr:
    def state(self, emr: Any, cluster: str, step: str) -> Any:
        return emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"]["State"]

    def test_steps_run_one_after_the_other(self, cloud: LocalCloud, client: Client) -> None:
        cloud.emr.set(pending=0.1, run=0.3)
        emr, cluster = client("emr"), cloud.emr.create_cluster()
        first, second = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(2))["StepIds"]
        assert self.state(emr, cluster, first) == "PENDING"
        eventually(lambda: self.state(emr, cluster, first), "RUNNING")
        assert self.state(emr, cluster, second) == "PENDING"
        assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == "RUNNING"
        eventually(lambda: self.state(emr, cluster, first), "COMPLETED")
        eventually(lambda: self.state(emr, cluster, second), "COMPLETED")
        assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == "WAITING"
        ran = [
            emr.describe_step(ClusterId=cluster, StepId=step)["Step"]["Status"] for step in (first, second)
        ]
        assert ran[1]["Timeline"]["StartDateTime"] >= ran[0]["Timeline"]["EndDateTime"]

    def test_step_concurrency_level_is_kept(self, cloud: LocalCloud, client: Client) -> None:
        cloud.emr.set(pending=0.0)
        emr, cluster = client("emr"), cloud.emr.create_cluster(concurrency=3)
        emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(5))

        def running() -> int:
            return len(emr.list_steps(ClusterId=cluster, StepStates=["RUNNING"])["Steps"])

        assert running() == 3
        emr.modify_cluster(ClusterId=cluster, StepConcurrencyLevel=5)
        assert running() == 5

    def test_running_step_passes_through_cancel_pending(self, cloud: LocalCloud, client: Client) -> None:
        cloud.emr.set(pending=0.0)
        emr, cluster = client("emr"), cloud.emr.create_cluster()
        running, pending = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(2))["StepIds"]
        answer = emr.cancel_steps(ClusterId=cluster, StepIds=[running, pending])["CancelStepsInfoList"]
        assert answer == [
            {"StepId": running, "Status": "SUBMITTED"},
            {"StepId": pending, "Status": "SUBMITTED"},
        ]
        assert self.state(emr, cluster, running) == "CANCEL_PENDING"
        eventually(lambda: self.state(emr, cluster, pending), "CANCELLED", 0.4)
        assert self.state(emr, cluster, running) == "CANCEL_PENDING"
        eventually(lambda: self.state(emr, cluster, running), "CANCELLED")
        seen = truth(cloud, running)
        assert (seen["cancelled"], seen["scope"], seen["labels"]["properties"]) == (
            True,
            cluster,
            {"owner": "me"},
        )
        assert seen["created_at"] <= seen["cancel_requested_at"] < seen["ended_at"]

    def test_outcomes_per_id(self, cloud: LocalCloud, client: Client) -> None:
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

    def test_stubborn_step_ends_on_terminate_process_only(self, cloud: LocalCloud, client: Client) -> None:
        cloud.emr.set(pending=0.0, cancel=0.1)
        cloud.emr.override("deaf-*", stubborn=True)
        emr, cluster = client("emr"), cloud.emr.create_cluster()
        (step,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(1, "deaf"))["StepIds"]
        emr.cancel_steps(ClusterId=cluster, StepIds=[step])
        time.sleep(0.3)
        assert self.state(emr, cluster, step) == "CANCEL_PENDING"
        emr.cancel_steps(ClusterId=cluster, StepIds=[step], StepCancellationOption="TERMINATE_PROCESS")
        eventually(lambda: self.state(emr, cluster, step), "CANCELLED")

    def test_step_may_complete_before_the_cancel_takes_effect(
        self, cloud: LocalCloud, client: Client
    ) -> None:
        cloud.emr.set(pending=0.0, run=0.2, cancel=5)
        emr, cluster = client("emr"), cloud.emr.create_cluster()
        (step,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(1))["StepIds"]
        emr.cancel_steps(ClusterId=cluster, StepIds=[step])
        eventually(lambda: self.state(emr, cluster, step), "COMPLETED")
        assert truth(cloud, step)["cancelled"] is False

    def test_releases_decide_what_can_be_cancelled(self, cloud: LocalCloud, client: Client) -> None:
        cloud.emr.set(pending=0.0)
        emr = client("emr")
        for release in ("emr-4.7.2", "emr-5.0.0"):
            cluster = cloud.emr.create_cluster(release)
            (step,) = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(1))["StepIds"]
            assert (
                code_of(emr.cancel_steps, ClusterId=cluster, StepIds=[step])[0] == "InvalidRequestException"
            )
        cluster = cloud.emr.create_cluster("emr-5.27.1")
        ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(2))["StepIds"]
        running, pending = emr.cancel_steps(ClusterId=cluster, StepIds=ids)["CancelStepsInfoList"]
        assert running["Reason"] == "Cannot cancel the step. It is already RUNNING."
        assert pending["Status"] == "SUBMITTED"

    def test_limits(self, cloud: LocalCloud, client: Client) -> None:
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

    def test_lists_pages_newest_first_and_filtered_oldest_first(
        self, cloud: LocalCloud, client: Client
    ) -> None:
        emr, cluster = client("emr"), cloud.emr.create_cluster()
        ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(120))["StepIds"]
        pages = list(emr.get_paginator("list_steps").paginate(ClusterId=cluster))
        assert [len(page["Steps"]) for page in pages] == [50, 50, 20]
        assert [step["Id"] for page in pages for step in page["Steps"]] == ids[::-1]
        living = emr.get_paginator("list_steps").paginate(
            ClusterId=cluster, StepStates=["PENDING", "RUNNING"]
        )
        assert [step["Id"] for page in living for step in page["Steps"]] == ids
        assert [s["Id"] for s in emr.list_steps(ClusterId=cluster, StepIds=ids[3:6])["Steps"]] == ids[3:6]

    def test_clusters_are_listed_by_state_and_page(self, cloud: LocalCloud, client: Client) -> None:
        emr, ids = client("emr"), {cloud.emr.create_cluster() for _ in range(60)}
        ended = sorted(ids)[:2]
        emr.terminate_job_flows(JobFlowIds=ended)
        pages = list(emr.get_paginator("list_clusters").paginate(ClusterStates=["WAITING", "RUNNING"]))
        assert [len(page["Clusters"]) for page in pages] == [50, 8]
        assert {cluster["Id"] for page in pages for cluster in page["Clusters"]} == ids - set(ended)
        over = emr.list_clusters(ClusterStates=["TERMINATED"])["Clusters"]
        assert sorted(cluster["Id"] for cluster in over) == ended

    def test_run_job_flow_queues_its_steps_and_ends_with_the_last(
        self, cloud: LocalCloud, client: Client
    ) -> None:
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
        assert {step["Status"]["State"] for step in emr.list_steps(ClusterId=cluster)["Steps"]} == {
            "COMPLETED"
        }

    def test_terminated_cluster_ends_its_steps(self, cloud: LocalCloud, client: Client) -> None:
        emr, cluster = client("emr"), cloud.emr.create_cluster()
        ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=steps(2))["StepIds"]
        emr.terminate_job_flows(JobFlowIds=[cluster])
        assert {self.state(emr, cluster, step) for step in ids} == {"CANCELLED"}
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
        self, cloud: LocalCloud, client: Client, action: str, second: str, cluster_state: str
    ) -> None:
        cloud.emr.set(pending=0.0)
        cloud.emr.override("bad-*", run=0.05, outcome="failure")
        emr, cluster = client("emr"), cloud.emr.create_cluster()
        both = steps(1, "bad", ActionOnFailure=action) + steps(1, "good")
        ids = emr.add_job_flow_steps(JobFlowId=cluster, Steps=both)["StepIds"]
        eventually(lambda: self.state(emr, cluster, ids[0]), "FAILED")
        assert self.state(emr, cluster, ids[1]) == second
        assert emr.describe_cluster(ClusterId=cluster)["Cluster"]["Status"]["State"] == cluster_state

    def test_regions_are_apart(self, cloud: LocalCloud, client: Client) -> None:
        cluster = cloud.emr.create_cluster(region="eu-west-1")
        assert client("emr", region="eu-west-1").list_steps(ClusterId=cluster)["Steps"] == []
        assert code_of(client("emr").list_steps, ClusterId=cluster)[0] == "InvalidRequestException"


class TestBatch:
    def submit(self, batch: Any, name: str = "job", **more: Any) -> str:
        return str(
            batch.submit_job(jobName=name, jobQueue="queue", jobDefinition="definition", **more)["jobId"]
        )

    def job(self, batch: Any, job_id: str) -> dict[str, Any]:
        (job,) = batch.describe_jobs(jobs=[job_id])["jobs"]
        return dict(job)

    def test_states_in_order(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0.1, pending=0.1, starting=0.1, run=0.1)
        batch = client("batch")
        job = self.submit(batch, parameters={"owner": "me"}, tags={"a": "b"})
        seen: list[str] = []
        while seen[-1:] != ["SUCCEEDED"]:
            state = self.job(batch, job)["status"]
            seen += [state] if state not in seen else []
            time.sleep(0.01)
        assert seen == ["SUBMITTED", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED"]
        shown = self.job(batch, job)
        assert (shown["parameters"], shown["tags"], shown["container"]["exitCode"]) == (
            {"owner": "me"},
            {"a": "b"},
            0,
        )

    def test_failed_job_is_tried_again(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0, pending=0, starting=0, run=0.1, outcome="failure")
        batch = client("batch")
        once, thrice = self.submit(batch), self.submit(batch, retryStrategy={"attempts": 3})
        eventually(lambda: self.job(batch, once)["status"], "FAILED")
        assert self.job(batch, thrice)["status"] == "RUNNING"
        eventually(lambda: self.job(batch, thrice)["status"], "FAILED")

    def test_terminate_running(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0, pending=0, starting=0)
        batch = client("batch")
        job = self.submit(batch)
        batch.terminate_job(jobId=job, reason="enough")
        shown = self.job(batch, job)
        assert (shown["status"], shown["isTerminated"]) == ("RUNNING", True)
        eventually(lambda: self.job(batch, job)["status"], "FAILED")
        assert self.job(batch, job)["statusReason"] == "enough"
        batch.terminate_job(jobId=job, reason="again")
        assert self.job(batch, job)["statusReason"] == "enough"
        assert truth(cloud, job)["cancelled"]

    def test_cancel_reaches_only_what_has_not_started(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0, pending=0, starting=0, cancel=0.05)
        cloud.batch.override("waits", pending=600)
        cloud.batch.override("starts", starting=600)
        batch = client("batch")
        ids = {name: self.submit(batch, name) for name in ("waits", "starts", "runs")}
        batch.cancel_job(jobId=ids["runs"], reason="stop")
        answer = batch.cancel_jobs(jobs=[*ids.values(), "unknown"], reason="stop")
        assert (answer["successful"], answer["errors"]) == ([*ids.values(), "unknown"], [])
        eventually(lambda: self.job(batch, ids["waits"])["status"], "FAILED")
        assert self.job(batch, ids["waits"])["isCancelled"]
        for name, state in (("starts", "STARTING"), ("runs", "RUNNING")):
            shown = self.job(batch, ids[name])
            assert (shown["status"], shown["isCancelled"], shown["isTerminated"]) == (state, False, False)

    def test_bulk_limits_and_refusals(self, cloud: LocalCloud, client: Client) -> None:
        batch = client("batch")
        mine, theirs = self.submit(batch, "mine"), self.submit(batch, "theirs")
        cloud.batch.override("theirs", refuse="AccessDenied")
        answer = batch.terminate_jobs(jobs=[mine, theirs], reason="r" * 1024)
        assert answer["successful"] == [mine]
        assert [(error["job"], error["code"]) for error in answer["errors"]] == [(theirs, "AccessDenied")]
        bad: list[dict[str, Any]] = [
            {"jobs": [mine] * 51, "reason": "r"},
            {"jobs": [], "reason": "r"},
            {"jobs": [mine], "reason": ""},
            {"jobs": [mine], "reason": "r" * 1025},
        ]
        for params in bad:
            assert code_of(batch.terminate_jobs, **params) == ("ClientException", 400)
        assert code_of(batch.terminate_job, jobId=theirs, reason="r") == ("AccessDeniedException", 403)

    def test_old_endpoint_without_bulk_calls(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(bulk=False)
        batch = client("batch")
        assert code_of(batch.terminate_jobs, jobs=["x"], reason="r")[1] == 404
        batch.terminate_job(jobId="x", reason="r")

    def test_dependants_end_after_what_they_wait_for(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0, pending=0, starting=0, cancel=0.05)
        batch = client("batch")
        first = self.submit(batch)
        second = self.submit(batch, dependsOn=[{"jobId": first}])
        third = self.submit(batch, dependsOn=[{"jobId": second}])
        batch.terminate_jobs(jobs=[second], reason="stop")
        time.sleep(0.2)
        shown = self.job(batch, second)
        assert (shown["status"], shown["isTerminated"]) == ("PENDING", True)
        cloud.batch.finish(first, "SUCCEEDED")
        eventually(lambda: self.job(batch, second)["status"], "FAILED")
        assert self.job(batch, second)["statusReason"] == "stop"
        eventually(lambda: self.job(batch, third)["status"], "FAILED")
        assert self.job(batch, third)["statusReason"] == "Dependent Job failed"
        assert truth(cloud, second)["cancelled"]
        assert not truth(cloud, third)["cancelled"]

    def test_array_goes_with_its_parent(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0, pending=0, starting=0)
        batch = client("batch")
        parent = self.submit(batch, arrayProperties={"size": 5}, tags={"a": "b"})
        shown = self.job(batch, parent)
        assert (shown["status"], shown["arrayProperties"]["statusSummary"]["RUNNING"]) == ("PENDING", 5)
        assert self.job(batch, f"{parent}:3")["tags"] == {}
        batch.terminate_job(jobId=f"{parent}:3", reason="one")
        eventually(lambda: self.job(batch, f"{parent}:3")["status"], "FAILED")
        assert [c["jobId"] for c in batch.list_jobs(arrayJobId=parent)["jobSummaryList"]].count(
            f"{parent}:3"
        ) == 0
        batch.terminate_jobs(jobs=[parent], reason="all")
        eventually(lambda: self.job(batch, parent)["status"], "FAILED")
        assert self.job(batch, parent)["arrayProperties"]["statusSummary"]["FAILED"] == 5
        assert self.job(batch, f"{parent}:0")["statusReason"] == "all"

    def test_arrays_depend_on_each_other_by_index(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0, pending=0, starting=0)
        batch = client("batch")
        first = self.submit(batch, arrayProperties={"size": 2}, dependsOn=[{"type": "SEQUENTIAL"}])
        second = self.submit(
            batch, arrayProperties={"size": 2}, dependsOn=[{"jobId": first, "type": "N_TO_N"}]
        )
        ids = [f"{first}:0", f"{first}:1", f"{second}:0", f"{second}:1"]

        def states() -> list[str]:
            return [self.job(batch, job)["status"] for job in ids]

        assert states() == ["RUNNING", "PENDING", "PENDING", "PENDING"]
        cloud.batch.finish(ids[0], "SUCCEEDED")
        assert states() == ["SUCCEEDED", "RUNNING", "RUNNING", "PENDING"]

    def test_nodes_share_the_fate_of_their_job(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0, pending=0, starting=0)
        batch = client("batch")
        job = self.submit(batch, nodeOverrides={"numNodes": 3})
        assert self.job(batch, f"{job}#0")["nodeDetails"] == {"nodeIndex": 0, "isMainNode": True}
        assert len(batch.list_jobs(multiNodeJobId=job)["jobSummaryList"]) == 3
        batch.terminate_job(jobId=job, reason="stop")
        eventually(lambda: self.job(batch, f"{job}#2")["status"], "FAILED")

    def test_listing(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0, pending=0, starting=0)
        cloud.batch.override("*-queued", pending=600)
        batch = client("batch")
        running = [self.submit(batch, f"Alpha-{index}", tags={"a": "b"}) for index in range(3)]
        queued = self.submit(batch, "beta-queued")
        batch.terminate_job(jobId=running[0], reason="stop")

        def ids(**params: Any) -> list[str]:
            return [job["jobId"] for job in batch.list_jobs(jobQueue="queue", **params)["jobSummaryList"]]

        assert ids() == running[::-1]
        assert ids(jobStatus="RUNNABLE") == [queued]
        assert ids(filters=[{"name": "JOB_NAME", "values": ["alpha*"]}], jobStatus="FAILED") == running[::-1]
        assert ids(filters=[{"name": "JOB_NAME", "values": ["BETA-queued"]}]) == [queued]
        assert ids(filters=[{"name": "AFTER_CREATED_AT", "values": ["1"]}]) == [queued, *running[::-1]]
        shown = batch.list_jobs(jobQueue="arn:aws:batch:us-east-1:1:job-queue/queue")["jobSummaryList"]
        assert [job.get("isTerminated") for job in shown] == [None, None, True]
        assert not any("tags" in job or "isCancelled" in job for job in shown)
        assert code_of(batch.list_jobs, jobQueue="q", arrayJobId="a") == ("ClientException", 400)
        assert code_of(batch.list_jobs) == ("ClientException", 400)
        many = {"jobQueue": "q", "filters": [{"name": "JOB_NAME", "values": ["a"]}], "maxResults": 101}
        assert code_of(batch.list_jobs, **many) == ("ClientException", 400)

    def test_queues(self, cloud: LocalCloud, client: Client) -> None:
        """Those that jobs were sent to, and those that a test has set; each place has its own jobs."""
        batch, elsewhere = client("batch"), client("batch", region="eu-central-1")
        self.submit(batch)
        cloud.batch.set_queue("old", state="DISABLED", status="INVALID")

        def shown(client: Any, **params: Any) -> list[tuple[str, str, str]]:
            queues = client.describe_job_queues(**params)["jobQueues"]
            return [(queue["jobQueueName"], queue["state"], queue["status"]) for queue in queues]

        old, used = ("old", "DISABLED", "INVALID"), ("queue", "ENABLED", "VALID")
        assert shown(batch) == [old, used]
        assert shown(elsewhere) == [old]
        (queue,) = batch.describe_job_queues(jobQueues=["queue"])["jobQueues"]
        assert shown(batch, jobQueues=[queue["jobQueueArn"]]) == [used]
        assert shown(batch, jobQueues=["none"]) == []
        pages = batch.get_paginator("describe_job_queues").paginate(PaginationConfig={"PageSize": 1})
        assert [len(page["jobQueues"]) for page in pages] == [1, 1]
        assert code_of(batch.describe_job_queues, maxResults=101) == ("ClientException", 400)

    def test_a_queue_that_was_made(self, client: Client) -> None:
        batch = client("batch")
        environment = batch.create_compute_environment(
            computeEnvironmentName="env", type="UNMANAGED", state="ENABLED", serviceRole=self.role(client)
        )["computeEnvironmentArn"]
        batch.create_job_queue(
            jobQueueName="made",
            state="DISABLED",
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
        )
        self.submit(batch)
        queues = batch.describe_job_queues()["jobQueues"]
        assert [(queue["jobQueueName"], queue["state"]) for queue in queues] == [
            ("made", "DISABLED"),
            ("queue", "ENABLED"),
        ]

    def role(self, client: Client) -> str:
        role = client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]
        return str(role["Arn"])

    def test_a_thousand_jobs(self, cloud: LocalCloud, client: Client) -> None:
        cloud.batch.set(submitted=0, pending=0, starting=0, cancel=0.05)
        batch = client("batch", max_pool_connections=8)
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda n: self.submit(batch, f"job-{n}"), range(1001)))
        pages = list(batch.get_paginator("list_jobs").paginate(jobQueue="queue"))
        assert [len(page["jobSummaryList"]) for page in pages] == [1000, 1]
        for begin in range(0, 1001, 50):
            batch.terminate_jobs(jobs=ids[begin : begin + 50], reason="all")
        eventually(lambda: batch.list_jobs(jobQueue="queue")["jobSummaryList"], [])
        assert len(batch.describe_jobs(jobs=ids[:100])["jobs"]) == 100
        assert code_of(batch.describe_jobs, jobs=ids[:101]) == ("ClientException", 400)
        assert cloud.journal.count("batch", "TerminateJobs") == 21

    def test_mistakes_in_submissions(self, client: Client) -> None:
        batch = client("batch")
        bad: list[dict[str, Any]] = [
            {"jobName": "-starts-with-a-dash"},
            {"jobName": "n" * 129},
            {"jobQueue": ""},
            {"tags": {str(index): "" for index in range(51)}},
            {"arrayProperties": {"size": 1}},
            {"dependsOn": [{"jobId": "unknown"}]},
        ]
        for params in bad:
            whole = {"jobName": "n", "jobQueue": "q", "jobDefinition": "d", **params}
            assert code_of(batch.submit_job, **whole) == ("ClientException", 400)

    def test_tags_of_a_job(self, client: Client) -> None:
        batch = client("batch")
        arn = batch.submit_job(jobName="n", jobQueue="q", jobDefinition="d", tags={"a": "b"})["jobArn"]
        batch.tag_resource(resourceArn=arn, tags={"c": "d"})
        batch.untag_resource(resourceArn=arn, tagKeys=["a"])
        assert batch.list_tags_for_resource(resourceArn=arn)["tags"] == {"c": "d"}


class TestEmrServerless:
    def application(self, serverless: Any) -> str:
        made = serverless.create_application(
            name="app", releaseLabel="emr-7.9.0", type="SPARK", clientToken="t"
        )
        return str(made["applicationId"])

    def start(self, serverless: Any, application: str, **more: Any) -> str:
        params = {"applicationId": application, "executionRoleArn": ROLE, "jobDriver": SPARK, **more}
        return str(serverless.start_job_run(**params)["jobRunId"])

    def state(self, serverless: Any, application: str, run: str) -> Any:
        return serverless.get_job_run(applicationId=application, jobRunId=run)["jobRun"]["state"]

    def test_lifecycle(self, cloud: LocalCloud, client: Client) -> None:
        cloud.services["emr-serverless"].configure({"run": 0.2})  # type: ignore[attr-defined]
        serverless = client("emr-serverless")
        application = self.application(serverless)
        run = self.start(serverless, application, name="nightly", tags={"a": "b"})
        seen: list[str] = []
        while seen[-1:] != ["SUCCESS"]:
            state = self.state(serverless, application, run)
            seen += [state] if state not in seen else []
            time.sleep(0.01)
        assert seen == ["SUBMITTED", "PENDING", "SCHEDULED", "RUNNING", "SUCCESS"]
        shown = serverless.get_job_run(applicationId=application, jobRunId=run)["jobRun"]
        assert (shown["tags"], shown["createdBy"]) == ({"a": "b"}, "arn:aws:iam::123456789012:user/AKIDTEST")
        cancel = serverless.cancel_job_run
        assert code_of(cancel, applicationId=application, jobRunId=run) == ("ValidationException", 400)
        assert serverless.get_application(applicationId=application)["application"]["state"] == "STARTED"

    def test_cancel_passes_through_cancelling(self, cloud: LocalCloud, client: Client) -> None:
        serverless = client("emr-serverless")
        application = self.application(serverless)
        run = self.start(serverless, application)
        eventually(lambda: self.state(serverless, application, run), "RUNNING")
        for _ in range(2):
            serverless.cancel_job_run(applicationId=application, jobRunId=run)
            assert self.state(serverless, application, run) == "CANCELLING"
        stop = serverless.stop_application
        assert code_of(stop, applicationId=application) == ("ValidationException", 400)
        eventually(lambda: self.state(serverless, application, run), "CANCELLED")
        assert truth(cloud, run)["cancelled"]
        stop(applicationId=application)

    def test_grace_period(self, cloud: LocalCloud, client: Client) -> None:
        cloud.emr_serverless.set(stubborn=True)
        serverless = client("emr-serverless")
        application = self.application(serverless)
        polite, at_once = self.start(serverless, application), self.start(serverless, application)
        for seconds in (-1, 14, 1801):
            params = {
                "applicationId": application,
                "jobRunId": polite,
                "shutdownGracePeriodInSeconds": seconds,
            }
            assert code_of(serverless.cancel_job_run, **params) == ("ValidationException", 400)
        serverless.cancel_job_run(applicationId=application, jobRunId=polite, shutdownGracePeriodInSeconds=15)
        serverless.cancel_job_run(applicationId=application, jobRunId=at_once, shutdownGracePeriodInSeconds=0)
        cloud.clock.advance(10)
        assert self.state(serverless, application, polite) == "CANCELLING"
        assert self.state(serverless, application, at_once) == "CANCELLED"
        cloud.clock.advance(10)
        assert self.state(serverless, application, polite) == "CANCELLED"

    def test_client_token(self, client: Client) -> None:
        serverless = client("emr-serverless")
        application = self.application(serverless)
        run = self.start(serverless, application, clientToken="once")
        assert self.start(serverless, application, clientToken="once") == run
        other = {
            "applicationId": application,
            "executionRoleArn": ROLE,
            "clientToken": "once",
            "name": "other",
        }
        assert code_of(serverless.start_job_run, **other) == ("ConflictException", 409)

    def test_listing(self, cloud: LocalCloud, client: Client) -> None:
        serverless = client("emr-serverless")
        application = self.application(serverless)
        runs = [self.start(serverless, application, name=f"run-{n}", tags={"a": "b"}) for n in range(60)]
        stream = self.start(serverless, application, mode="STREAMING")
        cloud.emr_serverless.finish(runs[0], "FAILED")
        pages = list(serverless.get_paginator("list_job_runs").paginate(applicationId=application))
        assert [run["id"] for page in pages for run in page["jobRuns"]] == [stream, *runs[::-1]]
        assert [len(page["jobRuns"]) for page in pages] == [50, 11]
        assert "tags" not in pages[0]["jobRuns"][0]

        def ids(**params: Any) -> list[str]:
            found = serverless.list_job_runs(applicationId=application, **params)["jobRuns"]
            return [run["id"] for run in found]

        assert ids(states=["FAILED", "SUCCESS"]) == [runs[0]]
        assert ids(mode="STREAMING") == [stream]
        assert ids(createdAtAfter=time.time() + 60) == []
        assert len(ids(createdAtAfter=time.time() - 60)) == 50
        nine = ["RUNNING", *("SUBMITTED", "QUEUED", "PENDING", "SCHEDULED"), *("SUCCESS", "FAILED"), *ENDING]
        for params in ({"states": nine}, {"maxResults": 51}):
            listing = serverless.list_job_runs
            assert code_of(listing, applicationId=application, **params) == ("ValidationException", 400)

    def test_applications_are_listed_by_state_and_page(self, client: Client) -> None:
        serverless = client("emr-serverless")
        ids = {
            serverless.create_application(name="a", releaseLabel="emr-7.9.0", type="SPARK")["applicationId"]
            for _ in range(60)
        }
        started, deleted, *_ = sorted(ids)
        self.start(serverless, started)
        serverless.delete_application(applicationId=deleted)

        def listed(*states: str) -> list[set[str]]:
            pages = serverless.get_paginator("list_applications").paginate(
                states=list(states), PaginationConfig={"PageSize": 50}
            )
            return [{found["id"] for found in page["applications"]} for page in pages]

        assert listed("STARTED") == [{started}]
        assert listed("TERMINATED") == [{deleted}]
        first, second = listed("CREATED", "STARTED")
        assert (len(first), first | second) == (50, ids - {deleted})

    def test_unknown_things_and_mistakes(self, client: Client) -> None:
        serverless = client("emr-serverless")
        application = self.application(serverless)
        for call in (serverless.get_job_run, serverless.cancel_job_run):
            for ids in ((application, "00none"), ("00none", "00none")):
                params = {"applicationId": ids[0], "jobRunId": ids[1]}
                assert code_of(call, **params) == ("ResourceNotFoundException", 404)
        assert code_of(serverless.get_application, applicationId="00none")[1] == 404
        start = {"applicationId": application, "executionRoleArn": ROLE}
        for mistake in ({"name": "n" * 257}, {"tags": {"schlüssel": "x"}}, {"tags": {"k": "v" * 257}}):
            assert code_of(serverless.start_job_run, **start, **mistake) == ("ValidationException", 400)

    def test_created_by_names_the_assumed_role(self, client: Client) -> None:
        role = client("sts").assume_role(RoleArn=ROLE, RoleSessionName="Airflow_conn")["Credentials"]
        serverless = client("emr-serverless", key=role["AccessKeyId"])
        application = self.application(serverless)
        self.start(serverless, application)
        (run,) = serverless.list_job_runs(applicationId=application)["jobRuns"]
        assert run["createdBy"].endswith(":assumed-role/runtime/Airflow_conn")


FAULT_CODES = [
    ("emr", "ListClusters", "throttle", "ThrottlingException", 400),
    ("emr", "ListClusters", "server_error", "InternalServerError", 500),
    ("emr", "ListClusters", "denied", "AccessDeniedException", 400),
    ("emr", "ListClusters", "expired_token", "ExpiredTokenException", 400),
    ("batch", "DescribeJobs", "throttle", "TooManyRequestsException", 429),
    ("batch", "DescribeJobs", "server_error", "ServerException", 500),
    ("batch", "DescribeJobs", "denied", "AccessDeniedException", 403),
    ("batch", "DescribeJobs", "expired_token", "ExpiredTokenException", 403),
    ("emr-serverless", "ListApplications", "throttle", "ThrottlingException", 429),
    ("emr-serverless", "ListApplications", "server_error", "InternalServerException", 500),
    ("emr-serverless", "ListApplications", "denied", "AccessDeniedException", 403),
    ("emr-serverless", "ListApplications", "expired_token", "ExpiredTokenException", 403),
]
CALLS: dict[str, Callable[[Any], Any]] = {
    "emr": lambda c: c.list_clusters(),
    "batch": lambda c: c.describe_jobs(jobs=["x"]),
    "emr-serverless": lambda c: c.list_applications(),
}


class TestFaults:
    @pytest.mark.parametrize("service, operation, kind, code, status", FAULT_CODES)
    def test_worded_by_the_service(
        self,
        cloud: LocalCloud,
        client: Client,
        service: str,
        operation: str,
        kind: str,
        code: str,
        status: int,
    ) -> None:
        cloud.faults.add(service, operation, kind, times=1)
        one = client(service)
        assert code_of(lambda: CALLS[service](one)) == (code, status)
        CALLS[service](one)
        assert [(entry.operation, entry.fault) for entry in cloud.journal] == [
            (operation, kind),
            (operation, ""),
        ]

    def test_throttling_is_retried_by_botocore(self, cloud: LocalCloud, client: Client) -> None:
        cloud.faults.add("batch", "*", "throttle", times=1)
        client("batch", attempts=3).describe_jobs(jobs=["x"])
        assert cloud.journal.count("batch", "DescribeJobs") == 2

    def test_reset_happens_before_the_act_and_lost_reply_after(
        self, cloud: LocalCloud, client: Client
    ) -> None:
        batch = client("batch")
        submit = {"jobName": "n", "jobQueue": "q", "jobDefinition": "d"}
        for kind, jobs in (("reset", 0), ("lost_reply", 1)):
            cloud.faults.add("batch", "SubmitJob", kind, times=1)
            with pytest.raises(ConnectionClosedError):
                batch.submit_job(**submit)
            assert len(cloud.jobs()) == jobs
        assert [entry.status for entry in cloud.journal] == [None, None]

    def test_latency_and_hang(self, cloud: LocalCloud, client: Client) -> None:
        batch = client("batch", read_timeout=1)
        cloud.faults.add("batch", "*", "latency", seconds=0.3)
        begin = time.monotonic()
        batch.describe_jobs(jobs=["x"])
        assert 0.3 <= time.monotonic() - begin < 1
        cloud.faults.add("batch", "TerminateJob", "hang")
        with pytest.raises(ReadTimeoutError):
            batch.terminate_job(jobId="x", reason="r")

    def test_when(self, cloud: LocalCloud, client: Client) -> None:
        batch = client("batch")

        def outcome() -> str:
            try:
                batch.terminate_jobs(jobs=["mine"], reason="r")
            except ClientError as error:
                return str(error.response["ResponseMetadata"]["HTTPStatusCode"])
            return "ok"

        cloud.faults.add("batch", "*", "throttle", every=2, after=1, times=2)
        assert [outcome() for _ in range(6)] == ["ok", "ok", "429", "ok", "429", "ok"]
        cloud.faults.clear()
        cloud.faults.add("*", "*", "server_error", id="other")
        cloud.faults.add("*", "*", "denied", id="mine", seconds=0.3)
        assert outcome() == "403"
        cloud.clock.advance(1)
        assert outcome() == "ok"

    def test_quota(self, cloud: LocalCloud, client: Client) -> None:
        batch = client("batch")
        cloud.faults.add("batch", "*", "throttle", rate=0.5, burst=3)
        for _ in range(3):
            batch.describe_jobs(jobs=["x"])
        assert code_of(batch.describe_jobs, jobs=["x"])[1] == 429
        cloud.clock.advance(2)
        batch.describe_jobs(jobs=["x"])
        assert code_of(batch.describe_jobs, jobs=["x"])[1] == 429

    def test_keys_that_the_cloud_does_not_know(self, cloud: LocalCloud, client: Client) -> None:
        cloud.bad_access_keys.add("AKIDBAD")
        cloud.expired_access_keys.add("AKIDOLD")
        assert code_of(client("emr", key="AKIDBAD").list_clusters) == ("UnrecognizedClientException", 400)
        assert (
            code_of(client("batch", key="AKIDBAD").describe_jobs, jobs=["x"])[0]
            == "UnrecognizedClientException"
        )
        assert code_of(client("sts", key="AKIDBAD").get_caller_identity) == ("InvalidClientTokenId", 403)
        assert code_of(client("emr", key="AKIDOLD").list_clusters) == ("ExpiredTokenException", 400)
        client("emr").list_clusters()
        assert [entry.access_key for entry in cloud.journal.entries("emr")] == [
            "AKIDBAD",
            "AKIDOLD",
            "AKIDTEST",
        ]


class TestControl:
    def test_over_http(self, cloud: LocalCloud, client: Client) -> None:
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
    def test_mistakes(self, cloud: LocalCloud, method: str, path: str, body: Any, status: int) -> None:
        answer = requests.request(method, f"{cloud.url}/_cloud/{path}", json=body, timeout=5)
        assert (answer.status_code, "error" in answer.json()) == (status, True)

    def test_as_a_program(self, tmp_path: Path) -> None:
        ready = tmp_path / "ready"
        command = [sys.executable, "-m", "tests.cloud", "--port", "0", "--ready-file", str(ready)]
        root = Path(__file__).parents[1]
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
