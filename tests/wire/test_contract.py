"""What holds for every AWS service, seen over HTTP against the local cloud and its ground truth."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from tests.service_fixtures import ACCEPTED, HAS_BULK, HASTY, REASON, Bench, aws_bench, outcomes

__all__ = ["aws_bench"]


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


def test_white_space_around_a_place(bench: Bench) -> None:
    """A name from a shell's output ends in a line break. Any text may be the name of a Glue job."""
    (job,) = bench.running()
    place = f" {job.scope or 'queue'}\n" if bench.name != "glue" else str(job.scope)
    service = bench.service()
    assert [status.job for status in service.living(place)] == [job]
    assert [status.job for status in service.claims(place)] == [job]
    for bad in ("a\x01b", "", None, 5, [place]):
        for listing in (service.living, service.claims):
            with pytest.raises(InvalidInput):
                list(listing(bad))


def test_what_fails_before_a_request_is_no_answer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a provider of credentials of the user's own. Nothing was carried out, so nothing is in doubt."""
    jobs = bench.running(2)
    service = bench.service(HASTY)

    def sign(*_: Any, **__: Any) -> None:
        raise RuntimeError("no key today")

    with monkeypatch.context() as patch:
        patch.setattr(bench.client._request_signer, "sign", sign)
        results = service.cancel(jobs, REASON)
        assert set(outcomes(results)) == {CancelOutcome.UNANSWERED}
        assert all("the request could not be made: RuntimeError('no key today')" in str(r) for r in results)
        with pytest.raises(ServiceUnavailable, match="could not be made"):
            service.describe(jobs)
    assert bench.cancels_sent == 0
    bench.service().cancel(jobs, REASON)  # somebody else's
    bench.let_end()
    assert set(outcomes(service.cancel(jobs, REASON))) == {CancelOutcome.ALREADY_ENDED}


TERMINATE = {"TerminateJobs": 4} if HAS_BULK else {"TerminateJob": 200}
RUNS = ({"CancelJobRun": 150, "ListJobRuns": 2 + 1}, {"ListJobRuns": 2 + 1}, {"ListJobRuns": 2 + 2 + 1})
REQUESTS = {
    # (cancel, describe while all run, describe once all have ended)
    "emr": ({"CancelSteps": 4}, {"ListSteps": 4 * 5}, {"ListSteps": 4 * 5}),
    "batch": ({"DescribeJobs": 2, **TERMINATE}, {"DescribeJobs": 2}, {"DescribeJobs": 2}),
    "emr-serverless": RUNS,
    "glue": ({"BatchStopJobRun": 9 + 1}, {"GetJobRuns": 2 + 1}, {"GetJobRuns": 2 + 1}),
    "emr-containers": RUNS,
}


def test_many_jobs_take_few_requests(bench: Bench) -> None:
    jobs, service = bench.many(), bench.service()
    figures: list[tuple[dict[str, int], float]] = []

    def measure(act: Any) -> Any:
        bench.cloud.journal.clear()
        begin = time.monotonic()
        answer = act()
        # Of this service alone: threads of earlier tests may still poll their jobs.
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
        print(f"{bench.name}, {len(jobs)} jobs: {what}: {calls}, {seconds:.2f} s")
    cancel, live, ended = REQUESTS[bench.name]
    assert [calls for calls, _ in figures] == [live, cancel, ended]


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
    # EMR takes one request for them all, and describing them would take three of the same quota; of Glue's
    # five requests, one lists the refused runs.
    assert bench.count() <= {"emr": 1, "batch": 2}.get(bench.name, 6)
    assert bench.cancels_sent == {"emr": 1, "glue": 5}.get(bench.name, 0)


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


def test_what_a_program_said_can_be_written_anywhere(bench: Bench) -> None:
    """A trigger's event is packed for its supervisor, and becomes JSONB in PostgreSQL: it takes no NUL."""
    (job,) = bench.running()
    bench.local.finish(job.id, "FAILED", "row 7: \x00, cut off behind \ud83d")
    (status,) = bench.service().describe([job])
    assert str(status.reason).endswith("row 7: \ufffd, cut off behind \ufffd")
    said = {"__type": "ValidationException", "message": "no \x00, no \ud83d"}
    bench.cloud.faults.add(bench.name, "*", "hostile_reply", status=400, body=json.dumps(said))
    with pytest.raises(ServiceError, match="no \ufffd, no \ufffd"):
        bench.service().describe([job])
    other = bench.address(job.id[:-4] + "0000", job.scope)
    (result,) = bench.service().cancel([other], REASON)
    assert "\x00" not in str(result.detail)
    str(result.detail).encode()
