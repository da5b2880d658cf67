"""AWS Batch: bulk and single calls, arrays, dependants, multi-node jobs, and pending jobs only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_cancel_provider.exceptions import InvalidInput, UnknownScope
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.services.aws.calls import IDENTITY_ATTEMPTS
from airflow_cancel_provider.services.batch.service import DEFAULT_REASON
from tests.cloud.server import LocalCloud
from tests.service_fixtures import HASTY, BatchBench, needs_bulk, outcomes, recorded

REASON = "the task was killed"
CANCELLING, ENDED, GONE, LEFT, REFUSED, REQUESTED, UNANSWERED = (
    CancelOutcome.ALREADY_CANCELLING,
    CancelOutcome.ALREADY_ENDED,
    CancelOutcome.GONE,
    CancelOutcome.LEFT_RUNNING,
    CancelOutcome.REFUSED,
    CancelOutcome.REQUESTED,
    CancelOutcome.UNANSWERED,
)


class OldClient:
    """A client as botocore made it before 1.43.93: without the bulk calls."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        if name in ("cancel_jobs", "terminate_jobs"):
            raise AttributeError(name)
        return getattr(self._client, name)


@pytest.fixture
def batch(cloud: LocalCloud) -> Iterator[BatchBench]:
    bench = BatchBench(cloud)
    yield bench
    bench.close()


def states(batch: BatchBench, jobs: list[RemoteJob]) -> list[JobState]:
    return [status.state for status in batch.service().describe(jobs)]


def test_of_a_long_reason_the_beginning_is_sent(batch: BatchBench) -> None:
    """Batch refuses the request otherwise, and the job would go on."""
    (job,) = batch.running()
    assert outcomes(batch.service().cancel([job], f" {'x' * 2000}")) == [CancelOutcome.REQUESTED]
    assert batch.truth()[job.id]["reason"] == "x" * 1024


def test_the_reason_is_shown_and_never_empty(batch: BatchBench) -> None:
    jobs = batch.running(2)
    batch.service().cancel(jobs[:1], REASON)
    batch.service().cancel(jobs[1:], "  ")
    batch.let_end()
    assert [status.reason for status in batch.service().describe(jobs)] == [REASON, DEFAULT_REASON]


@needs_bulk
def test_jobs_that_are_ending_or_over_are_not_asked(batch: BatchBench) -> None:
    (cancelling,), (ended,), (alive,) = batch.submit("endless"), batch.ended(), batch.running()
    batch.service().cancel([cancelling], REASON)
    calls = recorded(batch.client)
    asked = [ended, cancelling, batch.unknown(), alive]
    assert outcomes(batch.service().cancel(asked, REASON)) == [ENDED, CANCELLING, GONE, REQUESTED]
    assert outcomes(batch.service().cancel([cancelling], REASON, force=True)) == [CANCELLING]
    sent = [params["jobs"] for name, params in calls if name == "TerminateJobs"]
    assert sent == [[asked[2].id, alive.id]]


