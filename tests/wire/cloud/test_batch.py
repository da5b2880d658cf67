"""The local cloud's AWS Batch, as boto3 sees it over HTTP: jobs, and what ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cloud_fixtures import Client, client, code_of, eventually, submit_job, truth
from tests.service_fixtures import needs_bulk

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

__all__ = ["client"]


def describe(batch: Any, job_id: str) -> dict[str, Any]:
    (job,) = batch.describe_jobs(jobs=[job_id])["jobs"]
    return dict(job)


def test_states_in_order(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=100, pending=100, starting=100, run=100)
    batch = client("batch")
    job = submit_job(batch, parameters={"owner": "me"}, tags={"a": "b"})
    seen = []
    for _ in range(5):
        seen.append(describe(batch, job)["status"])
        cloud.clock.advance(100)
    assert seen == ["SUBMITTED", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED"]
    shown = describe(batch, job)
    assert (shown["parameters"], shown["tags"], shown["container"]["exitCode"]) == (
        {"owner": "me"},
        {"a": "b"},
        0,
    )


def test_failed_job_is_tried_again(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=0, pending=0, starting=0, run=100, outcome="failure")
    batch = client("batch")
    once, thrice = submit_job(batch), submit_job(batch, retryStrategy={"attempts": 3})
    cloud.clock.advance(100)
    assert [describe(batch, job)["status"] for job in (once, thrice)] == ["FAILED", "RUNNING"]
    cloud.clock.advance(200)
    assert describe(batch, thrice)["status"] == "FAILED"


def test_terminate_running(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=0, pending=0, starting=0, cancel=100)
    batch = client("batch")
    job = submit_job(batch)
    batch.terminate_job(jobId=job, reason="enough")
    shown = describe(batch, job)
    assert (shown["status"], shown["isTerminated"]) == ("RUNNING", True)
    cloud.clock.advance(100)
    shown = describe(batch, job)
    assert (shown["status"], shown["statusReason"]) == ("FAILED", "enough")
    batch.terminate_job(jobId=job, reason="again")
    assert describe(batch, job)["statusReason"] == "enough"
    assert truth(cloud, job)["cancelled"]


@needs_bulk
def test_cancel_reaches_only_what_has_not_started(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=0, pending=0, starting=0, cancel=0.05)
    cloud.batch.override("waits", pending=600)
    cloud.batch.override("starts", starting=600)
    batch = client("batch")
    ids = {name: submit_job(batch, name) for name in ("waits", "starts", "runs")}
    batch.cancel_job(jobId=ids["runs"], reason="stop")
    answer = batch.cancel_jobs(jobs=[*ids.values(), "unknown"], reason="stop")
    assert (answer["successful"], answer["errors"]) == ([*ids.values(), "unknown"], [])
    eventually(lambda: describe(batch, ids["waits"])["status"], "FAILED")
    assert describe(batch, ids["waits"])["isCancelled"]
    for name, state in (("starts", "STARTING"), ("runs", "RUNNING")):
        shown = describe(batch, ids[name])
        assert (shown["status"], shown["isCancelled"], shown["isTerminated"]) == (state, False, False)


@needs_bulk
def test_bulk_limits_and_refusals(cloud: LocalCloud, client: Client) -> None:
    batch = client("batch")
    mine, theirs = submit_job(batch, "mine"), submit_job(batch, "theirs")
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


@needs_bulk
def test_old_endpoint_without_bulk_calls(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(bulk=False)
    batch = client("batch")
    assert code_of(batch.terminate_jobs, jobs=["x"], reason="r")[1] == 404
    batch.terminate_job(jobId="x", reason="r")


def test_dependants_end_after_what_they_wait_for(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=0, pending=0, starting=0, cancel=0.05)
    batch = client("batch")
    first = submit_job(batch)
    second = submit_job(batch, dependsOn=[{"jobId": first}])
    third = submit_job(batch, dependsOn=[{"jobId": second}])
    batch.terminate_job(jobId=second, reason="stop")
    cloud.clock.advance(100)
    shown = describe(batch, second)
    assert (shown["status"], shown["isTerminated"]) == ("PENDING", True)
    cloud.batch.finish(first, "SUCCEEDED")
    eventually(lambda: describe(batch, second)["status"], "FAILED")
    assert describe(batch, second)["statusReason"] == "stop"
    eventually(lambda: describe(batch, third)["status"], "FAILED")
    assert describe(batch, third)["statusReason"] == "Dependent Job failed"
    assert truth(cloud, second)["cancelled"]
    assert not truth(cloud, third)["cancelled"]


def test_array_goes_with_its_parent(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=0, pending=0, starting=0)
    batch = client("batch")
    parent = submit_job(batch, arrayProperties={"size": 5}, tags={"a": "b"})
    shown = describe(batch, parent)
    assert (shown["status"], shown["arrayProperties"]["statusSummary"]["RUNNING"]) == ("PENDING", 5)
    assert describe(batch, f"{parent}:3")["tags"] == {}
    batch.terminate_job(jobId=f"{parent}:3", reason="one")
    eventually(lambda: describe(batch, f"{parent}:3")["status"], "FAILED")
    assert [c["jobId"] for c in batch.list_jobs(arrayJobId=parent)["jobSummaryList"]].count(
        f"{parent}:3"
    ) == 0
    batch.terminate_job(jobId=parent, reason="all")
    eventually(lambda: describe(batch, parent)["status"], "FAILED")
    assert describe(batch, parent)["arrayProperties"]["statusSummary"]["FAILED"] == 5
    assert describe(batch, f"{parent}:0")["statusReason"] == "all"


def test_arrays_depend_on_each_other_by_index(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=0, pending=0, starting=0)
    batch = client("batch")
    first = submit_job(batch, arrayProperties={"size": 2}, dependsOn=[{"type": "SEQUENTIAL"}])
    second = submit_job(batch, arrayProperties={"size": 2}, dependsOn=[{"jobId": first, "type": "N_TO_N"}])
    ids = [f"{first}:0", f"{first}:1", f"{second}:0", f"{second}:1"]

    def states() -> list[str]:
        return [describe(batch, job)["status"] for job in ids]

    assert states() == ["RUNNING", "PENDING", "PENDING", "PENDING"]
    cloud.batch.finish(ids[0], "SUCCEEDED")
    assert states() == ["SUCCEEDED", "RUNNING", "RUNNING", "PENDING"]


def test_nodes_share_the_fate_of_their_job(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.set(submitted=0, pending=0, starting=0)
    batch = client("batch")
    job = submit_job(batch, nodeOverrides={"numNodes": 3})
    assert describe(batch, f"{job}#0")["nodeDetails"] == {"nodeIndex": 0, "isMainNode": True}
    assert len(batch.list_jobs(multiNodeJobId=job)["jobSummaryList"]) == 3
    batch.terminate_job(jobId=job, reason="stop")
    eventually(lambda: describe(batch, f"{job}#2")["status"], "FAILED")


def test_mistakes_in_submissions(client: Client) -> None:
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


UNKNOWN = "arn:aws:batch:us-east-1:123456789012"


@pytest.mark.parametrize("queue", ["unknown", f"{UNKNOWN}:job-queue/unknown"])
def test_an_unknown_queue_is_refused(cloud: LocalCloud, client: Client, queue: str) -> None:
    batch = client("batch")
    submit = {"jobName": "job", "jobQueue": queue, "jobDefinition": "definition"}
    assert code_of(batch.submit_job, **submit) == ("ClientException", 400)
    assert code_of(batch.list_jobs, jobQueue=queue) == ("ClientException", 400)
    cloud.batch.set_queue("unknown")
    assert batch.submit_job(**submit)["jobId"]
    assert batch.list_jobs(jobQueue=queue)["jobSummaryList"] == []


def test_a_queue_with_timings_of_its_own_is_known(cloud: LocalCloud, client: Client) -> None:
    cloud.batch.override("slow", cancel=9)
    assert client("batch").submit_job(jobName="job", jobQueue="slow", jobDefinition="definition")["jobId"]


@pytest.mark.parametrize(
    "definition", ["load", "load:1", f"{UNKNOWN}:job-definition/load", f"{UNKNOWN}:job-definition/load:1"]
)
def test_an_unknown_job_definition_is_refused(cloud: LocalCloud, client: Client, definition: str) -> None:
    batch = client("batch")
    submit = {"jobName": "job", "jobQueue": "queue", "jobDefinition": definition}
    assert code_of(batch.submit_job, **submit) == ("ClientException", 400)
    cloud.batch.set_definition("load")
    assert batch.submit_job(**submit)["jobId"]
    assert len(cloud.jobs()) == 1


def test_a_job_definition_that_was_registered_is_known(client: Client) -> None:
    batch = client("batch")
    container = {"image": "busybox", "vcpus": 1, "memory": 128}
    batch.register_job_definition(jobDefinitionName="load", type="container", containerProperties=container)
    assert batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="load")["jobId"]
