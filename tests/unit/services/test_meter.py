"""Requests of a service: counted by operation, and paid for before they are sent."""

from __future__ import annotations

import asyncio
import time

import pytest

from airflow_cancel_provider.exceptions import ServiceUnavailable
from airflow_cancel_provider.services import ratelimit
from airflow_cancel_provider.services.meter import MOST_FIRST, Meter
from airflow_cancel_provider.services.ratelimit import EVERY, Paces, Turn
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import CLUSTER, Opener, open_service, submitted
from tests.pace_fixtures import LISTINGS, FakeTime, emr, fake, queue, sent
from tests.service_fixtures import HASTY, PATIENT, BatchBench, Bench, EmrBench, aws_bench

__all__ = ["aws_bench", "emr", "fake", "open_service", "queue"]


def seconds_until(meter: Meter, calls: int = 1) -> float:
    """Seconds until so many polls would be let go, after those that wait."""
    buckets = meter._pace().of("ListSteps")
    return max(b.seconds_until(calls + b.reserve, sum(each.calls for each in b.waiting)) for b in buckets)


class TestTraffic:
    def test_repeats_count(self, cloud: LocalCloud, bench: Bench) -> None:
        operation = LISTINGS[bench.name]
        cloud.faults.add(bench.name, operation, "throttle", times=3)
        with bench.service_at(cloud.url, PATIENT, retries={"total_max_attempts": 1}) as service:
            list(service.scopes())
            assert service.traffic == {operation: 4}

    def test_what_the_client_repeats_by_itself_counts(self, cloud: LocalCloud, queue: BatchBench) -> None:
        cloud.faults.add("batch", "DescribeJobQueues", "throttle", times=2)
        retries = {"mode": "standard", "total_max_attempts": 3}
        with queue.service_at(cloud.url, PATIENT, retries=retries) as service:
            list(service.scopes())
            assert service.traffic == sent(cloud) == {"DescribeJobQueues": 3}

    def test_refusals_that_the_client_has_repeated_count(self, cloud: LocalCloud, queue: BatchBench) -> None:
        cloud.faults.add("batch", "DescribeJobQueues", "throttle")
        retries = {"mode": "standard", "total_max_attempts": 2}
        hopeless = Patience(seconds=0)
        with queue.service_at(cloud.url, hopeless, retries=retries) as service:
            with pytest.raises(ServiceUnavailable):
                list(service.scopes())
            assert service.traffic == sent(cloud) == {"DescribeJobQueues": 2}

    def test_bulk_requests_count(self, cloud: LocalCloud, queue: BatchBench) -> None:
        jobs = queue.running(60)
        cloud.journal.clear()
        service = queue.service()
        service.cancel(jobs, "")
        assert service.traffic == sent(cloud)

    def test_mrs(self, cloud: LocalCloud, open_service: Opener) -> None:
        job = submitted(cloud)[0]
        cloud.faults.add("mrs", "ListClusters", "throttle", times=2)
        service = open_service()
        list(service.scopes())
        list(service.claims(CLUSTER))
        service.with_patience(HASTY).cancel([job], "")
        assert service.traffic == sent(cloud)
        assert service.traffic == {"ListClusters": 3, "ShowJobExeListNew": 1, "StopJob": 1}

    def test_copies_count_together_and_others_apart(self, queue: BatchBench) -> None:
        service, other = queue.service(), queue.service()
        list(service.with_patience(HASTY).scopes())
        assert service.traffic == {"DescribeJobQueues": 1}
        assert other.traffic == {}


class TestPollsOnTheLoop:
    def test_a_poll_that_has_paid_goes_at_once(self, fake: FakeTime, emr: EmrBench) -> None:
        (step,) = emr.running(1)
        service = fake.service(emr)
        paid = asyncio.run(service.poll_turn(3))
        for _ in range(3):
            list(paid.claims(str(step.scope)))
        assert fake.slept == []
        assert seconds_until(service.meter, 7) == 0
        assert seconds_until(service.meter, 8) == pytest.approx(4)
        assert service.traffic == {"ListSteps": 3}

    def test_it_waits_on_the_loop(self, emr: EmrBench) -> None:
        service = emr.service()
        service.paces = Paces()
        service.paces.configure({"emr.ListSteps": (2, 20.0)})

        async def polls() -> float:
            began = asyncio.get_running_loop().time()
            await asyncio.gather(*(service.poll_turn() for _ in range(5)))
            return asyncio.get_running_loop().time() - began

        assert 0.19 < asyncio.run(polls()) < 2

    def test_one_that_takes_more_calls_than_it_has_paid_for_goes_before_the_next(self) -> None:
        paces = FakeTime().paces
        meter = Meter(lambda: paces.of("emr", "us-east-1", "account", {"ListSteps": (1, 0.5)}))
        with Turn(meter._pace().of("ListSteps"), 10):
            paid = asyncio.run(meter.prepaid("ListSteps", 1, at_once=True))
            waited = [paid.turn("ListSteps", at_most=20) for _ in range(MOST_FIRST + 2)]
            assert waited == pytest.approx([0] + [2] * MOST_FIRST + [20])
            assert meter.wait("ListSteps", at_most=20) == 20, "one that has not begun waits for its turn"

    def test_one_that_is_cancelled_leaves_the_queue(self, fake: FakeTime, emr: EmrBench) -> None:
        service = fake.service(emr)

        async def cancelled() -> None:
            task = asyncio.ensure_future(service.poll_turn(30))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(service.poll_turn(10))
        asyncio.run(cancelled())
        assert seconds_until(service.meter) == pytest.approx(4)


def test_nobody_waits_for_a_lock_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is not free soon is passed over: whoever holds it twice only loses time."""
    monkeypatch.setattr(ratelimit, "_LOCK_SECONDS", 5)
    pace = Paces()
    meter = Meter(lambda: pace.of("emr", "us-east-1", "account", {"ListSteps": (10, 0.5), EVERY: (25, 5.0)}))
    began = time.monotonic()
    paid = asyncio.run(meter.prepaid("ListSteps", 3))
    paid.turn("ListSteps")
    paid.give_back()
    meter.repeated("ListSteps", 1)
    meter.throttled("ListSteps")
    assert seconds_until(meter) > 0
    assert time.monotonic() - began < 5


def test_what_was_paid_for_and_not_used_is_given_back() -> None:
    pace = Paces(clock=lambda: 0.0)
    meter = Meter(lambda: pace.of("emr", "us-east-1", "account", {"ListSteps": (10, 0.5)}))
    paid = asyncio.run(meter.prepaid("ListSteps", 10))
    assert seconds_until(meter) == 4
    paid.turn("ListSteps")
    paid.give_back()
    paid.give_back()
    assert seconds_until(meter, 9) == 0
    assert seconds_until(meter, 10) == 4
