"""What the local cloud's AWS Batch lists, as boto3 sees it over HTTP."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tests.cloud_fixtures import Client, client, code_of, eventually, submit_job
from tests.service_fixtures import HAS_BULK, needs_bulk

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

__all__ = ["client"]


def role(client: Client) -> str:
    return str(client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"])


def test_listing(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=0, pending=0, starting=0)
    cloud.batch.override("*-queued", pending=600)
    batch = client("batch")
    running = [submit_job(batch, f"Alpha-{index}", tags={"a": "b"}) for index in range(3)]
    queued = submit_job(batch, "beta-queued")
    batch.terminate_job(jobId=running[0], reason="stop")

    def ids(**params: Any) -> list[str]:
        return [job["jobId"] for job in batch.list_jobs(jobQueue="queue", **params)["jobSummaryList"]]

    assert ids() == running[::-1]
    assert ids(jobStatus="RUNNABLE") == [queued]
    assert ids(filters=[{"name": "JOB_NAME", "values": ["alpha*"]}], jobStatus="FAILED") == running[::-1]
    assert ids(filters=[{"name": "JOB_NAME", "values": ["BETA-queued"]}]) == [queued]
    assert ids(filters=[{"name": "AFTER_CREATED_AT", "values": ["1"]}]) == [queued, *running[::-1]]
    shown = batch.list_jobs(jobQueue="arn:aws:batch:us-east-1:1:job-queue/queue")["jobSummaryList"]
    if HAS_BULK:  # listings show it since then
        assert [job.get("isTerminated") for job in shown] == [None, None, True]
    assert not any("tags" in job or "isCancelled" in job for job in shown)
    assert code_of(batch.list_jobs, jobQueue="q", arrayJobId="a") == ("ClientException", 400)
    assert code_of(batch.list_jobs) == ("ClientException", 400)
    many = {"jobQueue": "q", "filters": [{"name": "JOB_NAME", "values": ["a"]}], "maxResults": 101}
    assert code_of(batch.list_jobs, **many) == ("ClientException", 400)


def test_queues(cloud: LocalCloud, client: Client) -> None:
    """Those that jobs were sent to, and those that a test has set; each place has its own jobs."""
    batch, elsewhere = client("batch"), client("batch", region="eu-central-1")
    submit_job(batch)
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


def test_a_queue_that_was_made(client: Client) -> None:
    batch = client("batch")
    environment = batch.create_compute_environment(
        computeEnvironmentName="env", type="UNMANAGED", state="ENABLED", serviceRole=role(client)
    )["computeEnvironmentArn"]
    batch.create_job_queue(
        jobQueueName="made",
        state="DISABLED",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
    )
    submit_job(batch)
    queues = batch.describe_job_queues()["jobQueues"]
    assert [(queue["jobQueueName"], queue["state"]) for queue in queues] == [
        ("made", "DISABLED"),
        ("queue", "ENABLED"),
    ]


@needs_bulk
def test_a_thousand_jobs(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=0, pending=0, starting=0, cancel=0.05)
    batch = client("batch", max_pool_connections=8)
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda n: submit_job(batch, f"job-{n}"), range(1001)))
    pages = list(batch.get_paginator("list_jobs").paginate(jobQueue="queue"))
    assert [len(page["jobSummaryList"]) for page in pages] == [1000, 1]
    for begin in range(0, 1001, 50):
        batch.terminate_jobs(jobs=ids[begin : begin + 50], reason="all")
    eventually(lambda: batch.list_jobs(jobQueue="queue")["jobSummaryList"], [])
    assert len(batch.describe_jobs(jobs=ids[:100])["jobs"]) == 100
    assert code_of(batch.describe_jobs, jobs=ids[:101]) == ("ClientException", 400)
    assert cloud.journal.count("batch", "TerminateJobs") == 21
