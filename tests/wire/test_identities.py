"""Identities that a service does not accept, or to which it denies something: every AWS service."""

from __future__ import annotations

import time

import pytest

from airflow_cancel_provider.exceptions import AccessDenied, IdentityError
from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.services.aws.calls import IDENTITY_ATTEMPTS
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.pool import ServicePool
from tests.pace_fixtures import FakeTime
from tests.service_fixtures import REASON, Bench, aws_bench, outcomes

__all__ = ["aws_bench"]


def test_denied_is_refused_and_names_the_action(bench: Bench) -> None:
    jobs = bench.running(50)
    bench.fail_cancels("denied")
    results = bench.service().cancel(jobs, REASON)
    assert [result.job for result in results] == jobs
    assert set(outcomes(results)) == {CancelOutcome.REFUSED}
    assert {result.code for result in results} == {"AccessDeniedException"}
    assert all(f"Allow {bench.iam_action} " in str(result.detail) for result in results)
    assert bench.cancels_sent <= 10


@pytest.mark.parametrize("keys", ["bad_access_keys", "expired_access_keys"])
def test_an_identity_that_is_not_accepted_leaves_everything_open_and_is_told_soon(
    bench: Bench, keys: str
) -> None:
    jobs = bench.running(50) + bench.running(1)
    getattr(bench.cloud, keys).add("testing")
    service, begin = bench.service(), time.monotonic()
    results = service.cancel(jobs, REASON)
    assert [result.job for result in results] == jobs
    assert set(outcomes(results)) == {CancelOutcome.UNANSWERED}
    assert all(
        "Check the credentials of connection 'aws_default'" in str(result.detail) for result in results
    )
    # Those that describe jobs first know by then.
    assert 1 <= bench.cancels_sent <= IDENTITY_ATTEMPTS
    assert service.identity_refused
    with pytest.raises(IdentityError, match="credentials"):
        bench.service().describe(jobs)
    assert time.monotonic() - begin < 20  # the patience
    getattr(bench.cloud, keys).clear()
    assert set(outcomes(service.cancel(jobs, REASON))) == {CancelOutcome.REQUESTED}
    assert not service.identity_refused


def test_an_identity_that_was_not_accepted_is_tried_once_by_others_that_share_the_client(
    bench: Bench,
) -> None:
    """In a triggerer dozens of cancels may: what they send in vain is taken off their quota."""
    jobs, service = bench.running(1), bench.service()
    bench.cloud.expired_access_keys.add("testing")
    bench.cloud.journal.clear()
    for _ in range(3):
        with pytest.raises(IdentityError):
            service.with_patience(service.patience).describe(jobs)
    assert bench.count() == IDENTITY_ATTEMPTS + 2
    bench.cloud.expired_access_keys.clear()
    assert service.with_patience(service.patience).describe(jobs)
    assert not service.identity_refused


def test_who_learns_of_it_while_waiting_for_the_quota_sends_nothing(bench: Bench) -> None:
    """In a triggerer the queue for ListSteps may be minutes long: each turn that is used in vain makes it
    longer, and who stands in it again with new credentials may find these expired."""
    jobs, service, time_ = bench.running(1), bench.service(), FakeTime()
    service.paces = time_.paces
    buckets = [*service._pace().buckets.values()]
    for bucket in buckets:
        bucket.spend(bucket.burst)
    left = [bucket._tokens for bucket in buckets]
    time_.on_sleep = lambda: setattr(service, "identity_refused", True)
    bench.cloud.journal.clear()
    with pytest.raises(IdentityError, match=r"was not sent: the service refused its credentials to another"):
        service.describe(jobs)
    assert bench.count() == 0
    assert service.traffic.total() == 0
    assert all(bucket._tokens >= before for bucket, before in zip(buckets, left, strict=True))
    # Nobody has opened it anew: what was healed meanwhile is found out.
    assert service.describe(jobs)


def test_a_common_error_of_all_services_is_denied(bench: Bench) -> None:
    """https://docs.aws.amazon.com/emr/latest/APIReference/CommonErrors.html"""
    jobs = bench.running(2)
    body = b'{"__type": "NotAuthorized", "message": "You do not have permission"}'
    bench.cloud.faults.add(bench.name, "*", "hostile_reply", body=body, status=400, acts=False)
    with pytest.raises(AccessDenied, match=r"NotAuthorized: You do not.* Allow \S+ to this identity\."):
        bench.service().describe(jobs)
    results = bench.service().cancel(jobs, REASON)
    assert {(result.outcome, result.code) for result in results} == {(CancelOutcome.REFUSED, "NotAuthorized")}
    assert all(f"Allow {bench.iam_action} " in str(result.detail) for result in results)


def test_a_request_that_the_service_has_aborted_is_sent_again(bench: Bench) -> None:
    jobs = bench.running(2)
    body = b'{"__type": "RequestAbortedException", "message": "aborted"}'
    bench.cloud.faults.add(bench.name, "*", "hostile_reply", body=body, status=400, acts=False, times=2)
    assert {status.state for status in bench.service().describe(jobs)} == {JobState.RUNNING}


@pytest.mark.parametrize("kind", ["expired_token", "bad_key"])
def test_an_identity_that_is_not_accepted_once_is_tried_again(bench: Bench, kind: str) -> None:
    jobs = bench.running(3)
    bench.cloud.faults.add(bench.name, "*", kind, times=1)
    assert {status.state for status in bench.service().describe(jobs)} == {JobState.RUNNING}
    bench.fail_cancels(kind, times=1)
    assert set(outcomes(bench.service().cancel(jobs, REASON))) == {CancelOutcome.REQUESTED}


@pytest.mark.parametrize("kind", ["expired_token", "bad_key"])
def test_an_identity_that_was_not_accepted_once_makes_no_other_error_last(bench: Bench, kind: str) -> None:
    job = bench.unknown(bench.new_scope())
    bench.cloud.faults.add(bench.name, "*", kind, times=1)
    bench.cloud.faults.add(bench.name, "*", "denied")
    bench.cloud.journal.clear()
    begin = time.monotonic()
    with pytest.raises(AccessDenied, match="not authorized"):
        bench.service().describe([job])
    assert bench.count() == 2
    assert time.monotonic() - begin < 10  # half of the patience


def test_polling_needs_no_permission_to_cancel(bench: Bench) -> None:
    jobs = bench.running(3)
    polls = ("ListSteps", "DescribeJobs", "GetJobRun", "DescribeJobRun", "ListJobRuns", "DescribeCluster")
    for operation in (*polls, "GetJobRuns"):
        bench.cloud.faults.add(bench.name, operation, "denied")
    assert outcomes(bench.service().cancel(jobs, REASON)) == [CancelOutcome.REQUESTED] * 3
    bench.let_end()
    assert bench.are_cancelled(jobs)


def test_a_pool_sends_nothing_more_with_credentials_that_were_refused_to_others(bench: Bench) -> None:
    """In a triggerer a kill's next look may come minutes after that of another."""
    jobs, opened = bench.running(1), list[AwsJobService]()

    def open_service(*_: str | None) -> AwsJobService:
        opened.append(bench.service())
        return opened[-1]

    pool = ServicePool(open_service)
    assert pool.describe(jobs)
    opened[0].with_patience(opened[0].patience).identity_refused = True
    assert pool.describe(jobs)
    assert len(opened) == 2
    opened[1].with_patience(opened[1].patience).identity_refused = True
    assert set(outcomes(pool.cancel(jobs, REASON))) == {CancelOutcome.REQUESTED}
    assert len(opened) == 3