class TestOldClients:
    def test_a_client_without_bulk_calls_sends_one_by_one(self, batch: BatchBench) -> None:
        jobs = batch.running(60)
        service = batch.service(client=OldClient(batch.client))
        assert outcomes(service.cancel(jobs, REASON)) == [REQUESTED] * 60
        assert (batch.count("TerminateJob"), batch.count("TerminateJobs")) == (60, 0)
        batch.let_end()
        assert batch.are_cancelled(jobs)

    def test_denied_is_tried_ten_times(self, batch: BatchBench) -> None:
        jobs = batch.running(20)
        batch.cloud.faults.add("batch", "TerminateJob", "denied")
        results = batch.service(client=OldClient(batch.client)).cancel(jobs, REASON)
        assert outcomes(results) == [REFUSED] * 20
        assert batch.count("TerminateJob") == 10
        assert "Not sent" in str(results[-1].detail)
        assert "Allow batch:TerminateJob to" in str(results[-1].detail)

    def test_one_denied_by_its_tags_leaves_the_others_alone(self, batch: BatchBench) -> None:
        batch.local.override("theirs*", refuse="AccessDenied")
        theirs, ours = batch.submit("theirs", 9), batch.running(3)
        results = batch.service(client=OldClient(batch.client)).cancel(theirs + ours, REASON)
        assert outcomes(results) == [REFUSED] * 9 + [REQUESTED] * 3

    def test_a_job_that_batch_refuses_is_refused_in_its_words(self, batch: BatchBench) -> None:
        batch.local.override("odd*", refuse="ClientException")
        jobs = [*batch.submit("odd"), *batch.running()]
        odd, other = batch.service(client=OldClient(batch.client)).cancel(jobs, REASON)
        assert (odd.outcome, odd.code, other.outcome) == (REFUSED, "ClientException", REQUESTED)
        assert f"{odd.job} failed: ClientException" in str(odd.detail)

    def test_an_unknown_job_is_gone(self, batch: BatchBench) -> None:
        service = batch.service(client=OldClient(batch.client))
        assert outcomes(service.cancel([batch.unknown()], REASON)) == [GONE]

    @pytest.mark.parametrize("keys", ["bad_access_keys", "expired_access_keys"])
    def test_an_identity_that_is_not_accepted_is_found_with_the_first_job(
        self, batch: BatchBench, keys: str
    ) -> None:
        jobs = batch.running(20)
        getattr(batch.cloud, keys).add("testing")
        results = batch.service(client=OldClient(batch.client)).cancel(jobs, REASON)
        assert outcomes(results) == [UNANSWERED] * 20
        # That jobs are described first has shown it already.
        assert (batch.count("DescribeJobs"), batch.cancels_sent) == (IDENTITY_ATTEMPTS, 1)


