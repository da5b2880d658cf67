"""What goes wrong in the local cloud on order, as boto3 meets it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from tests.cloud_fixtures import Client, client, code_of

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

__all__ = ["client"]

FAULT_CODES = [
    ("emr", "ListClusters", "throttle", "ThrottlingException", 400),
    ("emr", "ListClusters", "server_error", "InternalServerException", 500),
    ("emr", "CancelSteps", "server_error", "InternalServerError", 400),
    ("emr", "AddJobFlowSteps", "server_error", "InternalServerError", 400),
    ("emr", "DescribeStep", "server_error", "InternalServerException", 500),
    ("emr", "ListClusters", "denied", "AccessDeniedException", 400),
    ("emr", "ListClusters", "expired_token", "ExpiredTokenException", 400),
    ("batch", "DescribeJobs", "throttle", "TooManyRequestsException", 429),
    ("batch", "DescribeJobs", "server_error", "ServerException", 500),
    ("batch", "DescribeJobs", "denied", "AccessDeniedException", 403),
    ("batch", "DescribeJobs", "expired_token", "ExpiredTokenException", 403),
    ("emr-serverless", "ListApplications", "throttle", "ThrottlingException", 429),
    ("emr-containers", "ListVirtualClusters", "throttle", "RequestThrottledException", 400),
    ("emr-containers", "ListVirtualClusters", "denied", "AccessDeniedException", 403),
    ("emr-serverless", "ListApplications", "server_error", "InternalServerException", 500),
    ("emr-serverless", "ListApplications", "denied", "AccessDeniedException", 403),
    ("emr-serverless", "ListApplications", "expired_token", "ExpiredTokenException", 403),
    ("glue", "ListJobs", "throttle", "ThrottlingException", 400),
    ("glue", "ListJobs", "server_error", "InternalServiceException", 500),
    ("glue", "ListJobs", "denied", "AccessDeniedException", 400),
    ("glue", "ListJobs", "expired_token", "ExpiredTokenException", 400),
]
CALLS: dict[str, Callable[[Any], Any]] = {
    "ListClusters": lambda c: c.list_clusters(),
    "CancelSteps": lambda c: c.cancel_steps(ClusterId="j-X", StepIds=["s-X"]),
    "AddJobFlowSteps": lambda c: c.add_job_flow_steps(JobFlowId="j-X", Steps=[]),
    "DescribeStep": lambda c: c.describe_step(ClusterId="j-X", StepId="s-X"),
    "DescribeJobs": lambda c: c.describe_jobs(jobs=["x"]),
    "ListApplications": lambda c: c.list_applications(),
    "ListJobs": lambda c: c.list_jobs(),
    "ListVirtualClusters": lambda c: c.list_virtual_clusters(),
}


@pytest.mark.parametrize("service, operation, kind, code, status", FAULT_CODES)
def test_worded_by_the_service(
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
    assert code_of(lambda: CALLS[operation](one)) == (code, status)
    with contextlib.suppress(ClientError):  # there is no such cluster
        CALLS[operation](one)
    assert [(entry.operation, entry.fault) for entry in cloud.journal] == [
        (operation, kind),
        (operation, ""),
    ]


def test_throttling_is_retried_by_botocore(cloud: LocalCloud, client: Client) -> None:
    cloud.faults.add("batch", "*", "throttle", times=1)
    client("batch", attempts=3).describe_jobs(jobs=["x"])
    assert cloud.journal.count("batch", "DescribeJobs") == 2


def test_reset_happens_before_the_act_and_lost_reply_after(cloud: LocalCloud, client: Client) -> None:
    batch = client("batch")
    submit = {"jobName": "n", "jobQueue": "q", "jobDefinition": "d"}
    for kind, jobs in (("reset", 0), ("lost_reply", 1)):
        cloud.faults.add("batch", "SubmitJob", kind, times=1)
        with pytest.raises(ConnectionClosedError):
            batch.submit_job(**submit)
        assert len(cloud.jobs()) == jobs
    assert [entry.status for entry in cloud.journal] == [None, None]


def test_latency_and_hang(cloud: LocalCloud, client: Client) -> None:
    cloud.faults.add("batch", "*", "latency", seconds=0.3)
    begin = time.monotonic()
    client("batch").describe_jobs(jobs=["x"])
    assert time.monotonic() - begin >= 0.3
    batch = client("batch", read_timeout=1)
    cloud.faults.add("batch", "TerminateJob", "hang")
    with pytest.raises(ReadTimeoutError):
        batch.terminate_job(jobId="x", reason="r")


def test_when(cloud: LocalCloud, client: Client) -> None:
    batch = client("batch")

    def outcome() -> str:
        try:
            batch.terminate_job(jobId="mine", reason="r")
        except ClientError as error:
            return str(error.response["ResponseMetadata"]["HTTPStatusCode"])
        return "ok"

    cloud.faults.add("batch", "*", "throttle", every=2, after=1, times=2)
    assert [outcome() for _ in range(6)] == ["ok", "ok", "429", "ok", "429", "ok"]
    cloud.faults.clear()
    cloud.faults.add("*", "*", "server_error", id="other")
    cloud.faults.add("*", "*", "denied", id="mine", seconds=100)
    assert outcome() == "403"
    cloud.clock.advance(101)
    assert outcome() == "ok"


def test_quota(cloud: LocalCloud, client: Client) -> None:
    batch = client("batch")
    cloud.faults.add("batch", "*", "throttle", rate=0.5, burst=3)
    for _ in range(3):
        batch.describe_jobs(jobs=["x"])
    assert code_of(batch.describe_jobs, jobs=["x"])[1] == 429
    cloud.clock.advance(2)
    batch.describe_jobs(jobs=["x"])
    assert code_of(batch.describe_jobs, jobs=["x"])[1] == 429


def test_keys_that_the_cloud_does_not_know(cloud: LocalCloud, client: Client) -> None:
    cloud.bad_access_keys.add("AKIDBAD")
    cloud.expired_access_keys.add("AKIDOLD")
    assert code_of(client("emr", key="AKIDBAD").list_clusters) == ("UnrecognizedClientException", 400)
    assert (
        code_of(client("batch", key="AKIDBAD").describe_jobs, jobs=["x"])[0] == "UnrecognizedClientException"
    )
    assert code_of(client("sts", key="AKIDBAD").get_caller_identity) == ("InvalidClientTokenId", 403)
    assert code_of(client("emr", key="AKIDOLD").list_clusters) == ("ExpiredTokenException", 400)
    client("emr").list_clusters()
    assert [entry.access_key for entry in cloud.journal.entries("emr")] == [
        "AKIDBAD",
        "AKIDOLD",
        "AKIDTEST",
    ]
