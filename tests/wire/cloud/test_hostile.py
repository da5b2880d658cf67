"""Replies of the local cloud that are no answer, though their status says success."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import requests
from botocore.parsers import ResponseParserError

from tests.cloud.hostile import EXAMPLES, MEGABYTES, SHAPES
from tests.cloud_fixtures import Client, client, submit_job
from tests.mrs_fixtures import PROJECT
from tests.service_fixtures import needs_bulk

if TYPE_CHECKING:
    from tests.cloud import LocalCloud

__all__ = ["client"]

# Sends what boto3 would, without boto3's reading of the answer.
SIGNED = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=AKIDTEST/20260101/us-east-1/batch/aws4_request, Signature=0"
}


def describe(cloud: LocalCloud, job_id: str) -> requests.Response:
    url = f"{cloud.url}/v1/describejobs"
    return requests.post(url, json={"jobs": [job_id]}, headers=SIGNED, timeout=30)


def hostile(cloud: LocalCloud, shape: str, **more: Any) -> bytes:
    """What a client reads when it asks about a job."""
    cloud.faults.clear()
    job = submit_job(cloud_batch(cloud))
    cloud.faults.add("batch", "DescribeJobs", "hostile_reply", shape=shape, **more)
    return describe(cloud, job).content


def cloud_batch(cloud: LocalCloud) -> Any:
    session: Any = boto3.session.Session()
    identity = {"aws_access_key_id": "AKIDTEST", "aws_secret_access_key": "secret"}
    return session.client("batch", endpoint_url=cloud.url, region_name="us-east-1", **identity)


def test_shapes_that_are_the_same_for_every_operation(cloud: LocalCloud) -> None:
    assert hostile(cloud, "html").startswith(b"<!DOCTYPE html>")
    assert hostile(cloud, "empty") == b""
    assert hostile(cloud, "null") == b"null"
    assert isinstance(json.loads(hostile(cloud, "array")), list)
    assert len(hostile(cloud, "huge")) > MEGABYTES * 1_000_000
    assert len(hostile(cloud, "huge_html")) > MEGABYTES * 1_000_000
    assert isinstance(json.loads(hostile(cloud, "nonsense")), dict)
    with pytest.raises(RecursionError):
        json.loads(hostile(cloud, "deep"))
    with pytest.raises(UnicodeDecodeError):
        hostile(cloud, "binary").decode()


def test_shapes_made_from_the_true_answer(cloud: LocalCloud) -> None:
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(hostile(cloud, "truncated"))
    assert json.loads(hostile(cloud, "wrong_types")) == {"jobs": "x"}
    (job,) = json.loads(hostile(cloud, "wrong_leaves"))["jobs"]
    assert (job["jobId"], job["createdAt"]) == ({"S": "x"}, "seven")
    assert json.loads(hostile(cloud, "nulls")) == {"jobs": None}
    (job,) = json.loads(hostile(cloud, "null_leaves"))["jobs"]
    assert job["status"] is None
    assert json.loads(hostile(cloud, "missing")) == {}
    assert json.loads(hostile(cloud, "missing_leaves")) == {"jobs": [{}]}
    assert json.loads(hostile(cloud, "shorter_lists")) == {"jobs": []}
    (job,) = json.loads(hostile(cloud, "other_ids"))["jobs"]
    assert job["jobId"] not in {known["id"] for known in cloud.jobs()}
    (job,) = json.loads(hostile(cloud, "numbers"))["jobs"]
    assert job["createdAt"] == 10**300
    (job,) = json.loads(hostile(cloud, "unknown_words"))["jobs"]
    assert job["status"] == "MOON"


def test_other_encodings(cloud: LocalCloud) -> None:
    for shape, encoding in (("utf16", "utf-16"), ("latin1", "latin-1"), ("byte_order_mark", "utf-8-sig")):
        body = hostile(cloud, shape)
        answer = json.loads(body.decode(encoding))
        assert (answer["grüße"], len(answer["jobs"])) == ("für", 1)
        with pytest.raises((UnicodeDecodeError, ValueError)):
            json.loads(body.decode())
    assert len(json.loads(gzip.decompress(hostile(cloud, "gzip")))["jobs"]) == 1
    with pytest.raises(requests.exceptions.ContentDecodingError):
        hostile(cloud, "false_gzip")


def test_a_reply_that_ends_before_its_length(cloud: LocalCloud) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        hostile(cloud, "cut_off")


def test_a_body_and_a_status_of_the_tests_own(cloud: LocalCloud) -> None:
    assert hostile(cloud, "", body="grüße") == "grüße".encode()
    assert hostile(cloud, "", body=b"\xff\x00") == b"\xff\x00"
    cloud.faults.clear()
    cloud.faults.add("batch", "DescribeJobs", "hostile_reply", shape="html", status=203)
    assert describe(cloud, "x").status_code == 203


@pytest.mark.parametrize("acts, jobs", [(True, 1), (False, 0)])
@pytest.mark.parametrize("shape", ["html", "missing", "other_ids"])
def test_the_operation_is_performed_or_not(
    cloud: LocalCloud, client: Client, shape: str, acts: bool, jobs: int
) -> None:
    cloud.faults.add("batch", "SubmitJob", "hostile_reply", shape=shape, acts=acts, times=1)
    batch = client("batch")
    if shape == "html":
        # botocore reads the page as an answer without any fields.
        assert "jobId" not in batch.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")
    elif shape == "missing":
        with pytest.raises(KeyError):
            submit_job(batch)
    else:
        assert submit_job(batch) not in {job["id"] for job in cloud.jobs()}
    assert len(cloud.jobs()) == jobs


def test_botocore_meets_them(cloud: LocalCloud, client: Client) -> None:
    emr, cluster = client("emr"), cloud.emr.create_cluster()
    cloud.faults.add("emr", "ListSteps", "hostile_reply", shape="array", times=1)
    with pytest.raises((ResponseParserError, AttributeError, TypeError)):
        emr.list_steps(ClusterId=cluster)
    cloud.faults.add("emr", "ListSteps", "hostile_reply", shape="latin1", times=1)
    with pytest.raises(UnicodeDecodeError):
        emr.list_steps(ClusterId=cluster)
    assert emr.list_steps(ClusterId=cluster)["Steps"] == []
    assert [entry.fault for entry in cloud.journal.entries("emr", "ListSteps")] == ["hostile_reply"] * 2 + [
        ""
    ]


def test_mrs_and_its_identity_service_too(cloud: LocalCloud) -> None:
    job = cloud.mrs.add_job()
    cloud.faults.add("mrs", "KeystoneCreateUserTokenByPassword", "hostile_reply", shape="missing", times=1)
    cloud.faults.add("mrs", "ShowSingleJobExe", "hostile_reply", shape="html")
    user = {"name": "demo", "password": "wrong", "domain": {"name": "demo-domain"}}
    identity = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    answer = requests.post(f"{cloud.url}/v3/auth/tokens", json=identity, timeout=30)
    assert (answer.status_code, answer.json()) == (200, {})
    shown = requests.get(
        f"{cloud.url}/v2/{PROJECT}/clusters/demo-cluster-0001/job-executions/{job}", timeout=30
    )
    assert shown.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("acts", [True, False])
@pytest.mark.parametrize("operation", [pytest.param("TerminateJobs", marks=needs_bulk), "ListJobs"])
def test_every_shape_goes_out_as_a_success(cloud: LocalCloud, shape: str, acts: bool, operation: str) -> None:
    cloud.faults.add("batch", operation, "hostile_reply", shape=shape, acts=acts)
    job = submit_job(cloud_batch(cloud))
    bodies: dict[str, Any] = {
        "TerminateJobs": {"jobs": [job], "reason": "r"},
        "ListJobs": {"jobQueue": "queue", "jobStatus": "SUBMITTED"},
    }
    url = f"{cloud.url}/v1/{operation.lower()}"
    with requests.post(url, json=bodies[operation], headers=SIGNED, timeout=30, stream=True) as answer:
        assert answer.status_code == 200
    (entry,) = cloud.journal.entries("batch", operation)
    assert (entry.fault, entry.status) == ("hostile_reply", 200)
    stopped = [job["cancel_requested_at"] is not None for job in cloud.jobs()]
    assert stopped == [acts and operation == "TerminateJobs"]


def test_examples_are_there_for_every_write() -> None:
    assert {"SubmitJob", "AddJobFlowSteps", "StartJobRun", "CreateExecuteJob"} < set(EXAMPLES)


def test_over_http(cloud: LocalCloud) -> None:
    control = f"{cloud.url}/_cloud/faults"
    rule = {"service": "batch", "kind": "hostile_reply", "shape": "null", "acts": False}
    assert requests.post(control, json=rule, timeout=30).json()[0]["shape"] == "null"
    assert describe(cloud, "x").content == b"null"
    for wrong in ({"kind": "hostile_reply", "shape": "fog"}, {"kind": "throttle", "shape": "html"}):
        answer = requests.post(control, json=wrong, timeout=30)
        assert (answer.status_code, "shape" in answer.json()["error"]) == (400, True)