@needs_bulk
class TestOldEndpoints:
    def test_bulk_calls_that_do_not_exist_are_tried_once(self, batch: BatchBench) -> None:
        batch.local.set(bulk=False)
        jobs, service = batch.running(120), batch.service()
        assert outcomes(service.cancel(jobs[:110], REASON)) == [REQUESTED] * 110
        assert outcomes(service.cancel(jobs[110:], REASON)) == [REQUESTED] * 10
        assert (batch.count("TerminateJob"), batch.count("TerminateJobs")) == (120, 1)
        batch.let_end()
        assert batch.are_cancelled(jobs)

    def test_jobs_that_were_to_go_together_when_that_is_found_out_go_one_by_one(
        self, batch: BatchBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Requests go side by side: another one may have found it out."""
        jobs, service = batch.running(60), batch.service()
        portions = service._portions

        def cut(operation: str, some: list[RemoteJob]) -> Iterator[Any]:
            cut_before = list(portions(operation, some))
            service._single_only.add(operation)
            yield from cut_before

        monkeypatch.setattr(service, "_portions", cut)
        assert outcomes(service.cancel(jobs, REASON)) == [REQUESTED] * 60
        assert (batch.count("TerminateJob"), batch.count("TerminateJobs")) == (60, 0)

    def test_both_bulk_calls_fall_back_by_themselves(self, batch: BatchBench) -> None:
        batch.local.set(bulk=False)
        (pending,), (running,) = batch.submit("pending"), batch.running()
        service = batch.service(pending_only=True)
        assert outcomes(service.cancel([pending, running], REASON)) == [REQUESTED, LEFT]
        assert outcomes(service.cancel([running], REASON, force=True)) == [REQUESTED]
        assert [batch.count(name) for name in batch.cancel_operations] == [1, 1, 1, 1]


@needs_bulk
class TestErrorsPerJob:
    def test_a_refusal_names_the_job_alone(self, batch: BatchBench) -> None:
        batch.local.override("theirs*", refuse="AccessDenied")
        batch.local.override("odd*", refuse="ClientException")
        (theirs,), (odd,), (ours,) = batch.submit("theirs"), batch.submit("odd"), batch.running()
        denied, refused, requested = batch.service().cancel([theirs, odd, ours], REASON)
        assert (denied.outcome, denied.code) == (REFUSED, "AccessDenied")
        assert "Allow batch:TerminateJob to this identity" in str(denied.detail)
        assert (refused.outcome, refused.code) == (REFUSED, "ClientException")
        assert requested.outcome is REQUESTED

    @pytest.mark.parametrize("code", ["ThrottlingException", "ServerException"])
    def test_busy_jobs_alone_are_asked_again(self, batch: BatchBench, code: str) -> None:
        batch.local.override("busy*", refuse=code)
        busy, others = batch.submit("busy", 3), batch.running(4)
        calls = recorded(batch.client)
        batch.client.meta.events.register(
            "after-call.batch.TerminateJobs", lambda **_: batch.local.override("busy*", refuse="")
        )
        results = batch.service().cancel([*busy, *others], REASON)
        assert outcomes(results) == [REQUESTED] * 7
        sent = [params["jobs"] for name, params in calls if name == "TerminateJobs"]
        assert sent == [[job.id for job in (*busy, *others)], [job.id for job in busy]]

    def test_jobs_that_stay_busy_are_unanswered(self, batch: BatchBench) -> None:
        batch.local.override("busy*", refuse="ThrottlingException")
        jobs = [*batch.submit("busy"), *batch.running()]
        busy, other = batch.service(HASTY).cancel(jobs, REASON)
        assert (busy.outcome, busy.code) == (UNANSWERED, "ThrottlingException")
        assert other.outcome is REQUESTED

    def test_a_busy_rest_that_is_then_cut_off_is_unanswered(self, batch: BatchBench) -> None:
        batch.local.override("busy*", refuse="ThrottlingException")
        jobs = [*batch.submit("busy"), *batch.running()]
        batch.cloud.faults.add("batch", "TerminateJobs", "expired_token", after=1)
        assert outcomes(batch.service(HASTY).cancel(jobs, REASON)) == [UNANSWERED, REQUESTED]


class TestArrays:
    @pytest.fixture
    def array(self, batch: BatchBench) -> RemoteJob:
        (parent,) = batch.submit("array", arrayProperties={"size": 5})
        batch.cloud.clock.advance(1)
        return parent

    def child(self, batch: BatchBench, array: RemoteJob, index: int) -> RemoteJob:
        return batch.address(f"{array.id}:{index}")

    def test_the_parent_takes_its_children_along(self, batch: BatchBench, array: RemoteJob) -> None:
        assert states(batch, [array, self.child(batch, array, 4)]) == [JobState.PENDING, JobState.RUNNING]
        assert outcomes(batch.service().cancel([array], REASON)) == [REQUESTED]
        assert states(batch, [array]) == [JobState.CANCELLING]
        assert batch.count("ListJobs") == 0
        batch.let_end()
        children = [self.child(batch, array, index) for index in range(5)]
        assert states(batch, [array, *children]) == [JobState.CANCELLED] * 6

    def test_one_child_goes_alone(self, batch: BatchBench, array: RemoteJob) -> None:
        child = batch.service().check(self.child(batch, array, 3))
        assert outcomes(batch.service().cancel([child], REASON)) == [REQUESTED]
        batch.let_end()
        neighbour = self.child(batch, array, 2)
        assert states(batch, [child, neighbour]) == [JobState.CANCELLED, JobState.RUNNING]

    def test_a_parent_is_listed_and_its_children_are_not(self, batch: BatchBench, array: RemoteJob) -> None:
        assert [status.job for status in batch.service().living("queue")] == [array]

    def test_a_parent_that_was_only_cancelled_is_terminated(
        self, batch: BatchBench, array: RemoteJob
    ) -> None:
        batch.client.cancel_job(jobId=array.id, reason="by hand")
        assert states(batch, [array]) == [JobState.CANCELLING]
        assert outcomes(batch.service().cancel([array], REASON)) == [REQUESTED]
        assert outcomes(batch.service().cancel([array], REASON)) == [CANCELLING]
        batch.let_end()
        assert batch.are_cancelled([self.child(batch, array, index) for index in range(5)])


def test_a_dependant_is_cancelling_until_what_it_depends_on_has_ended(batch: BatchBench) -> None:
    (first,) = batch.submit("endless")
    (dependant,) = batch.submit("dependant", dependsOn=[{"jobId": first.id}])
    batch.cloud.clock.advance(1)
    assert outcomes(batch.service().cancel([dependant], REASON)) == [REQUESTED]
    batch.let_end()
    (status,) = batch.service().describe([dependant])
    assert (status.state, status.service_state) == (JobState.CANCELLING, "PENDING")
    assert outcomes(batch.service().cancel([dependant], REASON)) == [CANCELLING]
    batch.finish(first)
    batch.let_end()
    assert states(batch, [dependant]) == [JobState.CANCELLED]


def test_a_multi_node_job_ends_with_its_nodes(batch: BatchBench) -> None:
    (job,) = batch.submit("nodes", nodeOverrides={"numNodes": 3})
    batch.cloud.clock.advance(1)
    node = batch.service().check(batch.address(f"{job.id}#2"))
    assert states(batch, [job, node]) == [JobState.RUNNING] * 2
    assert [status.job for status in batch.service().living("queue")] == [job]
    assert outcomes(batch.service().cancel([job], REASON)) == [REQUESTED]
    batch.let_end()
    assert states(batch, [job, node]) == [JobState.CANCELLED] * 2


class TestPendingOnly:
    @needs_bulk
    def test_started_jobs_are_left_running_and_not_asked(self, batch: BatchBench) -> None:
        (pending,), (running,), (ended,) = batch.submit("pending"), batch.running(), batch.ended()
        service, calls = batch.service(pending_only=True), recorded(batch.client)
        results = service.cancel([running, pending, ended], REASON)
        assert outcomes(results) == [LEFT, REQUESTED, ENDED]
        assert [params["jobs"] for name, params in calls if name == "CancelJobs"] == [[pending.id]]
        assert not batch.count("TerminateJobs")
        batch.let_end()
        assert states(batch, [running, pending]) == [JobState.RUNNING, JobState.CANCELLED]
        assert not service.can_escalate

    def test_force_takes_them_all(self, batch: BatchBench) -> None:
        (running,) = batch.running()
        service = batch.service(pending_only=True)
        assert outcomes(service.cancel([running], REASON, force=True)) == [REQUESTED]
        batch.let_end()
        assert batch.are_cancelled([running])

    def test_without_bulk_calls(self, batch: BatchBench) -> None:
        (pending,), (running,) = batch.submit("pending"), batch.running()
        service = batch.service(client=OldClient(batch.client), pending_only=True)
        assert outcomes(service.cancel([pending, running], REASON)) == [REQUESTED, LEFT]
        assert (batch.count("CancelJob"), batch.count("TerminateJob")) == (1, 0)

    def test_a_job_that_started_although_cancelled_is_terminated(self, batch: BatchBench) -> None:
        """CancelJob reached it while it was RUNNABLE, and it is seen RUNNING: one TerminateJob is due."""
        batch.local.override("slow*", pending=2, cancel=1e6)
        (job,) = batch.submit("slow")
        gentle = batch.service(pending_only=True)
        assert outcomes(gentle.cancel([job], REASON)) == [REQUESTED]
        batch.cloud.clock.advance(10)
        (status,) = gentle.describe([job])
        assert (status.state, status.service_state) == (JobState.CANCELLING, "RUNNING")
        assert outcomes(gentle.cancel([job], REASON)) == [CANCELLING]
        assert outcomes(gentle.cancel([job], REASON, force=True)) == [REQUESTED]
        assert outcomes(gentle.cancel([job], REASON, force=True)) == [CANCELLING]


class TestLiving:
    def test_a_queue_by_its_arn(self, batch: BatchBench) -> None:
        alive = [*batch.submit("pending", 3), *batch.running(2)]
        batch.ended(2)
        arn = "arn:aws:batch:us-east-1:123456789012:job-queue/queue"
        assert {status.job for status in batch.service().living(arn)} == set(alive)
        batch.cloud.batch.set_queue("another")
        assert not list(batch.service().living("another"))
        with pytest.raises(UnknownScope, match="no-such"):
            list(batch.service().living("no-such"))

    def test_a_queue_for_service_jobs_is_not_looked_at(self, batch: BatchBench) -> None:
        batch.cloud.batch.set_queue("training", kind="SAGEMAKER_TRAINING")
        batch.cloud.batch.set_queue("pods", kind="EKS")
        assert list(batch.service().scopes()) == ["pods"]

    def test_names_are_compared_with_their_case(self, batch: BatchBench) -> None:
        ours = [*batch.submit("pending-etl", 120), *batch.submit("pending-etl-2")]
        batch.submit("Pending-ETL")
        batch.finish(ours.pop())
        batch.service().cancel(ours[:1], REASON)
        found = list(batch.service().living("queue", "pending-etl"))
        assert {status.job for status in found} == set(ours)
        assert {status.name for status in found} == {"pending-etl"}
        assert batch.count("ListJobs") == 2

    @pytest.mark.parametrize("prefix", ["a*", "a b", "-a"])
    def test_a_prefix_that_no_name_has_is_refused(self, batch: BatchBench, prefix: str) -> None:
        with pytest.raises(InvalidInput, match="cannot begin the name"):
            next(batch.service().living("queue", prefix))

    @pytest.mark.parametrize("queue", ["", "a/b", "arn:aws:batch:us-east-1:1:compute-environment/a"])
    def test_a_queue_that_cannot_be_is_refused(self, batch: BatchBench, queue: str) -> None:
        with pytest.raises(InvalidInput, match="job queue"):
            next(batch.service().living(queue))


@pytest.mark.parametrize("suffix", ["", ":0", ":9999", "#1"])
def test_ids_of_jobs_children_and_nodes_are_accepted(batch: BatchBench, suffix: str) -> None:
    job = batch.address(f"{batch.unknown().id}{suffix}")
    assert RemoteJob(str(job)) == batch.service().check(job)


@pytest.mark.parametrize("id", ["job", "5B1F0000-0000-0000-0000-000000000000", ":1", "#", "x" * 36])
def test_other_ids_are_not(batch: BatchBench, id: str) -> None:
    with pytest.raises(InvalidInput, match="job id"):
        batch.service().address(id)


@needs_bulk
def test_an_unknown_job_is_not_gone_while_its_request_is_unanswered(batch: BatchBench) -> None:
    """It may have been submitted a moment ago."""
    batch.cloud.faults.add("batch", "TerminateJobs", "reset")
    assert outcomes(batch.service(HASTY).cancel([batch.unknown()], REASON)) == [UNANSWERED]


@needs_bulk
def test_an_endpoint_behind_a_gateway_has_no_bulk_calls_either(batch: BatchBench) -> None:
    """A gateway answers a path that it does not have as if credentials were missing."""
    jobs = batch.running(3)

    def refuse(**_: Any) -> None:
        error = {"Code": "MissingAuthenticationTokenException", "Message": "Missing Authentication Token"}
        raise ClientError({"Error": error}, "TerminateJobs")  # type: ignore[typeddict-item]

    batch.client.meta.events.register("provide-client-params.batch.TerminateJobs", refuse)
    assert outcomes(batch.service().cancel(jobs, REASON)) == [REQUESTED] * 3
    assert batch.count("TerminateJob") == 3


@needs_bulk
@pytest.mark.parametrize("answer", [{"successful": [], "errors": []}, {}])
def test_a_job_that_the_answer_leaves_out_is_unanswered(batch: BatchBench, answer: dict[str, Any]) -> None:
    def empty(parsed: dict[str, Any], **_: Any) -> None:
        parsed.pop("successful")
        parsed.update(answer)

    batch.client.meta.events.register("after-call.batch.TerminateJobs", empty)
    (result,) = batch.service(HASTY).cancel(batch.running(), REASON)
    assert (result.outcome, result.code) == (UNANSWERED, None)


def test_a_poll_that_fails_half_way_still_sends_everything(batch: BatchBench) -> None:
    ended, running, unknown = batch.ended(100), batch.running(2), batch.unknown()
    batch.cloud.faults.add("batch", "DescribeJobs", "denied", after=1)
    results = batch.service().cancel([*ended, *running, unknown], REASON)
    assert outcomes(results) == [ENDED] * 100 + [REQUESTED] * 3
