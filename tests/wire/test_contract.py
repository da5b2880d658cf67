"""What holds for every AWS service, seen over HTTP against the local cloud and its ground truth."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    IdentityError,
    InvalidInput,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.services.aws.service import IDENTITY_ATTEMPTS
from tests.cloud.server import LocalCloud
from tests.service_fixtures import (
    ACCEPTED,
    BENCHES,
    HAS_BULK,
    HASTY,
    PATIENT,
    Bench,
    EmrServerlessBench,
    outcomes,
)

REASON = "the task was killed"


@pytest.fixture(params=BENCHES, ids=lambda bench: str(bench.name))
def bench(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[Bench]:
    bench: Bench = request.param(cloud)
    yield bench
    bench.close()


@pytest.mark.parametrize("name", ["pending", "running"])
def test_a_live_job_is_cancelled_and_seen_to_end(bench: Bench, name: str) -> None:
    (job,) = bench.submit(name)
    bench.cloud.clock.advance(1)
    service = bench.service()
    assert [status.state for status in service.describe([job])] == [JobState[name.upper()]]
    assert outcomes(service.cancel([job], REASON)) == [CancelOutcome.REQUESTED]
    bench.let_end()
    (status,) = service.describe([job])
    assert (status.state, status.service_state) == (JobState.CANCELLED, bench.cancelled)
    assert bench.are_cancelled([job])


def test_an_ended_job_is_left_as_it_is(bench: Bench) -> None:
    (job,) = bench.ended()
    assert outcomes(bench.service().cancel([job], REASON)) == [CancelOutcome.ALREADY_ENDED]
    assert bench.truth()[job.id]["cancel_requested_at"] is None
    assert [status.state for status in bench.service().describe([job])] == [JobState.SUCCEEDED]


def test_an_unknown_job_is_gone(bench: Bench) -> None:
    job = bench.unknown()
    assert outcomes(bench.service().cancel([job], REASON)) == [CancelOutcome.GONE]
    assert [status.state for status in bench.service().describe([job])] == [JobState.GONE]


def test_a_cancelling_job_can_be_asked_again(bench: Bench) -> None:
    (job,) = bench.submit("endless")
    bench.cloud.clock.advance(1)
    service = bench.service()
    service.cancel([job], REASON)
    assert [status.state for status in service.describe([job])] == [JobState.CANCELLING]
    assert set(outcomes(service.cancel([job], REASON))) <= ACCEPTED


def test_nothing_to_do_sends_nothing(bench: Bench) -> None:
    assert bench.service().cancel([], REASON) == []
    assert bench.service().describe([]) == []
    assert bench.count() == 0


def test_a_job_is_found_without_its_region(bench: Bench) -> None:
    (job, other) = bench.running(2)
    short = RemoteJob.of(job.service, job.id, scope=job.scope, conn_id=job.conn_id)
    statuses = bench.service().describe([short, other, job])
    assert [status.job for status in statuses] == [short, other, job]
    assert {status.state for status in statuses} == {JobState.RUNNING}
    assert [result.job for result in bench.service().cancel([short, job], REASON)] == [short, job]


def test_living_lists_what_has_not_ended(bench: Bench) -> None:
    scope = bench.new_scope()
    # The pending ones last: EMR starts steps in order, and a step that has not started is cancelled at once.
    alive = bench.submit("endless", 1, scope) + bench.running(55, scope)
    bench.ended(3, scope)
    alive += bench.submit("pending", 2, scope)
    service = bench.service()
    service.cancel(alive[:1], REASON)
    living = list(service.living(scope or "queue"))
    assert {status.job for status in living} == set(alive)
    assert len(living) == len(alive)
    names = {status.name for status in living}
    assert names == ({None} if bench.name == "glue" else {"pending", "running", "endless"})


def test_addresses_of_other_services_and_malformed_ids_are_refused(bench: Bench) -> None:
    service = bench.service()
    job = bench.unknown("jx") if "CancelJobRun" in bench.cancel_operations else bench.unknown("j-X")
    assert service.check(job) == job
    for bad in (
        RemoteJob.of("mrs", job.id, scope=job.scope),
        RemoteJob.of(job.service, "-", scope=job.scope),
        RemoteJob.of(job.service, job.id, scope="j_X\n" if job.scope or bench.name == "batch" else None),
    ):
        with pytest.raises(InvalidInput):
            service.check(bad)


TERMINATE = {"TerminateJobs": 20} if HAS_BULK else {"TerminateJob": 1000}
REQUESTS = {
    # (cancel, describe while all run, describe once all have ended)
    "emr": ({"CancelSteps": 4}, {"ListSteps": 4 * 5}, {"ListSteps": 4 * 5}),
    "batch": ({"DescribeJobs": 10, **TERMINATE}, {"DescribeJobs": 10}, {"DescribeJobs": 10}),
    "emr-serverless": (
        {"CancelJobRun": 1000, "ListJobRuns": 20},
        {"ListJobRuns": 20},
        {"ListJobRuns": 2 + 20},
    ),
    "glue": ({"BatchStopJobRun": 4 * 10}, {"GetJobRuns": 4 * 2}, {"GetJobRuns": 4 * 2}),
    "emr-containers": (
        {"CancelJobRun": 1000, "ListJobRuns": 20},
        {"ListJobRuns": 20},
        {"ListJobRuns": 2 + 20},
    ),
}


def test_a_thousand_jobs_take_few_requests(bench: Bench) -> None:
    jobs, service = bench.thousand(), bench.service()
    figures: list[tuple[dict[str, int], float]] = []

    def measure(act: Any) -> Any:
        bench.cloud.journal.clear()
        begin = time.monotonic()
        answer = act()
        # Of this service alone: threads of earlier tests may still look at their jobs.
        names = [entry.operation for entry in bench.cloud.journal.entries(bench.name)]
        figures.append(({name: names.count(name) for name in sorted(set(names))}, time.monotonic() - begin))
        return answer

    statuses = measure(lambda: service.describe(jobs))
    assert {status.state for status in statuses} == {JobState.RUNNING}
    results = measure(lambda: service.cancel(jobs, REASON))
    assert [result.job for result in results] == jobs
    assert set(outcomes(results)) == {CancelOutcome.REQUESTED}
    bench.let_end()
    statuses = measure(lambda: service.describe(jobs))
    assert [status.job for status in statuses] == jobs
    assert {status.state for status in statuses} == {JobState.CANCELLED}
    assert bench.are_cancelled(jobs)
    for what, (calls, seconds) in zip(("describe", "cancel", "describe ended"), figures, strict=True):
        print(f"{bench.name}, 1,000 jobs: {what}: {calls}, {seconds:.2f} s")
    cancel, live, ended = REQUESTS[bench.name]
    assert [calls for calls, _ in figures] == [live, cancel, ended]


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
    for operation in bench.cancel_operations:
        bench.cloud.faults.add(bench.name, operation, "lost_reply", every=2, times=10)
    # The first request of all gets through, so one more makes sure that the second is met.
    results = bench.service().cancel(jobs, REASON) + bench.service().cancel(jobs[:1], REASON)
    assert set(outcomes(results)) <= ACCEPTED
    assert bench.cancels_sent <= 2 * 21
    bench.let_end()
    assert bench.are_cancelled(jobs)


def test_replies_that_stay_lost_are_unanswered_and_end(bench: Bench) -> None:
    jobs = bench.running(20)
    for operation in bench.cancel_operations:
        bench.cloud.faults.add(bench.name, operation, "lost_reply")
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


def test_denied_is_refused_and_names_the_action(bench: Bench) -> None:
    jobs = bench.running(50)
    for operation in bench.cancel_operations:
        bench.cloud.faults.add(bench.name, operation, "denied")
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
    assert bench.cancels_sent == IDENTITY_ATTEMPTS
    assert service.identity_refused
    with pytest.raises(IdentityError, match="credentials"):
        bench.service().describe(jobs)
    assert time.monotonic() - begin < 20  # the patience
    getattr(bench.cloud, keys).clear()
    assert set(outcomes(service.cancel(jobs, REASON))) == {CancelOutcome.REQUESTED}
    assert not service.identity_refused


@pytest.mark.parametrize("kind", ["expired_token", "bad_key"])
def test_an_identity_that_is_not_accepted_once_is_tried_again(bench: Bench, kind: str) -> None:
    jobs = bench.running(3)
    bench.cloud.faults.add(bench.name, "*", kind, times=1)
    assert {status.state for status in bench.service().describe(jobs)} == {JobState.RUNNING}
    for operation in bench.cancel_operations:
        bench.cloud.faults.add(bench.name, operation, kind, times=1)
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


def test_what_has_ended_or_is_ending_is_not_asked_again(bench: Bench) -> None:
    scope = bench.new_scope()
    ended, endless = bench.ended(60, scope), bench.submit("endless", 60, scope)
    bench.cloud.clock.advance(1)
    service = bench.service()
    service.cancel(endless, REASON)
    bench.cloud.journal.clear()
    results = service.cancel([*ended, *endless], REASON)
    assert outcomes(results[:60]) == [CancelOutcome.ALREADY_ENDED] * 60
    assert set(outcomes(results[60:])) <= ACCEPTED
    # EMR takes one request for them all, and looking would take three of the same quota; of Glue's five
    # requests the refused runs are looked at, on one page.
    assert bench.count() <= {"emr": 1, "batch": 2}.get(bench.name, 6)
    assert bench.cancels_sent == {"emr": 1, "glue": 5}.get(bench.name, 0)


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
        for operation in bench.cancel_operations:
            reply = {"status": status, "body": json.dumps(body), "acts": ends}
            bench.cloud.faults.add(bench.name, operation, "hostile_reply", **reply)

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


class TestLostReplies:
    """A request whose answer was lost may be why a job is ending, or has ended."""

    def test_of_a_job_that_is_ending_then(self, bench: Bench) -> None:
        (job,) = bench.submit("endless")
        bench.cloud.clock.advance(1)
        for operation in bench.cancel_operations:
            bench.cloud.faults.add(bench.name, operation, "lost_reply", times=1)
        assert outcomes(bench.service().cancel([job], REASON)) == [CancelOutcome.REQUESTED]

    @pytest.mark.parametrize("end, outcome", [("cancelled", "REQUESTED"), ("success", "ALREADY_ENDED")])
    def test_of_a_job_that_has_ended_at_the_next_request(self, bench: Bench, end: str, outcome: str) -> None:
        (job,) = bench.running()
        if end == "cancelled":
            bench.local.override("running*", cancel=0)
        for operation in bench.cancel_operations:
            bench.cloud.faults.add(bench.name, operation, "lost_reply")
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
        for operation in bench.cancel_operations:
            bench.cloud.faults.add(bench.name, operation, "lost_reply", times=1)
        assert outcomes(bench.service().cancel([job], REASON)) == [CancelOutcome.REQUESTED]
        assert bench.cancels_sent == 2

    def test_of_a_request_that_was_throttled_nothing_is_in_doubt(self, bench: Bench) -> None:
        (job,) = bench.running()
        for operation in bench.cancel_operations:
            bench.cloud.faults.add(bench.name, operation, "throttle", times=3)
        bench.client.meta.events.register("needs-retry", lambda **_: end())

        def end() -> None:
            with contextlib.suppress(ValueError):
                bench.local.finish(job.id, bench.cancelled, "somebody else")

        if bench.name == "batch":
            pytest.skip("Batch takes requests for what has ended")
        assert outcomes(bench.service().cancel([job], REASON)) == [CancelOutcome.ALREADY_ENDED]


UNKNOWN_SCOPES = {
    "emr": "j-NEVERWAS",
    "emr-serverless": "00neverwas",
    "emr-containers": "0neverwas",
    "glue": "never was",
}


@pytest.mark.parametrize("count", [1, 60])
class TestUnknownScopes:
    @pytest.fixture
    def strangers(self, bench: Bench, count: int) -> list[RemoteJob]:
        """Jobs of a cluster or application that the service does not know."""
        if bench.name not in UNKNOWN_SCOPES:
            pytest.skip("Batch jobs are part of nothing")
        return [bench.address(bench.unknown("-").id, UNKNOWN_SCOPES[bench.name]) for _ in range(count)]

    def test_cancel_refuses_in_the_services_words_and_goes_on(
        self, bench: Bench, strangers: list[RemoteJob]
    ) -> None:
        known = bench.running(2) + bench.running(2)
        results = bench.service().cancel([*known[:2], *strangers, *known[2:]], REASON)
        by_job = {result.job: result for result in results}
        assert outcomes([by_job[job] for job in known]) == [CancelOutcome.REQUESTED] * 4
        assert set(outcomes([by_job[job] for job in strangers])) == {CancelOutcome.REFUSED}
        assert UNKNOWN_SCOPES[bench.name] in str(by_job[strangers[0]].detail)
        assert "another account or region than connection 'aws_default'" in str(by_job[strangers[0]].detail)

    def test_describe_raises(self, bench: Bench, strangers: list[RemoteJob]) -> None:
        with pytest.raises(UnknownScope, match=UNKNOWN_SCOPES[bench.name]):
            bench.service().describe(strangers)

    def test_cancel_without_a_look_refuses_too(self, bench: Bench, strangers: list[RemoteJob]) -> None:
        for operation in ("ListSteps", "GetJobRun", "DescribeJobRun", "ListJobRuns", "GetJobRuns"):
            bench.cloud.faults.add(bench.name, operation, "denied")
        assert set(outcomes(bench.service().cancel(strangers, REASON))) == {CancelOutcome.REFUSED}

    def test_listings_raise(self, bench: Bench, count: int) -> None:
        scope = UNKNOWN_SCOPES.get(bench.name, "no-such-queue")
        for listing in (bench.service().living, bench.service().claims):
            with pytest.raises(UnknownScope, match=scope):
                list(listing(scope))


def test_an_application_that_listings_do_not_check_is_asked_for(cloud: LocalCloud) -> None:
    """ListJobRuns is not documented to know unknown applications: an empty page, or an invalid request."""
    bench = EmrServerlessBench(cloud)
    known = bench.new_scope()
    cloud.faults.add(bench.name, "ListJobRuns", "hostile_reply", body='{"jobRuns": []}')
    with pytest.raises(UnknownScope, match="GetApplication on 00neverwas failed"):
        list(bench.service().living("00neverwas"))
    assert list(bench.service().living(known)) == []
    bench.close()


def test_who_may_not_ask_for_an_application_takes_the_services_words(cloud: LocalCloud) -> None:
    bench = EmrServerlessBench(cloud)
    cloud.faults.add(bench.name, "GetApplication", "denied")
    strangers = bench.address("00f1", "00neverwas")
    assert outcomes(bench.service().cancel([strangers], REASON)) == [CancelOutcome.REFUSED]
    assert outcomes(bench.service().cancel([bench.unknown()], REASON)) == [CancelOutcome.GONE]
    bench.close()


def test_looking_needs_no_permission_to_cancel(bench: Bench) -> None:
    jobs = bench.running(3)
    looks = ("ListSteps", "DescribeJobs", "GetJobRun", "DescribeJobRun", "ListJobRuns", "DescribeCluster")
    for operation in (*looks, "GetJobRuns"):
        bench.cloud.faults.add(bench.name, operation, "denied")
    assert outcomes(bench.service().cancel(jobs, REASON)) == [CancelOutcome.REQUESTED] * 3
    bench.let_end()
    assert bench.are_cancelled(jobs)


EXPECTED = {
    "pending": ACCEPTED,
    "running": ACCEPTED,
    "ended": {CancelOutcome.ALREADY_ENDED},
    "unknown": {CancelOutcome.GONE},
}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_each_job_has_one_result_in_the_order_asked(bench: Bench, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.tuples(st.sampled_from(sorted(EXPECTED)), st.booleans()), max_size=12))
    scopes = (bench.new_scope(), bench.new_scope())
    jobs: dict[RemoteJob, str] = {}
    for kind, other in kinds:
        scope = scopes[other]
        if kind == "unknown":
            jobs[bench.unknown(scope)] = kind
        else:
            (job,) = bench.ended(1, scope) if kind == "ended" else bench.submit(kind, 1, scope)
            jobs[job] = kind
    asked = data.draw(st.lists(st.sampled_from(list(jobs)), max_size=30)) if jobs else []
    bench.cloud.clock.advance(1)
    results = bench.service().cancel(asked, REASON)
    assert [result.job for result in results] == list(dict.fromkeys(asked))
    assert all(result.outcome in EXPECTED[jobs[result.job]] for result in results)
    assert [status.job for status in bench.service().describe(asked)] == list(dict.fromkeys(asked))
