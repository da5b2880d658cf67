"""EMR Serverless job runs: grace periods, one request for each run, and how runs are looked up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from botocore.exceptions import ClientError

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError
from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.services import cancel_requests
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.server import LocalCloud
from tests.service_fixtures import HASTY, EmrServerlessBench, outcomes, recorded

ENDED, GONE, REFUSED, REQUESTED, UNANSWERED = (
    CancelOutcome.ALREADY_ENDED,
    CancelOutcome.GONE,
    CancelOutcome.REFUSED,
    CancelOutcome.REQUESTED,
    CancelOutcome.UNANSWERED,
)


@pytest.fixture
def serverless(cloud: LocalCloud) -> Iterator[EmrServerlessBench]:
    bench = EmrServerlessBench(cloud)
    yield bench
    bench.close()


def invalid(message: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, operation)


def refuse_grace(bench: EmrServerlessBench) -> None:
    """Answer like a release that does not know grace periods."""

    def refuse(params: dict[str, object], **_: object) -> None:
        if "shutdownGracePeriodInSeconds" in params:
            raise invalid("not supported by this release", "CancelJobRun")

    bench.client.meta.events.register("provide-client-params.emr-serverless.CancelJobRun", refuse)


@pytest.mark.parametrize("grace", [1, 14, 1801, -5, 15.5, "soon", True, [30]])
def test_grace_periods_that_the_service_refuses_are_refused_first(
    serverless: EmrServerlessBench, grace: object
) -> None:
    with pytest.raises(InvalidInput, match="must be 0 or 15 to 1800 seconds"):
        serverless.service(shutdown_grace_period=grace)


@pytest.mark.parametrize(
    "grace, first, forced",
    [(None, None, None), (0, 0, 0), (15, 15, 0), (1800, 1800, 0), ("30", 30, 0)],
)
def test_what_is_sent_of_a_grace_period(
    serverless: EmrServerlessBench,
    grace: int | str | None,
    first: int | None,
    forced: int | None,
) -> None:
    (run,) = serverless.submit("endless")
    service, calls = serverless.service(shutdown_grace_period=grace), recorded(serverless.client)
    # EMR Serverless ignores a second request for a run that is ending.
    assert not service.can_escalate
    assert outcomes(service.cancel([run], "")) == [REQUESTED]
    assert outcomes(service.cancel([run], "", force=True)) == [CancelOutcome.ALREADY_CANCELLING]
    (other,) = serverless.running()
    assert outcomes(service.cancel([other], "", force=True)) == [REQUESTED]
    cancels = [params for name, params in calls if name == "CancelJobRun"]
    assert [params.get("shutdownGracePeriodInSeconds") for params in cancels] == [first, forced]


def test_a_run_uses_its_grace(serverless: EmrServerlessBench) -> None:
    serverless.local.override("stubborn*", stubborn=True)
    (run,) = serverless.submit("stubborn")
    serverless.service(shutdown_grace_period=600).cancel([run], "")
    serverless.let_end()
    assert serverless.service().describe([run])[0].state is JobState.CANCELLING
    serverless.cloud.clock.advance(600)
    assert serverless.service().describe([run])[0].state is JobState.CANCELLED


def test_a_release_without_grace_periods_is_named(serverless: EmrServerlessBench) -> None:
    (run,) = serverless.running(1, serverless.new_scope("emr-7.1.0"))
    refuse_grace(serverless)
    (result,) = serverless.service(shutdown_grace_period=30).cancel([run], "")
    assert (result.outcome, result.code) == (REFUSED, "ValidationException")
    assert "not supported by this release" in str(result.detail)
    assert "shutdown_grace_period is 30 s; the application needs EMR 7.9.0 for it" in str(result.detail)
    assert outcomes(serverless.service().cancel([run], "")) == [REQUESTED]


@pytest.mark.parametrize("operation", ["GetJobRun"])
def test_a_refusal_that_cannot_be_looked_into_keeps_its_words(
    serverless: EmrServerlessBench, operation: str
) -> None:
    (ended,) = serverless.ended()
    serverless.cloud.faults.add(serverless.name, operation, "denied")
    (result,) = serverless.service().cancel([ended], "")
    assert result.outcome is REFUSED
    assert "not in a cancellable state" in str(result.detail)


def test_a_refusal_that_could_not_be_looked_into_for_now_is_asked_again(
    serverless: EmrServerlessBench,
) -> None:
    (ended,) = serverless.ended()
    serverless.cloud.faults.add(serverless.name, "GetJobRun", "throttle")
    (result,) = serverless.service(HASTY).cancel([ended], "")
    assert (result.outcome, result.code) == (UNANSWERED, "ValidationException")
    assert "not in a cancellable state" in str(result.detail)


def test_many_that_are_over_are_not_silence(
    serverless: EmrServerlessBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Being told that a run is unknown is an answer: patience begins anew."""
    monkeypatch.setattr(cancel_requests, "REQUESTS_AT_ONCE", 1)
    scope = serverless.new_scope()
    runs = [serverless.unknown(scope) for _ in range(12)]
    serverless.cloud.faults.add(serverless.name, "CancelJobRun", "latency", delay=0.1)
    serverless.cloud.faults.add(serverless.name, "CancelJobRun", "reset", every=2)
    patience = Patience(seconds=1.2, first_pause=0.01, longest_pause=0.05)
    with serverless.service_at(serverless.cloud.url, patience, retries={"total_max_attempts": 1}) as service:
        assert outcomes(service.cancel(runs, "")) == [GONE] * 12


