"""Requests that are lost, refused for now or not answered: every AWS service."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import time
from typing import Any

import pytest

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.exceptions import ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.watch import poll
from tests.cloud.server import LocalCloud
from tests.service_fixtures import (
    ACCEPTED,
    HASTY,
    PATIENT,
    REASON,
    Bench,
    EmrBench,
    EmrContainersBench,
    GlueBench,
    aws_bench,
    outcomes,
)

__all__ = ["aws_bench"]


@pytest.mark.parametrize("kind", ["throttle", "server_error", "reset"])
def test_a_storm_is_ridden_out(bench: Bench, kind: str) -> None:
    jobs, service = bench.running(12), bench.service()
    # Nothing at all for a while, then every second request.
    bench.cloud.faults.add(bench.name, "*", kind, seconds=1)
    bench.cloud.faults.add(bench.name, "*", kind, every=2)
    assert set(outcomes(service.cancel(jobs, REASON))) <= ACCEPTED
    bench.let_end()
    assert {status.state for status in service.describe(jobs)} == {JobState.CANCELLED}
    assert bench.are_cancelled(jobs)


def test_a_lost_reply_is_asked_again(bench: Bench) -> None:
    jobs = bench.running(20)
    bench.fail_cancels("lost_reply", every=2, times=10)
    # The first request of all gets through, so one more makes sure that the second is met.
    results = bench.service().cancel(jobs, REASON) + bench.service().cancel(jobs[:1], REASON)
    assert set(outcomes(results)) <= ACCEPTED
    assert bench.cancels_sent <= 2 * 21
    bench.let_end()
    assert bench.are_cancelled(jobs)


def test_replies_that_stay_lost_are_unanswered_and_end(bench: Bench) -> None:
    jobs = bench.running(20)
    bench.fail_cancels("lost_reply")
    begin = time.monotonic()
    assert set(outcomes(bench.service(HASTY).cancel(jobs, REASON))) == {CancelOutcome.UNANSWERED}
    assert time.monotonic() - begin < 8
    bench.cloud.faults.clear()
    bench.let_end()
    states = {status.job: status.state for status in bench.service().describe(jobs)}
    truth = bench.truth()
    # Whether a request arrived is seen in the state only.
    assert all((state is JobState.CANCELLED) == truth[job.id]["cancelled"] for job, state in states.items())
    assert JobState.CANCELLED in states.values()


def test_a_service_out_of_reach_is_unanswered_soon(bench: Bench) -> None:
    jobs = bench.running(50)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # not listening: connections are refused
        with bench.service_at(f"http://127.0.0.1:{taken.getsockname()[1]}", HASTY) as service:
            begin = time.monotonic()
            results = service.cancel(jobs, REASON)
            assert time.monotonic() - begin < 8
            with pytest.raises(ServiceUnavailable):
                service.describe(jobs)
    assert [result.job for result in results] == jobs
    assert set(outcomes(results)) == {CancelOutcome.UNANSWERED}
    assert "Could not connect" in str(results[0].detail)
    # Where each job takes a request of its own, the first few tell enough.
    assert ("Not sent" in str(results[-1].detail)) is bench.one_by_one


def test_a_service_that_hangs_is_unanswered(bench: Bench) -> None:
    jobs = bench.running(5)
    bench.cloud.faults.add(bench.name, "*", "hang")
    with bench.service_at(bench.cloud.url, HASTY, read_timeout=0.2) as service:
        assert set(outcomes(service.cancel(jobs, REASON))) == {CancelOutcome.UNANSWERED}


REFUSALS = {
    "conflict": (409, {"__type": "ConflictException", "message": "It is in conflict."}),
    "invalid": (400, {"__type": "ValidationException", "message": "It is invalid."}),
}


@pytest.mark.parametrize("kind", REFUSALS)
class TestRefusals:
    """A refusal is looked into, whatever its words: the job may have ended meanwhile."""

    def refuse(self, bench: Bench, kind: str, *, ends: bool) -> None:
        status, body = REFUSALS[kind]
        bench.local.override("running*", cancel=0)
        bench.fail_cancels("hostile_reply", status=status, body=json.dumps(body), acts=ends)

    def test_of_a_job_that_has_ended_meanwhile(self, bench: Bench, kind: str) -> None:
        jobs = bench.running(2)
        self.refuse(bench, kind, ends=True)
        results = bench.service().cancel(jobs, REASON)
        assert outcomes(results) == [CancelOutcome.ALREADY_ENDED] * 2

    def test_of_a_job_that_lives(self, bench: Bench, kind: str) -> None:
        (job,) = bench.running()
        self.refuse(bench, kind, ends=False)
        (result,) = bench.service().cancel([job], REASON)
        assert result.outcome is CancelOutcome.REFUSED
        assert result.code == REFUSALS[kind][1].get("__type", "417")
        assert REFUSALS[kind][1].get("message", "417") in str(result.detail)


TOGETHER = {
    "emr": ("InvalidRequestException", "Step '{}' can't be cancelled now."),
    "batch": ("ClientException", "It can't be terminated."),
    "glue": ("EntityNotFoundException", "It was not found."),
}
"""How a service that is asked for several jobs at once might refuse all for the sake of one that lives."""


def test_one_job_for_which_all_are_refused_keeps_none_of_the_others(bench: Bench) -> None:
    if bench.name not in TOGETHER:
        pytest.skip("a request for each job")
    jobs, (code, words) = bench.running(20, bench.new_scope()), TOGETHER[bench.name]
    body = json.dumps({"__type": code, "message": words.format(jobs[7].id)})
    bench.fail_cancels("hostile_reply", id=jobs[7].id, status=400, body=body, acts=False)
    results = bench.service().cancel(jobs, REASON)
    bad = results.pop(7)
    # Glue has one code for both; it is asked again when a poll shows that it lives.
    assert bad.outcome is (CancelOutcome.GONE if bench.name == "glue" else CancelOutcome.REFUSED)
    assert bad.code == code
    assert set(outcomes(results)) == {CancelOutcome.REQUESTED}
    assert [result.job for result in results] == [job for job in jobs if job != bad.job]


@pytest.mark.parametrize("kind", [EmrBench, EmrContainersBench, GlueBench], ids=lambda kind: str(kind.name))
def test_a_job_that_is_shown_right_after_it_was_not_known_is_asked_again(
    cloud: LocalCloud, kind: type[Bench]
) -> None:
    """The service takes its time to show a job, and that may pass between the request and the poll."""
    bench = kind(cloud)
    jobs = bench.running(2)
    job = jobs[0]
    words = f"Step id '{job.id}' is not valid."
    missing = {"ErrorCode": "EntityNotFoundException", "ErrorMessage": f"Job run {job.id} not found."}
    bodies: dict[str, Any] = {
        "emr": {
            "CancelStepsInfoList": [
                {"StepId": job.id, "Status": "FAILED", "Reason": words},
                {"StepId": jobs[1].id, "Status": "SUBMITTED"},
            ]
        },
        "emr-containers": {
            "__type": "ValidationException",
            "message": f"Job run {job.id} doesn't exist.",
        },
        "glue": {
            "SuccessfulSubmissions": [{"JobName": job.scope, "JobRunId": jobs[1].id}],
            "Errors": [{"JobName": job.scope, "JobRunId": job.id, "ErrorDetail": missing}],
        },
    }
    body = bodies[bench.name]
    reply = {"body": json.dumps(body), "acts": False, "times": 1, "status": 400 if "__type" in body else None}
    cloud.faults.add(bench.name, bench.cancel_operations[0], "hostile_reply", **reply)
    cancellation = Cancellation(jobs, REASON)
    pool = ServicePool(lambda *_: bench.service())
    assert outcomes(cancellation.request(pool)) == [CancelOutcome.GONE, CancelOutcome.REQUESTED]
    poll(cancellation, pool, logging.getLogger(__name__))
    assert bench.truth()[job.id]["cancel_requested_at"]
    bench.close()


class TestLostReplies:
    """A request whose answer was lost may be why a job is ending, or has ended."""

    def test_of_a_job_that_is_ending_then(self, bench: Bench) -> None:
        (job,) = bench.submit("endless")
        bench.cloud.clock.advance(1)
        bench.fail_cancels("lost_reply", times=1)
        assert outcomes(bench.service().cancel([job], REASON)) == [CancelOutcome.REQUESTED]

    @pytest.mark.parametrize("end, outcome", [("cancelled", "REQUESTED"), ("success", "ALREADY_ENDED")])
    def test_of_a_job_that_has_ended_at_the_next_request(self, bench: Bench, end: str, outcome: str) -> None:
        (job,) = bench.running()
        if end == "cancelled":
            bench.local.override("running*", cancel=0)
        bench.fail_cancels("lost_reply")
        service = bench.service(HASTY)
        assert outcomes(service.cancel([job], REASON)) == [CancelOutcome.UNANSWERED]
        bench.cloud.faults.clear()
        if end == "success":
            bench.finish(job)
        else:
            bench.let_end()
        assert outcomes(service.with_patience(PATIENT).cancel([job], REASON)) == [CancelOutcome[outcome]]

    def test_that_botocore_repeated_by_itself(self, bench: Bench) -> None:
        """The first request is carried out at once, and the second finds a job that has ended."""
        (job,) = bench.running()
        bench.local.override("running*", cancel=0)
        bench.fail_cancels("lost_reply", times=1)
        assert outcomes(bench.service().cancel([job], REASON)) == [CancelOutcome.REQUESTED]
        assert bench.cancels_sent == 2

    def test_of_a_request_that_was_throttled_nothing_is_in_doubt(self, bench: Bench) -> None:
        (job,) = bench.running()
        bench.fail_cancels("throttle", times=3)
        bench.client.meta.events.register("needs-retry", lambda **_: end())

        def end() -> None:
            with contextlib.suppress(ValueError):
                bench.local.finish(job.id, bench.cancelled, "somebody else")

        if bench.name == "batch":
            pytest.skip("Batch takes requests for what has ended")
        assert outcomes(bench.service().cancel([job], REASON)) == [CancelOutcome.ALREADY_ENDED]
