"""EMR steps: releases, escalation, refusals per id, and how steps are looked up."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import UTC, datetime

import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ClientError

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from tests.pace_fixtures import emr
from tests.service_fixtures import HASTY, EmrBench, outcomes, recorded

__all__ = ["emr"]

GONE, ENDED, REFUSED, REQUESTED, UNANSWERED = (
    CancelOutcome.GONE,
    CancelOutcome.ALREADY_ENDED,
    CancelOutcome.REFUSED,
    CancelOutcome.REQUESTED,
    CancelOutcome.UNANSWERED,
)


def test_before_5_28_running_steps_are_refused_and_pending_ones_cancelled(emr: EmrBench) -> None:
    cluster = emr.new_scope("emr-5.27.1")
    (running,), (pending,) = emr.running(1, cluster), emr.submit("pending", 1, cluster)
    refused, requested = emr.service().cancel([running, pending], "")
    assert (refused.outcome, requested.outcome) == (REFUSED, REQUESTED)
    assert "It is already RUNNING" in refused.detail
    assert f"{cluster} runs emr-5.27.1" in refused.detail
    assert "5.28.0" in refused.detail
    emr.let_end()
    states = [status.state for status in emr.service().describe([running, pending])]
    assert states == [JobState.RUNNING, JobState.CANCELLED]


@pytest.mark.parametrize("release", ["emr-4.7.4", "emr-5.0.0"])
def test_releases_that_cancel_nothing_refuse_every_step(emr: EmrBench, release: str) -> None:
    cluster = emr.new_scope(release)
    steps = emr.submit("pending", 2, cluster)
    results = emr.service().cancel(steps, "")
    assert outcomes(results) == [REFUSED] * 2
    assert all(f"runs {release}; EMR cancels" in str(result.detail) for result in results)
    assert emr.count("DescribeCluster") == 1
    assert emr.cancels_sent == 1


def test_steps_that_have_ended_do_not_keep_the_rest_from_being_asked_again(emr: EmrBench) -> None:
    """A request refused as a whole is repeated once, without what is over: here the release is to blame."""
    cluster = emr.new_scope("emr-4.7.4")
    ended, pending = emr.ended(2, cluster), emr.submit("pending", 2, cluster)
    unknown = emr.unknown(cluster)
    results = emr.service().cancel([*ended, unknown, *pending], "")
    assert outcomes(results) == [ENDED, ENDED, GONE, REFUSED, REFUSED]
    assert emr.cancels_sent == 2


def test_a_stubborn_step_ends_only_by_force(emr: EmrBench) -> None:
    emr.local.override("stubborn*", stubborn=True)
    (step,) = emr.submit("stubborn")
    emr.cloud.clock.advance(1)
    service, calls = emr.service(), recorded(emr.client)
    assert service.can_escalate
    assert outcomes(service.cancel([step], "")) == [REQUESTED]
    emr.cloud.clock.advance(3000)
    assert [status.state for status in service.describe([step])] == [JobState.CANCELLING]
    assert outcomes(service.cancel([step], "", force=True)) == [REQUESTED]
    emr.let_end()
    assert [status.state for status in service.describe([step])] == [JobState.CANCELLED]
    options = [params["StepCancellationOption"] for name, params in calls if name == "CancelSteps"]
    assert options == ["SEND_INTERRUPT", "TERMINATE_PROCESS"]


def test_a_service_that_terminates_at_once_has_nothing_to_escalate_to(emr: EmrBench) -> None:
    emr.local.override("stubborn*", stubborn=True)
    (step,) = emr.submit("stubborn")
    emr.cloud.clock.advance(1)
    service = emr.service(cancellation_option="TERMINATE_PROCESS")
    assert not service.can_escalate
    service.cancel([step], "")
    emr.let_end()
    assert emr.are_cancelled([step])
    with pytest.raises(InvalidInput, match="SEND_INTERRUPT, TERMINATE_PROCESS"):
        emr.service(cancellation_option="KILL")


def test_one_bad_id_among_many_is_only_that_one(emr: EmrBench) -> None:
    cluster = emr.new_scope()
    steps = emr.running(40, cluster)
    asked = [*steps[:17], emr.unknown(cluster), *steps[17:]]
    results = emr.service().cancel(asked, "")
    assert [result.job for result in results] == asked
    assert outcomes(results) == [REQUESTED] * 17 + [GONE] + [REQUESTED] * 23
    statuses = emr.service().describe(asked)
    assert [status.state for status in statuses].count(JobState.GONE) == 1
    assert statuses[17].state is JobState.GONE


def test_a_step_that_emr_will_not_cancel_is_refused_in_its_words(emr: EmrBench) -> None:
    emr.local.override("refuse*", refuse="no")
    (step,) = emr.submit("refuse")
    emr.cloud.clock.advance(1)
    (result,) = emr.service().cancel([step], "")
    assert result.outcome is REFUSED
    assert "This step cannot be cancelled." in str(result.detail)


@pytest.mark.parametrize("operation, missing", [("DescribeCluster", "runs emr-"), ("ListSteps", "5.28.0")])
def test_a_refusal_that_cannot_be_looked_into_keeps_its_words(
    emr: EmrBench, operation: str, missing: str
) -> None:
    (step,) = emr.running(1, emr.new_scope("emr-5.20.0"))
    emr.cloud.faults.add("emr", operation, "denied")
    (result,) = emr.service().cancel([step], "")
    assert result.outcome is REFUSED
    assert "It is already RUNNING" in str(result.detail)
    assert missing not in str(result.detail)


def test_a_refusal_that_could_not_be_looked_into_for_now_is_asked_again(emr: EmrBench) -> None:
    """The refusal may be that of another step: what lives must not count as refused."""
    cluster = emr.new_scope()
    unknown, steps = emr.unknown(cluster), emr.running(2, cluster)
    message = "The id of a step is not valid."

    def refuse(params: dict[str, list[str]], **_: object) -> None:
        if unknown.id in params["StepIds"]:
            error = {"Code": "InvalidRequestException", "Message": message}
            raise ClientError({"Error": error}, "CancelSteps")  # type: ignore[typeddict-item]

    emr.client.meta.events.register("provide-client-params.emr.CancelSteps", refuse)
    emr.cloud.faults.add("emr", "ListSteps", "throttle")
    results = emr.service(HASTY).cancel([unknown, *steps], "")
    assert outcomes(results) == [CancelOutcome.UNANSWERED] * 3
    assert all("is not valid" in str(result.detail) for result in results)
    emr.cloud.faults.clear()
    assert outcomes(emr.service().cancel([unknown, *steps], "")) == [GONE, REQUESTED, REQUESTED]


def test_a_refusal_over_another_step_is_no_word_of_this_one(emr: EmrBench) -> None:
    (step,) = emr.running()
    error = {"__type": "InvalidRequestException", "Message": "Step id 's-ANOTHERSTEP' is not valid."}
    emr.cloud.faults.add("emr", "ListSteps", "hostile_reply", body=json.dumps(error), status=400)
    with pytest.raises(ServiceError, match="s-ANOTHERSTEP"):
        emr.service().describe([step])


def test_a_step_with_two_addresses_is_named_once(emr: EmrBench) -> None:
    (step,) = emr.running()
    short = RemoteJob.of("emr", step.id, scope=step.scope, conn_id="aws_default")
    calls = recorded(emr.client)
    assert outcomes(emr.service().cancel([step, short], "")) == [REQUESTED] * 2
    assert [status.state for status in emr.service().describe([step, short])] == [JobState.CANCELLING] * 2
    assert [params["StepIds"] for _, params in calls] == [[step.id]] * 2


def test_credentials_that_can_not_be_renewed_are_not_a_missing_permission(emr: EmrBench) -> None:
    (step,) = emr.running()

    def renew() -> dict[str, str]:
        error = {"Code": "AccessDenied", "Message": "not authorized to perform: sts:AssumeRole"}
        raise ClientError({"Error": error}, "AssumeRole")  # type: ignore[typeddict-item]

    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    expired = RefreshableCredentials("a", "b", "c", long_ago, renew, "assume-role")
    emr.client._request_signer._credentials = expired
    (result,) = emr.service().cancel([step], "")
    assert result.outcome is UNANSWERED
    assert "sts:AssumeRole" in str(result.detail)
    assert "Allow elasticmapreduce" not in str(result.detail)
    assert "Check the credentials of connection 'aws_default'." in str(result.detail)


@pytest.mark.parametrize(
    "info, outcome",
    [
        (
            {"Reason": "Cannot cancel the step. It is already CANCEL_PENDING."},
            CancelOutcome.ALREADY_CANCELLING,
        ),
        ({"Reason": "Cannot cancel the step. It is already INTERRUPTED."}, ENDED),
        ({}, REFUSED),
        (None, UNANSWERED),
        ({"StepId": "s-ANOTHER"}, UNANSWERED),
        ({"Status": "MOON"}, UNANSWERED),
    ],
)
def test_what_emr_may_say_of_a_step(
    emr: EmrBench, info: dict[str, str] | None, outcome: CancelOutcome
) -> None:
    emr.local.override("refuse*", refuse="no")
    (step,) = emr.submit("refuse")
    emr.cloud.clock.advance(1)

    def answer(parsed: dict[str, object], **_: object) -> None:
        parsed["CancelStepsInfoList"] = (
            [] if info is None else [{"StepId": step.id, "Status": "FAILED", **info}]
        )

    emr.client.meta.events.register("after-call.emr.CancelSteps", answer)
    assert outcomes(emr.service(HASTY).cancel([step], "")) == [outcome]


def test_a_step_unknown_to_all_does_not_keep_the_rest_from_being_cancelled(emr: EmrBench) -> None:
    """Should EMR refuse the whole request for one bad id, as ListSteps does, the others are sent again."""
    cluster = emr.new_scope()
    unknown, steps = emr.unknown(cluster), emr.running(5, cluster)

    def refuse(params: dict[str, list[str]], **_: object) -> None:
        if unknown.id in params["StepIds"]:
            error = {"Code": "InvalidRequestException", "Message": f"Step id '{unknown.id}' is not valid."}
            raise ClientError({"Error": error}, "CancelSteps")  # type: ignore[typeddict-item]

    emr.client.meta.events.register("provide-client-params.emr.CancelSteps", refuse)
    assert outcomes(emr.service().cancel([unknown, *steps], "")) == [GONE] + [REQUESTED] * 5
    emr.let_end()
    assert emr.are_cancelled(steps)


def test_steps_of_a_terminated_cluster_have_ended(emr: EmrBench) -> None:
    (step,) = emr.running()
    emr.client.terminate_job_flows(JobFlowIds=[step.scope])
    assert outcomes(emr.service().cancel([step], "")) == [ENDED]


def test_interrupted_is_an_end(emr: EmrBench) -> None:
    steps = emr.running(2)
    emr.local.finish(steps[0].id, "INTERRUPTED")
    (status, _) = emr.service().describe(steps)
    assert (status.state, status.service_state) == (JobState.CANCELLED, "INTERRUPTED")
    assert outcomes(emr.service().cancel(steps, "")) == [ENDED, REQUESTED]


def test_a_failed_step_shows_its_state(emr: EmrBench) -> None:
    (step,) = emr.running()
    emr.local.finish(step.id, "FAILED", "exit code 3")
    (status,) = emr.service().describe([step])
    assert (status.state, status.reason) == (JobState.FAILED, "exit code 3")


def test_257_steps_of_a_cluster_take_two_requests(emr: EmrBench) -> None:
    cluster = emr.new_scope()
    steps = [*emr.ended(10, cluster), *emr.running(247, cluster)]
    results = emr.service().cancel(steps, "")
    assert outcomes(results) == [ENDED] * 10 + [REQUESTED] * 247
    assert emr.cancels_sent == 2


def test_old_steps_are_looked_up_by_id(emr: EmrBench) -> None:
    """Far down the list, with newer steps above: newest, live, newest, then 10 ids to a call."""
    cluster = emr.new_scope()
    old = emr.ended(60, cluster)
    emr.ended(250, cluster)
    emr.cloud.journal.clear()
    assert {status.state for status in emr.service().describe(old)} == {JobState.SUCCEEDED}
    assert emr.count("ListSteps") == 1 + 1 + 2 + 6


def test_pages_that_show_the_same_steps_again_are_not_read_on(emr: EmrBench) -> None:
    """Each with another marker: nothing but the steps shows that they go round in circles."""
    jobs = emr.running(120, emr.new_scope())
    steps = [{"Id": job.id, "Status": {"State": "RUNNING"}} for job in jobs[:50]]
    for number in range(100):
        page = json.dumps({"Steps": steps, "Marker": f"m{number}"})
        emr.cloud.faults.add("emr", "ListSteps", "hostile_reply", body=page, times=1)
    emr.cloud.journal.clear()
    with contextlib.suppress(ServiceUnavailable):
        emr.service(HASTY).describe(jobs)
    # Two of the newest, as many of the live ones as 10 ids a call would take, and some by ids, in vain.
    assert emr.count("ListSteps") < 40


def test_denied_on_one_cluster_leaves_the_others_alone(emr: EmrBench) -> None:
    clusters = [emr.running(2) for _ in range(3)]
    emr.cloud.faults.add("emr", "CancelSteps", "denied", scope=clusters[0][0].scope)
    results = emr.service().cancel([step for steps in zip(*clusters, strict=True) for step in steps], "")
    assert outcomes(results) == [REFUSED, REQUESTED, REQUESTED] * 2


def test_a_cluster_that_does_not_answer_leaves_the_others_alone(emr: EmrBench) -> None:
    clusters = [emr.running(2) for _ in range(3)]
    emr.cloud.faults.add("emr", "CancelSteps", "server_error", scope=clusters[0][0].scope)
    begin = time.monotonic()
    results = emr.service(HASTY).cancel([step for steps in clusters for step in steps], "")
    assert outcomes(results) == [CancelOutcome.UNANSWERED] * 2 + [REQUESTED] * 4
    assert time.monotonic() - begin < 20


def test_a_malformed_scope_is_refused_before_anything_is_sent(emr: EmrBench) -> None:
    with pytest.raises(InvalidInput, match="cluster_id"):
        next(emr.service().living("cluster"))
    assert emr.count() == 0
