"""Job runs of EMR on EKS: refusals that are looked into, reasons, labels, and how runs are looked up."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from botocore.exceptions import ClientError

from airflow_cancel_provider.exceptions import UnknownScope
from airflow_cancel_provider.jobs import CancelOutcome, JobState
from airflow_cancel_provider.owner import Label
from tests.cloud.server import LocalCloud
from tests.service_fixtures import HASTY, ROLE, EmrContainersBench, outcomes

ENDED, GONE, REFUSED, REQUESTED, UNANSWERED = (
    CancelOutcome.ALREADY_ENDED,
    CancelOutcome.GONE,
    CancelOutcome.REFUSED,
    CancelOutcome.REQUESTED,
    CancelOutcome.UNANSWERED,
)
EVENT = "provide-client-params.emr-containers.CancelJobRun"
LABEL = Label("0a1b2c3d", UUID("01997d3c-6e9f-7c3a-9d15-3f1b5a4c2d10"), reconnects=True)


@pytest.fixture
def containers(cloud: LocalCloud) -> Iterator[EmrContainersBench]:
    bench = EmrContainersBench(cloud)
    yield bench
    bench.close()


def blind(containers: EmrContainersBench, kind: str = "denied") -> None:
    """Let no description be answered."""
    for operation in ("DescribeJobRun", "ListJobRuns"):
        containers.cloud.faults.add(containers.name, operation, kind)


def test_a_run_is_cancelled_with_the_attempts_of_its_retry_policy(containers: EmrContainersBench) -> None:
    containers.local.set(run=100, outcome="failure")
    (run,) = containers.submit("running", retryPolicyConfiguration={"maxAttempts": 5})
    containers.cloud.clock.advance(250)  # the third attempt
    assert outcomes(containers.service().cancel([run], "")) == [REQUESTED]
    containers.let_end()
    (status,) = containers.service().describe([run])
    assert (status.state, status.reason) == (JobState.CANCELLED, "JobRun CANCELLED successfully.")


@pytest.mark.parametrize("state", ["FAILED", "COMPLETED", "CANCELLED"])
def test_every_end_is_already_ended(containers: EmrContainersBench, state: str) -> None:
    (run,) = containers.running()
    containers.local.finish(run.id, state, "as told")
    (result,) = containers.service().cancel([run], "")
    why = "USER_ERROR: as told" if state == "FAILED" else "as told"
    assert (result.outcome, result.detail) == (ENDED, why)
    assert containers.cancels_sent == 0


def test_a_refusal_of_a_run_that_is_ending_is_no_failure(containers: EmrContainersBench) -> None:
    """Somebody else has it cancelled between the description and the request; a second request is invalid."""
    (run,) = containers.submit("endless")
    containers.cloud.clock.advance(1)

    def cancel_too(**_: object) -> None:
        containers.client.meta.events.unregister(EVENT, cancel_too)
        containers.client.cancel_job_run(virtualClusterId=run.scope, id=run.id)

    containers.client.meta.events.register(EVENT, cancel_too)
    (result,) = containers.service().cancel([run], "")
    assert result.outcome is CancelOutcome.ALREADY_CANCELLING
    assert containers.cancels_sent == 2


def test_a_refusal_that_cannot_be_looked_into_keeps_its_words(containers: EmrContainersBench) -> None:
    (ended,) = containers.ended()
    blind(containers)
    (result,) = containers.service().cancel([ended], "")
    assert (result.outcome, result.code) == (REFUSED, "ValidationException")
    assert "not in a cancellable state" in str(result.detail)


def test_a_refusal_that_could_not_be_looked_into_for_now_is_asked_again(
    containers: EmrContainersBench,
) -> None:
    (ended,) = containers.ended()
    blind(containers, "throttle")
    (result,) = containers.service(HASTY).cancel([ended], "")
    assert (result.outcome, result.code) == (UNANSWERED, "ValidationException")


def test_a_live_run_that_is_refused_stays_refused(containers: EmrContainersBench) -> None:
    (run,) = containers.running()

    def refuse(**_: object) -> None:
        error = {"Error": {"Code": "ValidationException", "Message": "not now"}}
        raise ClientError(error, "CancelJobRun")

    containers.client.meta.events.register(EVENT, refuse)
    (result,) = containers.service().cancel([run], "")
    assert (result.outcome, result.code) == (REFUSED, "ValidationException")
    assert "not now" in str(result.detail)


@pytest.mark.parametrize("code", ["ValidationException", "ResourceNotFoundException"])
@pytest.mark.parametrize("is_known", [True, False])
def test_an_unknown_run_is_told_from_an_unknown_virtual_cluster(
    containers: EmrContainersBench, code: str, is_known: bool
) -> None:
    """CancelJobRun names no error for what is unknown: whichever it is, the virtual cluster is asked for."""
    scope = containers.new_scope() if is_known else "0neverwas"
    containers.cloud.faults.add(containers.name, "DescribeJobRun", "server_error", times=4)

    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": "Job run 0f1 doesn't exist."}}, "CancelJobRun")

    containers.client.meta.events.register(EVENT, refuse)
    (result,) = containers.service().cancel([containers.address("0f1", scope)], "")
    assert result.outcome is (GONE if is_known else REFUSED)
    assert is_known or "another account or region than connection 'aws_default'" in str(result.detail)


def test_an_unknown_virtual_cluster_is_no_empty_one(containers: EmrContainersBench) -> None:
    """ListJobRuns answers both alike."""
    with pytest.raises(UnknownScope, match="DescribeVirtualCluster on 0neverwas failed"):
        list(containers.service().living("0neverwas"))
    assert list(containers.service().living(containers.new_scope())) == []


@pytest.mark.parametrize("count, calls", [(4, {"DescribeJobRun": 4}), (5, {"ListJobRuns": 1})])
def test_few_runs_are_read_one_by_one(
    containers: EmrContainersBench, count: int, calls: dict[str, int]
) -> None:
    runs = containers.running(count)
    containers.cloud.journal.clear()
    assert {status.state for status in containers.service().describe(runs)} == {JobState.RUNNING}
    operations = {entry.operation for entry in containers.cloud.journal}
    assert {name: containers.count(name) for name in operations} == calls


@pytest.mark.parametrize(
    "carrier",
    [
        {"name": f"etl-{LABEL}"},
        {"name": "a-name-that-leaves-no-room", "clientToken": f"{LABEL}.0123456789abcdef0"},
    ],
    ids=["name", "token"],
)
def test_a_label_is_read_from_wherever_it_is(
    containers: EmrContainersBench, carrier: dict[str, object]
) -> None:
    scope = containers.new_scope()
    run_id = containers.client.start_job_run(virtualClusterId=scope, executionRoleArn=ROLE, **carrier)["id"]
    run = containers.address(run_id, scope)
    containers.submit("another", 1, scope)
    assert containers.service().labelled(scope, LABEL) == [run]
    (status,) = containers.service().describe([run])
    assert status.label == LABEL
    assert status.label is not None
    assert status.label.reconnects
