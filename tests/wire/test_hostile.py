"""Replies that are not the answer: nothing but our errors, no job left out, none over that lives."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_cancel_provider.exceptions import ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.hostile import SHAPES
from tests.cloud.server import LocalCloud
from tests.service_fixtures import (
    HAS_BULK,
    HASTY,
    BatchBench,
    Bench,
    EmrBench,
    aws_bench,
    needs_bulk,
    outcomes,
)
from tests.unit.services.batch.test_service import OldClient

__all__ = ["aws_bench"]
pytestmark = pytest.mark.wide

AT_ONCE = Patience(seconds=0)
LIVING = {JobState.PENDING, JobState.RUNNING, JobState.CANCELLING}
WELL_FORMED = ("shorter_lists", "other_ids")
"""A listing that was not asked about anybody has no way to say how many there are, or who."""
POLLS = {
    "emr": ["ListSteps"],
    "batch": ["DescribeJobs"],
    "emr-serverless": ["GetJobRun", "ListJobRuns", "GetApplication"],
    "glue": ["GetJobRun", "GetJobRuns"],
    "emr-containers": ["DescribeJobRun", "ListJobRuns", "DescribeVirtualCluster"],
}
LISTINGS = {
    "emr": ["ListSteps", "ListClusters"],
    "batch": ["ListJobs", "DescribeJobs", "DescribeJobQueues"],
    "emr-serverless": ["ListJobRuns", "ListApplications", "GetApplication"],
    "glue": ["GetJobRuns", "ListJobs"],
    "emr-containers": ["ListJobRuns", "ListVirtualClusters", "DescribeVirtualCluster"],
}


def garble(bench: Bench, operations: list[str] | tuple[str, ...], **reply: Any) -> None:
    for operation in operations:
        bench.cloud.faults.add(bench.name, operation, "hostile_reply", **reply)


def promises_something(bench: Bench) -> bool:
    """Whether the answer to a cancel can be judged. TerminateJob promises an object, or nothing at all."""
    return bench.name != "batch" or HAS_BULK


@pytest.mark.parametrize("shape", SHAPES)
class TestShapes:
    @pytest.mark.parametrize("count", [1, 12])
    def test_one_bad_reply_to_a_poll_is_asked_again(self, bench: Bench, shape: str, count: int) -> None:
        jobs = bench.running(count)
        garble(bench, POLLS[bench.name], shape=shape, times=1)
        statuses = bench.service().describe(jobs)
        assert [status.job for status in statuses] == jobs
        assert {status.state for status in statuses} == {JobState.RUNNING}

    def test_bad_replies_to_polls_are_no_answer(self, bench: Bench, shape: str) -> None:
        jobs = bench.running(3)
        garble(bench, POLLS[bench.name], shape=shape)
        try:
            states = {status.state for status in bench.service(AT_ONCE).describe(jobs)}
        except ServiceUnavailable:
            return
        # Two true answers in a row that leave a job out say that Batch does not know it.
        assert states <= LIVING or (bench.name, shape) == ("batch", "shorter_lists")

    def test_one_bad_reply_to_a_cancel_that_did_nothing_is_asked_again(
        self, bench: Bench, shape: str
    ) -> None:
        if not promises_something(bench):
            pytest.skip("TerminateJob: a test of its own, below")
        jobs = bench.running(3)
        garble(bench, bench.cancel_operations, shape=shape, acts=False, times=1)
        assert outcomes(bench.service().cancel(jobs, "")) == [CancelOutcome.REQUESTED] * 3
        bench.let_end()
        assert bench.are_cancelled(jobs)

    def test_one_bad_reply_to_a_cancel_that_acted_is_requested(self, bench: Bench, shape: str) -> None:
        jobs = bench.running(3)
        garble(bench, bench.cancel_operations, shape=shape, times=1)
        assert outcomes(bench.service().cancel(jobs, "")) == [CancelOutcome.REQUESTED] * 3

    def test_bad_replies_to_cancels_that_do_nothing_are_unanswered(self, bench: Bench, shape: str) -> None:
        if not promises_something(bench):
            pytest.skip("TerminateJob: a test of its own, below")
        jobs = bench.running(3)
        garble(bench, bench.cancel_operations, shape=shape, acts=False)
        results = bench.service(AT_ONCE).cancel(jobs, "")
        assert [result.job for result in results] == jobs
        assert set(outcomes(results)) == {CancelOutcome.UNANSWERED}

    def test_bad_replies_to_polls_keep_nothing_from_being_cancelled(self, bench: Bench, shape: str) -> None:
        jobs = bench.running(12)
        garble(bench, POLLS[bench.name], shape=shape)
        results = bench.service(HASTY).cancel(jobs, "")
        assert set(outcomes(results)) <= {CancelOutcome.REQUESTED, CancelOutcome.GONE}
        bench.let_end()
        assert bench.are_cancelled(jobs)

    def test_listings_leave_nobody_out_silently(self, bench: Bench, shape: str) -> None:
        scope = bench.new_scope()
        jobs = {job.id for job in bench.running(3, scope)}
        garble(bench, LISTINGS[bench.name], shape=shape)
        service = bench.service(AT_ONCE)
        for listing in (service.living, service.claims):
            try:
                found = {status.job.id for status in listing(scope or "queue")}
            except ServiceUnavailable:
                continue
            assert found == jobs or shape in WELL_FORMED
        with contextlib.suppress(ServiceUnavailable):
            assert set(service.scopes()) == {scope or "queue"} or shape in WELL_FORMED


FOREIGN: dict[str, dict[str, Any]] = {
    "denied": {"status": 403, "shape": "html"},
    "not here": {"status": 404, "shape": "html"},
    "moved": {"status": 302, "shape": "html"},
    "nothing": {"status": 400, "body": b" "},
    "no code": {"status": 403, "body": b'{"message": "Forbidden"}'},
    "a number": {"status": 403, "body": b'{"code": 1010, "message": "Forbidden"}'},
}


@pytest.mark.parametrize("kind", FOREIGN)
class TestRepliesOfOthers:
    """An error without a code of the service comes from a proxy or a gateway: nothing was refused."""

    def test_one_is_asked_again(self, bench: Bench, kind: str) -> None:
        jobs = bench.running(2)
        garble(bench, POLLS[bench.name], **FOREIGN[kind], acts=False, times=1)
        garble(bench, bench.cancel_operations, **FOREIGN[kind], acts=False, times=1)
        assert {status.state for status in bench.service().describe(jobs)} == {JobState.RUNNING}
        assert outcomes(bench.service().cancel(jobs, "")) == [CancelOutcome.REQUESTED] * 2
        bench.let_end()
        assert bench.are_cancelled(jobs)

    def test_more_leave_everything_open(self, bench: Bench, kind: str) -> None:
        jobs = bench.running(2)
        garble(bench, ["*"], **FOREIGN[kind], acts=False)
        with pytest.raises(ServiceUnavailable) as caught:
            bench.service(AT_ONCE).describe(jobs)
        assert caught.value.code is None
        results = bench.service(AT_ONCE).cancel(jobs, "")
        assert [(result.outcome, result.code) for result in results] == [(CancelOutcome.UNANSWERED, None)] * 2

    def test_one_to_a_request_that_was_carried_out(self, bench: Bench, kind: str) -> None:
        (job,) = bench.submit("endless")
        bench.cloud.clock.advance(1)
        garble(bench, bench.cancel_operations, **FOREIGN[kind], times=1)
        assert outcomes(bench.service().cancel([job], "")) == [CancelOutcome.REQUESTED]


@pytest.mark.parametrize("shape", ["html", "html_as_json", "truncated", "null", "array", "latin1"])
def test_a_page_in_answer_to_terminate_job_is_no_answer(cloud: LocalCloud, shape: str) -> None:
    """TerminateJob promises nothing but an object, and before September 2026 there was no other call."""
    bench = BatchBench(cloud)
    jobs = bench.running(2)
    garble(bench, ["TerminateJob"], shape=shape, acts=False, times=1)
    assert (
        outcomes(bench.service(client=OldClient(bench.client)).cancel(jobs, ""))
        == [CancelOutcome.REQUESTED] * 2
    )
    bench.let_end()
    assert bench.are_cancelled(jobs)
    bench.close()


def test_a_reply_without_a_step_leaves_only_that_one_open(cloud: LocalCloud) -> None:
    bench = EmrBench(cloud)
    jobs = bench.running(5)
    garble(bench, ["CancelSteps"], shape="shorter_lists", acts=True, times=1)
    assert outcomes(bench.service().cancel(jobs, "")) == [CancelOutcome.REQUESTED] * 5
    sent = [entry.ids for entry in cloud.journal.entries("emr", "CancelSteps")]
    assert sent == [tuple(job.id for job in jobs), (jobs[-1].id,)]
    bench.close()


@needs_bulk
def test_a_strangers_job_in_an_answer_is_not_terminated(cloud: LocalCloud) -> None:
    """Also where the answer says that Batch was too busy for it: it was never asked for."""
    bench = BatchBench(cloud)
    ours, theirs = bench.running(2)
    busy = {"job": theirs.id, "code": "ThrottlingException", "message": "Rate exceeded"}
    body = json.dumps({"successful": [], "errors": [busy]})
    garble(bench, ["TerminateJobs"], body=body, acts=False, times=1)
    assert outcomes(bench.service().cancel([ours], "")) == [CancelOutcome.REQUESTED]
    bench.let_end()
    assert bench.are_cancelled([ours])
    assert bench.truth()[theirs.id]["cancel_requested_at"] is None
    bench.close()


def test_bad_replies_of_some_scopes_leave_the_others_alone(bench: Bench) -> None:
    if bench.name == "batch":
        pytest.skip("Batch jobs are part of nothing")
    scopes = [bench.new_scope() for _ in range(5)]
    jobs = [job for scope in scopes for job in bench.running(2, scope)]
    for scope in scopes[:4]:
        garble(bench, bench.cancel_operations, shape="html", acts=False, scope=scope)
    results = bench.service(HASTY).cancel(jobs, "")
    assert outcomes(results) == [CancelOutcome.UNANSWERED] * 8 + [CancelOutcome.REQUESTED] * 2


@needs_bulk
def test_bad_replies_for_some_chunks_leave_the_others_alone(cloud: LocalCloud) -> None:
    bench = BatchBench(cloud)
    jobs = bench.running(150)
    garble(bench, ["DescribeJobs"], shape="html", id=jobs[0].id)
    garble(bench, ["TerminateJobs"], shape="html", id=jobs[0].id, acts=False)
    results = bench.service(HASTY).cancel(jobs, "")
    assert outcomes(results) == [CancelOutcome.UNANSWERED] * 50 + [CancelOutcome.REQUESTED] * 100
    bench.close()


PAGES: dict[str, tuple[str, str, str]] = {
    "emr": ("ListSteps", "Steps", "Marker"),
    "batch": ("ListJobs", "jobSummaryList", "nextToken"),
    "emr-serverless": ("ListJobRuns", "jobRuns", "nextToken"),
    "glue": ("GetJobRuns", "JobRuns", "NextToken"),
    "emr-containers": ("ListJobRuns", "jobRuns", "nextToken"),
}


def test_pages_that_go_round_in_circles_end(bench: Bench) -> None:
    operation, items, token = PAGES[bench.name]
    scope = bench.new_scope() or "queue"
    garble(bench, [operation], body=json.dumps({items: [], token: "again"}))
    with pytest.raises(ServiceUnavailable, match="round in circles"):
        list(bench.service(HASTY).living(scope))
    assert bench.count(operation) == 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("FAILED"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = [
    "jobs", "jobId", "status", "successful", "errors", "job", "code", "Steps", "Id", "Status", "State",
    "CancelStepsInfoList", "StepId", "jobRun", "jobRuns", "jobRunId", "applicationId", "id", "state",
    "jobSummaryList", "nextToken", "Marker", "createdAt", "name", "tags", "parameters", "__type", "message",
    "JobRun", "JobRuns", "JobRunState", "JobRunId", "JobNames", "NextToken", "SuccessfulSubmissions",
    "Errors", "ErrorDetail", "ErrorCode", "ErrorMessage", "StartedOn", "Arguments",
    "virtualClusterId",
]  # fmt: skip
members = st.dictionaries(st.sampled_from(NAMES), json_values, max_size=4)
nested = st.dictionaries(st.sampled_from(NAMES), members | st.lists(members, max_size=2), max_size=3)
bodies = st.one_of(
    st.binary(max_size=30), (json_values | members | nested).map(lambda v: json.dumps(v).encode())
)


def is_a_true_answer(bench: Bench, body: bytes) -> bool:
    """An empty list of jobs is how Batch says that it does not know any."""
    try:
        value = json.loads(body.decode())
    except ValueError:
        return False
    return bench.name == "batch" and isinstance(value, dict) and value.get("jobs") == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies, status=st.sampled_from([200, 202, 204]), count=st.sampled_from([1, 11]))
def test_no_reply_makes_a_living_job_over(bench: Bench, body: bytes, status: int, count: int) -> None:
    bench.cloud.faults.clear()
    jobs = bench.running(count)
    garble(bench, ["*"], body=body, status=status, acts=False)
    service = bench.service(AT_ONCE)

    def attempt(poll: Callable[[], Any]) -> Any:
        try:
            return poll()
        except ServiceError:
            return []

    states = {status.state for status in attempt(lambda: service.describe(jobs))}
    assert states <= LIVING or is_a_true_answer(bench, body)
    attempt(lambda: list(service.living(jobs[0].scope or "queue")))
    attempt(lambda: list(service.claims(jobs[0].scope or "queue")))
    attempt(lambda: list(service.scopes()))
    results = service.cancel(jobs, "")
    assert [result.job for result in results] == jobs
    if promises_something(bench):
        assert set(outcomes(results)) == {CancelOutcome.UNANSWERED}, results


@pytest.mark.parametrize("nothing", ["", {}, 0, False])
def test_what_is_no_list_is_no_empty_list(bench: Bench, nothing: Any) -> None:
    """botocore reads an empty text or object as an empty list: "there are no such jobs"."""
    jobs, items = bench.running(12), {operation: items for operation, items, _ in PAGES.values()}
    for operation in (*POLLS[bench.name], *LISTINGS[bench.name]):
        name = {**items, "DescribeJobs": "jobs"}.get(operation, "application")
        garble(bench, [operation], body=json.dumps({name: nothing}))
    service = bench.service(AT_ONCE)
    with pytest.raises(ServiceUnavailable):
        service.describe(jobs)
    with pytest.raises(ServiceUnavailable):
        list(service.living(jobs[0].scope or "queue"))


@pytest.mark.parametrize("is_first", [False, True])
def test_a_job_that_an_answer_shows_twice_lives_in_doubt(bench: Bench, is_first: bool) -> None:
    jobs = bench.running(60)
    operation, items, id_name, state_name = TWICE[bench.name]
    states = [bench.success, "RUNNING"] if is_first else ["RUNNING", bench.success]
    shown = [
        {**(PLACE[bench.name](job) if bench.name in PLACE else {}), id_name: job.id, state_name: state}
        for job in jobs
        for state in (states if job == jobs[0] else ["RUNNING"])
    ]
    if bench.name == "emr":
        shown = [{"Id": step["Id"], "Status": {"State": step["state"]}} for step in shown]
    garble(bench, [operation], body=json.dumps({items: shown}))
    assert {status.state for status in bench.service(AT_ONCE).describe(jobs)} == {JobState.RUNNING}


TWICE = {
    "emr": ("ListSteps", "Steps", "Id", "state"),
    "batch": ("DescribeJobs", "jobs", "jobId", "status"),
    "emr-serverless": ("ListJobRuns", "jobRuns", "id", "state"),
    "glue": ("GetJobRuns", "JobRuns", "Id", "JobRunState"),
    "emr-containers": ("ListJobRuns", "jobRuns", "id", "state"),
}
PLACE: dict[str, Callable[[RemoteJob], dict[str, Any]]] = {
    "emr-serverless": lambda job: {"applicationId": job.scope},
    "emr-containers": lambda job: {"virtualClusterId": job.scope},
}


def test_an_old_job_is_no_stranger(bench: Bench) -> None:
    """What is compared with answers must fit true ones: whatever of them is optional may be missing."""
    (job,) = bench.running()
    sparse: dict[str, Any] = {
        "batch": {"jobs": [{"jobId": job.id, "status": "RUNNING"}]},
        "emr": {"Steps": [{"Id": job.id, "Status": {"State": "RUNNING"}}]},
        "emr-serverless": {
            "jobRun": {"applicationId": job.scope, "jobRunId": job.id, "state": "RUNNING"},
        },
        "glue": {"JobRun": {"Id": job.id, "JobRunState": "RUNNING"}},
        "emr-containers": {
            "jobRun": {"virtualClusterId": job.scope, "id": job.id, "state": "RUNNING"},
        },
    }
    garble(bench, POLLS[bench.name][:1], body=json.dumps(sparse[bench.name]))
    (status,) = bench.service(HASTY).describe([job])
    assert (status.job, status.state, status.name) == (job, JobState.RUNNING, None)
