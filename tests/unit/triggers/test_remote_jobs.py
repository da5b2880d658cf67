"""The one trigger and its shared poll: how few calls many waits make, and what none does to another."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import certifi
import pytest

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.exceptions import (
    AccessDenied,
    ConnectionUnusable,
    IdentityError,
    InvalidInput,
    ServiceError,
    ServiceUnavailable,
)
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.triggers.poller import Board
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger, error_as_json, raise_from_json
from airflow_cancel_provider.version_compat import TaskDeferred
from airflow_cancel_provider.watch import Watch
from tests import memory_service
from tests.cloud.server import LocalCloud
from tests.memory_service import Memory, memory
from tests.service_fixtures import BatchBench, EmrBench
from tests.task_fixtures import (
    SECRETS,
    connect_aws,
    connections,
    context,
    event_of,
    moved,
    operator,
    shown_at_once,
    targets,
    through_serde,
)
from tests.trigger_fixtures import polled, until

__all__ = ["connections", "memory", "shown_at_once"]


@pytest.fixture
def batch(cloud: LocalCloud, connections: None) -> BatchBench:  # noqa: ARG001
    return BatchBench(cloud)


def waiting(watch: Watch | Sequence[RemoteJob], *, delay: float = 0.1, **options: Any) -> RemoteJobsTrigger:
    watch = watch if isinstance(watch, Watch) else Watch(watch)
    access = options.pop("access", Access())
    kwargs = {"waiter_max_attempts": None, "started_at": time.time(), **options}
    return RemoteJobsTrigger(watch.as_json(), access.as_json(), delay, **kwargs)


async def all_events(triggers: Sequence[RemoteJobsTrigger]) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*map(event_of, triggers)))


def states(event: dict[str, Any]) -> list[str]:
    return [status["state"] for status in event["watch"]["statuses"]]


class TestSharing:
    def test_two_hundred_waits_are_two_requests_a_poll(
        self, batch: BatchBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Whoever assumes a role asks STS once for each client: that shows how many there are.
        connect_aws(
            monkeypatch,
            batch.cloud,
            role_arn="arn:aws:iam::123456789012:role/airflow",
            service_config={"sts": {"endpoint_url": batch.cloud.url}},
        )
        jobs = batch.running(200)
        ours = {job.id for job in jobs}
        batch.cloud.journal.clear()

        def polls() -> list[int]:
            """Jobs of each poll; somebody may still poll jobs of an earlier test."""
            entries = batch.cloud.journal.entries("batch", "DescribeJobs")
            return [len(poll.ids) for poll in entries if ours & {*poll.ids}]

        async def story() -> list[dict[str, Any]]:
            events = asyncio.ensure_future(all_events([waiting([job], delay=1) for job in jobs]))
            while len(polls()) < 4:  # noqa: ASYNC110  what is waited for is on the wire
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.3)
            for job in jobs:
                batch.finish(job)
            return await events

        assert [states(event) for event in asyncio.run(story())] == [["SUCCEEDED"]] * 200
        print(f"200 waits: {len(polls())} DescribeJobs in 3 polls")
        assert polls() == [100] * 6
        assert batch.cloud.journal.count("sts", "AssumeRole") == 1

    @pytest.mark.usefixtures("connections")
    def test_waits_on_one_cluster_share_its_listing(self, cloud: LocalCloud) -> None:
        bench = EmrBench(cloud)
        clusters = [bench.new_scope() for _ in range(2)]
        jobs = [job for cluster in clusters for job in bench.submit("step", 10, cluster)]
        for job in jobs:
            bench.finish(job)
        bench.close()
        cloud.journal.clear()
        events = asyncio.run(all_events([waiting([job], delay=0.5) for job in jobs]))
        assert [states(event) for event in events] == [["SUCCEEDED"]] * 20
        polls = cloud.journal.entries("emr", "ListSteps")
        assert sorted(poll.scope for poll in polls) == sorted(clusters)
        assert all(len(poll.ids) == 10 for poll in polls)

    @pytest.mark.usefixtures("shown_at_once")
    def test_connections_regions_and_accesses_do_not_mix(
        self, batch: BatchBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect_aws(monkeypatch, batch.cloud, "other", login="OTHERKEY")
        (job,) = batch.running()
        other = RemoteJob.of("batch", job.id, conn_id="other", region="us-east-1")
        away = RemoteJob.of("batch", job.id, conn_id="other", region="eu-west-1")
        config = Access(botocore_config={"user_agent_extra": "apart"})
        batch.finish(job)
        triggers = [*(waiting([address]) for address in (job, other, away)), waiting([job], access=config)]
        events = asyncio.run(all_events(triggers))
        assert [states(event) for event in events] == [["SUCCEEDED"], ["SUCCEEDED"], ["GONE"], ["SUCCEEDED"]]
        polls = batch.cloud.journal.entries("batch", "DescribeJobs")
        assert {(poll.access_key, poll.region) for poll in polls} == {
            ("DEFAULTKEY", "us-east-1"),
            ("OTHERKEY", "us-east-1"),
            ("OTHERKEY", "eu-west-1"),
        }
        # One each, and one more for the job that is gone.
        assert len(polls) == 5

    def test_a_client_lives_as_long_as_somebody_waits(self, memory: Memory) -> None:
        async def story() -> None:
            board = Board.here()
            await polled(
                [waiting(memory.jobs("a")), waiting(memory.jobs("b"))], lambda: len(memory.polls) > 2
            )
            assert memory.opened == [(None, None)]
            await until(lambda: not board._services and not board._waits_on)

        asyncio.run(asyncio.wait_for(story(), 60))

    def test_a_cancelled_wait_leaves_its_siblings_alone(self, memory: Memory) -> None:
        async def story() -> dict[str, Any]:
            first, second = (asyncio.ensure_future(event_of(waiting([job]))) for job in memory.jobs("a", "b"))
            await asyncio.sleep(0.05)
            first.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await first
            memory.polls.clear()
            memory.states["b"] = JobState.SUCCEEDED
            return await asyncio.wait_for(second, 5)

        assert states(asyncio.run(story())) == ["SUCCEEDED"]
        assert memory.polls == [["b"]]

    def test_a_wait_that_is_cancelled_during_a_poll_leaves_its_siblings_alone(
        self, batch: BatchBench
    ) -> None:
        jobs = batch.running(2)
        batch.cloud.faults.add("batch", "DescribeJobs", "latency", delay=0.5)

        async def story() -> dict[str, Any]:
            first, second = (asyncio.ensure_future(event_of(waiting([job]))) for job in jobs)
            while not batch.count("DescribeJobs"):  # noqa: ASYNC110  what is waited for is on the wire
                await asyncio.sleep(0.01)
            batch.finish(jobs[1])
            first.cancel()
            return await asyncio.wait_for(second, 5)

        assert states(asyncio.run(story())) == ["SUCCEEDED"]

    def test_the_pace_of_the_service_is_kept(self, memory: Memory) -> None:
        memory.quota = (2, 10.0)
        scopes = [[memory.job(f"j{i}", scope=f"place{i}")] for i in range(40)]
        began = time.monotonic()
        asyncio.run(polled([waiting(jobs) for jobs in scopes], lambda: len(memory.polls) >= 12))
        # Forty places every tenth of a second would be some 400 in a second.
        assert len(memory.polls) <= 2 + 10 * (time.monotonic() - began) + 2


class TestFaults:
    def test_a_refusal_reaches_every_wait(self, batch: BatchBench) -> None:
        jobs = batch.running(3)
        batch.cloud.faults.add("batch", "DescribeJobs", "denied")
        for event in asyncio.run(all_events([waiting([job]) for job in jobs])):
            assert event["error"]["type"] == "AccessDenied"
            assert "Allow batch:DescribeJobs" in event["error"]["message"]
            with pytest.raises(AccessDenied) as caught:
                raise_from_json(through_serde(event["error"]))
            assert caught.value.operation == "DescribeJobs"
        # Once, and once more in case the connection was mended meanwhile.
        assert batch.count("DescribeJobs") == 2

    def test_a_cluster_that_is_denied_keeps_no_other_from_its_harder_cancel(
        self,
        cloud: LocalCloud,
        connections: None,
    ) -> None:
        emr = EmrBench(cloud)
        cloud.emr.override("stubborn*", stubborn=True)
        (denied,), (other,) = (emr.submit("stubborn", scope=emr.new_scope()) for _ in range(2))
        cloud.clock.advance(1)
        cloud.faults.add("emr", "ListSteps", "denied", scope=denied.scope or "")
        cancellation = Cancellation([denied, other], "", escalate_after=0.5)
        cancellation.request(Access().pool())
        event = asyncio.run(event_of(waiting(cancellation)))
        seen = Cancellation.from_json(event["watch"]).states
        assert seen == {other: "CANCELLED"}
        assert event["error"]["type"] == "AccessDenied"

    def test_an_unusable_connection_reaches_every_wait(self, batch: BatchBench) -> None:
        jobs = [RemoteJob.of("batch", str(uuid4()), conn_id="no_such") for _ in range(2)]
        events = asyncio.run(all_events([waiting([job]) for job in jobs]))
        assert {event["error"]["type"] for event in events} == {"InvalidInput"}
        assert batch.count() == 0

    @pytest.mark.parametrize("kind", ["server_error", "throttle", "reset"])
    def test_an_outage_is_outlasted(self, batch: BatchBench, kind: str) -> None:
        jobs = batch.running(2)
        batch.cloud.faults.add("batch", "*", kind, seconds=1)
        batch.cloud.faults.add("batch", "*", kind, every=2)
        for job in jobs:
            batch.finish(job)
        events = asyncio.run(all_events([waiting([job]) for job in jobs]))
        assert [(states(event), event["error"]) for event in events] == [(["SUCCEEDED"], None)] * 2

    def test_one_waits_bad_job_is_that_waits_alone(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bad, good = memory.job("bad"), memory.job("good", JobState.SUCCEEDED)
        describe = memory_service.MemoryService.describe

        def refusing(self: Any, jobs: Any) -> Any:
            if bad in list(jobs):
                raise ServiceError("This id is malformed.", "Poll", "ClientException")
            return describe(self, jobs)

        monkeypatch.setattr(memory_service.MemoryService, "describe", refusing)
        first, second = asyncio.run(all_events([waiting([bad]), waiting([good])]))
        assert first["error"]["message"] == "This id is malformed."
        assert (states(second), second["error"]) == (["SUCCEEDED"], None)

    def test_a_poll_that_leaves_a_job_out_or_breaks_down_disturbs_no_other(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left_out, breaking, good = memory.job("a"), memory.job("b"), memory.job("c", JobState.SUCCEEDED)
        describe = memory_service.MemoryService.describe

        def partly(self: Any, jobs: Any) -> Any:
            if breaking in list(jobs):
                raise KeyError("seen")
            return [status for status in describe(self, jobs) if status.job != left_out]

        monkeypatch.setattr(memory_service.MemoryService, "describe", partly)
        triggers = [waiting([left_out], waiter_max_attempts=4), waiting([breaking]), waiting([good])]
        first, second, third = asyncio.run(asyncio.wait_for(all_events(triggers), 60))
        assert (states(first), first["error"]) == ([], None)
        assert "KeyError" in second["error"]["message"]
        assert (states(third), third["error"]) == (["SUCCEEDED"], None)

    def test_an_outage_longer_than_patience_is_outlasted(self, memory: Memory) -> None:
        memory.errors += [ServiceUnavailable("The service is away.")] * 3
        jobs = [memory.job("a", JobState.SUCCEEDED)]
        event = asyncio.run(event_of(waiting(jobs, delay=0.02)))
        assert (states(event), event["error"]) == (["SUCCEEDED"], None)

    def test_attempts_are_counted_from_the_start_restarts_included(self, memory: Memory) -> None:
        late = waiting(memory.jobs("a"), started_at=time.time() - 100, waiter_max_attempts=10)
        assert moved(late).started_at == late.started_at
        event = asyncio.run(event_of(moved(late)))
        assert memory.polls == []
        assert event["watch"]["statuses"] == []
        soon = waiting(memory.jobs("a"), delay=0.02, waiter_max_attempts=5)
        assert states(asyncio.run(event_of(soon))) == ["RUNNING"]

    def test_a_cancellation_escalates_once(self, memory: Memory) -> None:
        cancellation = Cancellation(memory.jobs("a", "b"), "why", escalate_after=0.1)
        cancellation.request(memory.pool())
        memory.sent.clear()
        trigger = waiting(cancellation, delay=0.05, waiter_max_attempts=10)
        event = asyncio.run(event_of(moved(trigger)))
        assert memory.sent == [("a", True), ("b", True)]
        assert event["watch"]["forced"] == ["memory:///place/a", "memory:///place/b"]

    def test_an_escalation_comes_although_nobody_can_poll(self, memory: Memory) -> None:
        cancellation = Cancellation(memory.jobs("a"), "why", escalate_after=0.01)
        cancellation.request(memory.pool())
        memory.sent.clear()
        memory.errors += [ServiceUnavailable("The service is away.")] * 100
        asyncio.run(event_of(waiting(cancellation, delay=0.02, waiter_max_attempts=5)))
        assert memory.sent == [("a", True)]


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("Connection 'x' is not defined."),
        AccessDenied("Allow it.", "Poll", "Denied"),
        IdentityError("Who is this?", "Poll", "ExpiredToken"),
        ConnectionUnusable("Not over this certificate.", "Poll"),
        ServiceError("It broke.", "Poll", "Broken"),
        ServiceError("It broke."),
    ],
    ids=repr,
)
def test_errors_go_through_events(error: InvalidInput | ServiceError) -> None:
    with pytest.raises(type(error)) as caught:
        raise_from_json(through_serde(error_as_json(error)))
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


def test_what_is_stored_of_a_trigger_goes_through_serde_and_holds_no_secret(batch: BatchBench) -> None:
    jobs = batch.submit("endless", 2)
    bundle = certifi.where()
    task = operator("batch", **targets(jobs), deferrable=True, verify=bundle, waiter_delay=3)
    with pytest.raises(TaskDeferred) as deferral:
        task.execute(context())
    trigger = deferral.value.trigger
    path, kwargs = trigger.serialize()
    assert moved(trigger).serialize() == (path, kwargs)
    assert not any(secret in json.dumps(kwargs) for secret in SECRETS)
    assert kwargs["access"]["verify"] == bundle
    assert kwargs["waiter_delay"] == 3