def test_one_run_that_breaks_the_service_leaves_the_others_alone(serverless: EmrServerlessBench) -> None:
    runs = serverless.running(6)
    serverless.cloud.faults.add(serverless.name, "CancelJobRun", "server_error", id=runs[1].id)
    results = serverless.service(HASTY).cancel(runs, "")
    assert outcomes(results) == [REQUESTED, UNANSWERED, *[REQUESTED] * 4]


def test_a_throttled_account_is_waited_for_while_it_makes_progress(serverless: EmrServerlessBench) -> None:
    runs = serverless.running(8)
    serverless.cloud.faults.add(serverless.name, "CancelJobRun", "latency", delay=0.15)
    serverless.cloud.faults.add(serverless.name, "CancelJobRun", "throttle", every=2)
    patience = Patience(seconds=0.8, first_pause=0.01, longest_pause=0.05)
    with serverless.service_at(serverless.cloud.url, patience, retries={"total_max_attempts": 1}) as service:
        # More than twice as long as patience, and yet every run is asked.
        assert outcomes(service.cancel(runs, "")) == [REQUESTED] * 8


def test_denied_runs_of_one_application_leave_another_alone(serverless: EmrServerlessBench) -> None:
    ours, theirs = serverless.running(3), serverless.running(12)
    serverless.cloud.faults.add(serverless.name, "CancelJobRun", "denied", scope=theirs[0].scope)
    results = serverless.service().cancel([*theirs, *ours], "")
    assert outcomes(results) == [REFUSED] * 12 + [REQUESTED] * 3
    assert serverless.cancels_sent == 10 + 3
    assert "Not sent" in str(results[11].detail)


@pytest.mark.parametrize("count, calls", [(10, {"GetJobRun": 10}), (11, {"ListJobRuns": 1})])
def test_few_runs_are_read_one_by_one(
    serverless: EmrServerlessBench, count: int, calls: dict[str, int]
) -> None:
    runs = serverless.running(count)
    serverless.cloud.journal.clear()
    assert {status.state for status in serverless.service().describe(runs)} == {JobState.RUNNING}
    assert {entry.operation: serverless.count(entry.operation) for entry in serverless.cloud.journal} == calls


def test_old_runs_are_read_one_by_one_after_a_bounded_search(serverless: EmrServerlessBench) -> None:
    scope = serverless.new_scope()
    old = serverless.ended(15, scope)
    serverless.ended(120, scope)
    serverless.cloud.journal.clear()
    assert {status.state for status in serverless.service().describe(old)} == {JobState.SUCCEEDED}
    assert (serverless.count("ListJobRuns"), serverless.count("GetJobRun")) == (1 + 2, 15)


def test_an_application_that_cannot_be_listed_is_read_run_by_run(serverless: EmrServerlessBench) -> None:
    runs = serverless.running(12)

    def refuse(**_: object) -> None:
        raise invalid("no", "ListJobRuns")

    serverless.client.meta.events.register("provide-client-params.emr-serverless.ListJobRuns", refuse)
    assert {status.state for status in serverless.service().describe(runs)} == {JobState.RUNNING}


def test_errors_of_a_poll_are_raised(serverless: EmrServerlessBench) -> None:
    runs = serverless.running(12)
    for operation in ("ListJobRuns", "GetJobRun"):
        serverless.cloud.faults.add(serverless.name, operation, "denied")
    for some in (runs, runs[:1]):
        with pytest.raises(ServiceError, match="Allow emr-serverless:"):
            serverless.service().describe(some)


@pytest.mark.parametrize("state", ["FAILED", "SUCCESS", "CANCELLED"])
def test_every_end_is_already_ended(serverless: EmrServerlessBench, state: str) -> None:
    (run,) = serverless.running()
    serverless.local.finish(run.id, state, "as told")
    (result,) = serverless.service().cancel([run], "")
    assert (result.outcome, result.detail) == (ENDED, "as told")


def test_streaming_runs_are_listed_too(serverless: EmrServerlessBench) -> None:
    scope = serverless.new_scope()
    runs = [*serverless.running(2, scope), *serverless.submit("stream", 1, scope, mode="STREAMING")]
    assert {status.job for status in serverless.service().living(scope)} == set(runs)
