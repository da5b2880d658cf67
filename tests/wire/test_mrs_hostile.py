"""Replies of MRS that are none: whatever a 2xx brings, no job is skipped, and none is called gone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_cancel_provider.exceptions import CancelProviderError, ServiceUnavailable, UnknownScope
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.services.mrs.auth import AkSkAuth, TokenAuth
from airflow_cancel_provider.services.mrs.client import MrsClient
from airflow_cancel_provider.services.mrs.projects import project_id
from airflow_cancel_provider.services.mrs.service import MrsJobService
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import CLUSTER, PROJECT, Opener, cloud, mrs_server, open_service, submitted
from tests.replies import Replies, replying

__all__ = ["cloud", "mrs_server", "open_service", "replying"]

ONCE = Patience(seconds=0)
JOB = RemoteJob.of("mrs", "00000000-dead-beef-0000-000000000000", scope=CLUSTER, conn_id="mrs_default")
JOBS = [JOB, *(RemoteJob.of("mrs", f"job-{number}", scope=CLUSTER) for number in range(9))]

NONSENSE = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"7",
    b'"text"',
    b"<html>log in</html>",
    b'{"job_detail": {"job_id": "',
    b'{"job_detail": null, "job_list": null, "job_execution": null, "job_executions": null}',
    b'{"job_detail": [], "job_list": {}, "job_execution": "x", "job_executions": 7, "clusters": "x"}',
    b'{"job_detail": {}, "job_list": [1], "job_execution": {}, "job_executions": [null], "clusters": [[]]}',
    b'{"job_detail": {"job_id": "another", "job_state": "KILLED"}, "job_list": [{"job_state": "KILLED"}]}',
    b'{"job_execution": {"id": "another", "job_state": 3}, "job_executions": [{"job_state": 3}]}',
    '{"job_detail": {"job_state": "KILLED"}}'.encode("utf-16"),
    '{"job_list": "é"}'.encode("latin-1"),
    b"\x1f\x8b\x08\x00garbage",
    b"[" * 100_000,
    b'{"x": "' + b"a" * 2_000_000 + b'"}',
]


def opened(url: str, version: str) -> MrsJobService:
    client = MrsClient(url, PROJECT, AkSkAuth("a", "b"), api_version=version)
    return MrsJobService(client, conn_id="mrs_default", patience=ONCE, lag=0.0)


@pytest.mark.parametrize("version", ["v2", "v1.1"])
@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_no_answer(replying: str, version: str, status: int, body: bytes) -> None:
    Replies.set(body, status)
    service = opened(replying, version)
    with pytest.raises(ServiceUnavailable):
        service.describe([JOB])
    with pytest.raises(ServiceUnavailable):
        service.describe(JOBS)
    with pytest.raises(ServiceUnavailable):
        list(service.claims(CLUSTER))
    with pytest.raises(ServiceUnavailable):
        list(service.scopes())
    # V2 answers a kill with nothing.
    is_a_kill = version == "v2" and body in (b"", b"{}")
    wanted = CancelOutcome.REQUESTED if is_a_kill else CancelOutcome.UNANSWERED
    for jobs in ([JOB], JOBS):
        results = opened(replying, version).cancel(jobs, "")
        assert [(result.job, result.outcome) for result in results] == [(job, wanted) for job in jobs]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "job_detail",
        "job_list",
        "job_execution",
        "job_executions",
        "clusters",
        "clusterId",
        "clusterState",
        "job_id",
        "id",
        "job_state",
        "job_result",
        "job_final_status",
        "submitted_time",
        "create_at",
        "job_name",
        "arguments",
        "total_record",
        "result",
        "status",
    ]
)
WORDS = st.sampled_from(["KILLED", "FINISHED", "RUNNING", "SUCCEEDED", "another", "", "3", "9" * 40])
MODELLED = st.recursive(
    WORDS | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=25,
)
TERMINAL = (CancelOutcome.GONE, CancelOutcome.ALREADY_ENDED)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=st.dictionaries(NAMES, MODELLED, max_size=5), version=st.sampled_from(["v2", "v1.1"]))
def test_no_reply_ends_a_job_that_it_does_not_name(
    replying: str, reply: dict[str, Any], version: str
) -> None:
    Replies.set(json.dumps(reply).encode())
    service = opened(replying, version)
    for call in (
        lambda: service.describe(JOBS),
        lambda: list(service.claims(CLUSTER)),
        lambda: list(service.scopes()),
    ):
        try:
            seen: list[Any] = call()
        except CancelProviderError:
            continue
        # None of these replies says how one of these jobs is.
        assert not [status for status in seen if getattr(status, "job", None) in JOBS]
    results = service.cancel(JOBS, "")
    assert [result.job for result in results] == JOBS
    assert not [result for result in results if result.outcome in TERMINAL]
    empty = version == "v2" and not reply.keys() - {"result"}
    assert empty or CancelOutcome.REQUESTED not in {result.outcome for result in results}


@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_of_the_identity_service(replying: str, body: bytes) -> None:
    Replies.set(body)
    with pytest.raises(CancelProviderError):
        project_id(AkSkAuth("a", "b"), "eu-de", replying, verify=True, patience=ONCE)
    auth = TokenAuth(replying, "demo", "p", "d", project_id=PROJECT)
    service = MrsJobService(MrsClient(replying, PROJECT, auth), conn_id="mrs_default", patience=ONCE)
    with pytest.raises(CancelProviderError):
        service.describe([JOB])
    assert service.cancel([JOB], "")[0].outcome in (CancelOutcome.UNANSWERED, CancelOutcome.REFUSED)


class TestUnknownClusters:
    @pytest.mark.parametrize("version", ["v2", "v1.1"])
    @pytest.mark.parametrize("count", [1, 9])
    def test_a_typo_is_an_error(
        self, cloud: LocalCloud, open_service: Opener, version: str, count: int
    ) -> None:
        living = submitted(cloud, 2)
        jobs = [RemoteJob.of("mrs", f"j-{n}", scope="no-such-cluster") for n in range(count)]
        service = open_service(version)
        with pytest.raises(UnknownScope, match="no-such-cluster"):
            list(service.claims("no-such-cluster"))
        results = {result.job: result for result in service.cancel([*living, *jobs], "")}
        assert {results[job].outcome for job in living} == {CancelOutcome.REQUESTED}
        if version == "v2":  # V1.1 asks for a job without its cluster
            with pytest.raises(UnknownScope, match="no-such-cluster"):
                service.describe(jobs)
            assert {results[job].outcome for job in jobs} == {CancelOutcome.REFUSED}
            assert {results[job].code for job in jobs} == {"12000003"}

    def test_what_went_with_its_cluster_is_gone(self, cloud: LocalCloud, open_service: Opener) -> None:
        # MRS still lists the cluster, and knows none of its jobs any more.
        cloud.mrs.register_cluster("ended-cluster", "terminated")
        cloud.mrs.settings.set(jobless=["ended-cluster"])
        jobs = [RemoteJob.of("mrs", f"j-{n}", scope="ended-cluster") for n in range(9)]
        service = open_service()
        assert {status.state for status in service.describe(jobs)} == {JobState.GONE}
        assert {result.outcome for result in service.cancel(jobs, "")} == {CancelOutcome.GONE}


class TestDescribeFirst:
    def test_a_thousand_ended_jobs(self, cloud: LocalCloud, open_service: Opener) -> None:
        jobs = submitted(cloud, 1000)
        for job in jobs:
            cloud.mrs.finish(job.id, "SUCCEEDED")
        outcomes = {result.outcome for result in open_service().cancel(jobs, "")}
        assert outcomes == {CancelOutcome.ALREADY_ENDED}
        assert cloud.journal.count(operation="StopJob") == 0
        assert cloud.journal.count(operation="ShowSingleJobExe") == 0
        assert cloud.journal.count(operation="ShowJobExeListNew") <= 13

    @pytest.mark.parametrize("version", ["v2", "v1.1"])
    def test_a_job_that_is_being_killed_is_not_asked_again(
        self, cloud: LocalCloud, open_service: Opener, version: str
    ) -> None:
        cloud.mrs.settings.set(cancel=5.0)
        service, jobs = open_service(version), submitted(cloud, 3)
        assert {result.outcome for result in service.cancel(jobs, "")} == {CancelOutcome.REQUESTED}
        sent = len([entry for entry in cloud.journal if entry.operation in ("StopJob", "CancelJobExecution")])
        assert {result.outcome for result in service.cancel(jobs, "")} == {CancelOutcome.ALREADY_CANCELLING}
        again = len(
            [entry for entry in cloud.journal if entry.operation in ("StopJob", "CancelJobExecution")]
        )
        assert (sent, again) == (3, 3)


class TestReplies:
    DOCUMENTED = frozenset({"id", "cluster_id", "job_id", "tenant_id"})

    def test_of_a_cancel_in_v1_1(self, cloud: LocalCloud, open_service: Opener) -> None:
        job = submitted(cloud)[0]
        result = open_service("v1.1").cancel([job], "")[0]
        assert result.response is not None
        assert result.response["id"] == job.id
        assert set(result.response) >= self.DOCUMENTED
        assert "response" not in result.as_json()
        assert str(result.response) not in repr(result)

    def test_cancel_sql_that_failed_is_final(self, replying: str) -> None:
        Replies.set(b'{"status": "FAILED", "message": "Cancel sql error"}', 500)
        service = opened(replying, "v2").with_patience(Patience(seconds=30))
        with pytest.raises(CancelProviderError, match="Cancel sql error") as caught:
            service.cancel_sql(CLUSTER, "query")
        assert not isinstance(caught.value, ServiceUnavailable)

    @pytest.mark.parametrize("version, total", [("v2", "total_record"), ("v1.1", "totalRecord")])
    def test_no_list_is_an_empty_one_where_the_total_says_so(
        self, replying: str, version: str, total: str
    ) -> None:
        Replies.set(json.dumps({total: 0, "job_list": None}).encode(), 202)
        assert list(opened(replying, version).claims(CLUSTER)) == []
        Replies.set(json.dumps({total: 1, "job_list": None}).encode(), 202)
        with pytest.raises(ServiceUnavailable):
            list(opened(replying, version).claims(CLUSTER))

    def test_the_same_page_again_is_no_next_page(self, replying: str) -> None:
        items = [{"job_id": f"j-{n}", "job_state": "RUNNING"} for n in range(100)]
        Replies.set(json.dumps({"total_record": 100, "job_list": items}).encode(), 202)
        with pytest.raises(ServiceUnavailable, match="page 2"):
            list(opened(replying, "v2").claims(CLUSTER))

    @pytest.mark.parametrize("states", [("FINISHED", "RUNNING"), ("RUNNING", "FINISHED")])
    def test_a_job_that_is_shown_twice_lives_in_doubt(self, replying: str, states: tuple[str, str]) -> None:
        items = [{"job_id": job.id, "job_state": state} for job in JOBS for state in states]
        Replies.set(json.dumps({"total_record": 20, "job_list": items}).encode(), 202)
        assert {status.state for status in opened(replying, "v2").describe(JOBS)} == {JobState.RUNNING}
