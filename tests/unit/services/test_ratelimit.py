"""At what pace services are asked: the quotas of an account, in turn, slower where it is throttled."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import pytest
from botocore.credentials import Credentials

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import CancelOutcome
from airflow_cancel_provider.services.credentials import account_of
from airflow_cancel_provider.services.meter import Meter
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.ratelimit import (
    EVERY,
    PACES,
    RESERVE,
    Pace,
    TokenBucket,
    Turn,
    exclusive,
    share_of_quotas,
)
from airflow_cancel_provider.services.registry import SERVICES
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import CLUSTER, Opener, open_service
from tests.pace_fixtures import LISTINGS, FakeTime, emr, fake, pace_of, queue, sent
from tests.service_fixtures import HASTY, PATIENT, BatchBench, Bench, EmrBench, aws_bench, new_client

__all__ = ["aws_bench", "emr", "fake", "open_service", "queue"]


class TestPace:
    def test_a_burst_then_one_by_one(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(Poll=(3, 0.5))))
        for _ in range(5):
            meter.turn("Poll")
        assert fake.slept == [2, 2]
        fake.now += 3
        meter.turn("Poll")
        meter.turn("Poll")
        assert fake.slept == [2, 2, 1]
        assert meter.traffic == {"Poll": 7}

    def test_it_fills_up_to_its_burst_and_no_further(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(Poll=(2, 1))))
        fake.now += 1000
        for _ in range(3):
            meter.turn("Poll")
        assert fake.slept == [1]

    def test_a_burst_below_one_pays_afterwards(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(Poll=(0.5, 0.25))))
        for _ in range(3):
            meter.turn("Poll")
        assert fake.slept == pytest.approx([4, 4])

    def test_what_has_no_quota_goes_at_once(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(Poll=(1, 0.1))))
        for _ in range(10):
            meter.turn("Other")
        assert fake.slept == []

    def test_threads_take_turns(self) -> None:
        """However many threads: what is let go is the burst and what came in since."""
        pace = Pace({"Poll": (11, 200.0)})
        meter, began = Meter(pace_of(pace)), time.monotonic()
        threads = [threading.Thread(target=lambda: [meter.turn("Poll") for _ in range(5)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began >= 30 / 200 - 0.001
        assert meter.traffic == {"Poll": 40}

    def test_those_who_wait_are_let_go_in_the_order_they_came(self, fake: FakeTime) -> None:
        (bucket,) = fake.pace(Poll=(1, 1)).of("Poll")
        first, second = Turn([bucket]), Turn([bucket])
        bucket.spend(1)
        with first, second:
            fake.now += 1
            assert second.take() == pytest.approx(1)
            assert first.take() == 0

    def test_who_gives_up_is_not_waited_for(self, fake: FakeTime) -> None:
        (bucket,) = fake.pace(Poll=(1, 1)).of("Poll")
        with Turn([bucket]) as second:
            with Turn([bucket], again=True):
                assert second.take() > 0
            assert second.take() == 0


class TestUrgency:
    def test_a_cancel_goes_before_a_hundred_polls(self, fake: FakeTime) -> None:
        pace = fake.pace(every=(10, 1))
        with ExitStack() as stack:
            polls = [stack.enter_context(Turn(pace.of("Describe"))) for _ in range(100)]
            let_go = [poll for poll in polls if poll.take() == 0]
            assert len(let_go) == 8  # they leave a reserve
            Meter(pace_of(pace)).turn("Cancel", urgent=True)
        assert fake.slept == []

    def test_cancels_may_use_the_whole_burst(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(every=(10, 1))))
        for _ in range(11):
            meter.turn("Cancel", urgent=True)
        assert fake.slept == [1]

    def test_what_is_sent_again_goes_first(self, fake: FakeTime) -> None:
        (bucket,) = fake.pace(Cancel=(1, 1)).of("Cancel")
        bucket.spend(1)
        with Turn([bucket], urgent=True) as other, Turn([bucket], urgent=True, again=True) as again:
            fake.now += 1
            assert other.take() > 0
            assert again.take() == 0

    def test_a_killed_task_is_held_back_for_a_second_at_most(self, fake: FakeTime, emr: EmrBench) -> None:
        (step,) = emr.running(1)
        service = fake.service(emr)
        for _ in range(30):
            service.meter.turn("CancelSteps", urgent=True)
        fake.slept.clear()
        pool = ServicePool(lambda *_: service)
        pool.check([step])
        (result,) = pool.hurried(4.0).cancel([step], "killed")
        assert result.outcome is CancelOutcome.REQUESTED
        assert sum(fake.slept) == pytest.approx(1.0, abs=0.2)

    def test_a_lock_that_a_signal_handler_interrupted_does_not_keep_a_cancel(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(every=(10, 1))))
        with exclusive():
            thread = threading.Thread(target=meter.turn, args=("Cancel",), kwargs={"urgent": True})
            thread.start()
            thread.join(4)
            assert not thread.is_alive()
        assert meter.traffic == {"Cancel": 1}


class Processes:
    """Processes that know nothing of each other, and call whenever their paces allow it."""

    def __init__(self, number: int, quota: tuple[float, float]) -> None:
        self.now, self.random = 0.0, random.Random(7)
        self.service = TokenBucket(*quota, lambda: self.now)
        self.service.lag = 0.0
        self.paces = [Pace({"Poll": quota}, lambda: self.now) for _ in range(number)]

    def run(self, seconds: float) -> tuple[list[int], int]:
        """Calls of each, and how many of all were throttled."""
        made, throttled, again = [0] * len(self.paces), 0, set[int]()
        due = [(self.random.uniform(0, 5), index) for index in range(len(self.paces))]
        while (next_one := min(due))[0] < seconds:
            self.now, index = next_one
            with Turn(self.paces[index].of("Poll"), again=index in again) as turn:
                wait = turn.take()
            if not wait:
                made[index] += 1
                again.discard(index)
                wait = 0.1
                if self.service.seconds_until(1):
                    self.paces[index].buckets["Poll"].slow_down()
                    throttled += 1
                    again.add(index)
                    wait += self.random.random()
                else:
                    self.service.spend(1)
            due[index] = (self.now + wait, index)
        return made, throttled


class TestLearning:
    def test_a_throttled_call_slows_the_next_ones_down_at_once(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(Poll=(10, 1))))
        meter.turn("Poll")
        meter.throttled("Poll")
        meter.turn("Poll")
        assert fake.slept == [pytest.approx(1 / 0.7)]

    def test_it_recovers(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(Poll=(10, 1))))
        meter.throttled("Poll")
        fake.now += 60
        for _ in range(12):
            meter.turn("Poll")
        assert fake.slept == [1, 1]

    def test_calls_that_were_under_way_do_not_slow_it_twice(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(Poll=(10, 50))))
        for _ in range(8):
            meter.throttled("Poll")
        meter.turn("Poll")
        assert fake.slept == [pytest.approx(1 / 35)]

    def test_four_processes_share_a_small_quota_and_few_of_their_calls_are_throttled(self) -> None:
        """Four triggerers with their own paces, each with more to ask than there is for all of them."""
        made, throttled = Processes(4, (10, 0.5)).run(seconds=3600)
        assert throttled / sum(made) < 0.15
        assert sum(made) - throttled > 0.95 * 3600 * 0.5
        assert max(made) < 2 * min(made)

    def test_it_never_stops(self, fake: FakeTime) -> None:
        meter = Meter(pace_of(fake.pace(Poll=(10, 1))))
        for _ in range(50):
            meter.throttled("Poll")
            meter.turn("Poll")
        assert max(fake.slept) <= 10.01

    def test_an_answer_that_throttles_is_taken_in(
        self, cloud: LocalCloud, fake: FakeTime, emr: EmrBench
    ) -> None:
        (step,) = emr.running(1)
        cloud.faults.add("emr", "CancelSteps", "throttle", times=1)
        with emr.service_at(cloud.url, PATIENT, retries={"total_max_attempts": 1}) as service:
            service.paces = fake.paces
            (result,) = service.cancel([step], "")
        assert result.outcome is CancelOutcome.REQUESTED
        assert fake.slept == [pytest.approx(1 / 0.35, rel=0.1)]

    def test_mrs_learns_too(self, cloud: LocalCloud, fake: FakeTime, open_service: Opener) -> None:
        cloud.faults.add("mrs", "ListClusters", "throttle", times=1)
        service = open_service()
        service.paces = fake.paces
        list(service.scopes())
        assert fake.slept == [pytest.approx(1 / 14, rel=0.1)]


class TestOnePacePerAccount:
    def test_all_services_of_an_account_share_it(self, fake: FakeTime, emr: EmrBench) -> None:
        (step,) = emr.running(1)
        services = [fake.service(emr) for _ in range(11)]
        for service in services:
            list(service.claims(str(step.scope)))
        assert fake.slept == [4]
        assert [service.traffic for service in services] == [{"ListSteps": 1}] * 11

    def test_others_do_not(self, cloud: LocalCloud, fake: FakeTime, emr: EmrBench) -> None:
        (step,) = emr.running(1)
        for number in range(10):
            key = f"ASIA{chr(ord('Q') + number)}" + "A" * 15
            with closing(new_client("emr", cloud.url, access_key=key)) as client:
                list(fake.service(emr, client=client).claims(str(step.scope)))
        assert fake.slept == []

    def test_keys_of_one_account_are_one(self, cloud: LocalCloud, fake: FakeTime, emr: EmrBench) -> None:
        assert account_of(Credentials("ASIAQNZGKIQY56JQ7WML", "-")) == "029608264753"
        (step,) = emr.running(1)
        for key in ["ASIAQNZGKIQY56JQ7WML", "AKIAQNZGKIQY5AAAAAAA"] * 6:
            with closing(new_client("emr", cloud.url, access_key=key)) as client:
                list(fake.service(emr, client=client).claims(str(step.scope)))
        assert fake.slept == [4, 2]

    def test_a_region_is_one_place_and_a_stand_in_another(self, emr: EmrBench) -> None:
        def place(url: str) -> Any:
            with closing(new_client("emr", url)) as client:
                return emr.service(client=client)._place

        plain = "https://elasticmapreduce.us-east-1.amazonaws.com"
        assert place(plain) == place("https://elasticmapreduce-fips.us-east-1.amazonaws.com") == "us-east-1"
        assert place("https://amazonaws.com.example.org") == "https://amazonaws.com.example.org"

    def test_other_quotas_than_the_published_ones(self, fake: FakeTime) -> None:
        fake.paces.configure({"emr.ListSteps": (3, 2.0), "emr.*": (100, 50.0)}, 0.5)
        pace = fake.paces.of("emr", "us-east-1", "1", SERVICES["emr"].quotas)
        found = {name: [bucket.burst, bucket.per_second] for name, bucket in pace.buckets.items()}
        assert found["ListSteps"] == [1.5, 1]
        assert found["CancelSteps"] == [5, 0.25]
        assert found[EVERY] == [50, 25]

    def test_the_smallest_share_of_a_connection_counts(self, fake: FakeTime) -> None:
        for share in (None, 0.5, 0.8, None):
            pace = fake.paces.of("batch", "us-east-1", "1", SERVICES["batch"].quotas, share)
        assert pace.buckets[EVERY].per_second == 25
        other = fake.paces.of("batch", "us-east-1", "2", SERVICES["batch"].quotas)
        assert other.buckets[EVERY].per_second == 50

    def test_a_forked_process_goes_on(self, fake: FakeTime) -> None:
        """Also where it was forked while another thread held the lock and others waited."""
        pace = fake.pace(every=(10, 1))
        meter = Meter(known(pace))
        with exclusive(), Turn(pace.of("Poll"), 9):
            child = os.fork()
            if child == 0:
                slow = True
                try:
                    began = time.monotonic()
                    meter.turn("Poll")
                    slow = bool(fake.slept) or time.monotonic() - began > 0.3
                finally:
                    os._exit(slow)
        assert os.waitpid(child, 0)[1] == 0


def known(pace: Pace) -> Callable[[], Pace]:
    """One that a fork knows of."""
    PACES._by_key["test"] = pace
    return lambda: pace


def sharing(service: Any, share: float) -> Any:
    """The same service, which keeps to a share of its quotas."""
    service.quota_share = share
    return service


class TestShare:
    def test_a_share_of_the_pace(self, fake: FakeTime, bench: Bench) -> None:
        """A burst at once, then the sustained rate, both times the share; some of it is left to cancels."""
        service = sharing(fake.service(bench), 0.5)
        operation = LISTINGS[bench.name]
        burst, rate = service.quotas.get(operation) or service.quotas[EVERY]
        burst *= 1 if operation in service.quotas else 1 - RESERVE
        calls = int((burst - 1) / 2) + 3
        for _ in range(calls):
            next(service.scopes(), None)
        assert service.traffic == {operation: calls}
        assert sum(fake.slept) == pytest.approx((calls - (burst - 1) / 2) * 2 / rate, rel=0.2)

    def test_after_a_whole_burst_there_is_time_for_calls_that_reach_the_service_early(
        self, fake: FakeTime, emr: EmrBench
    ) -> None:
        (step,) = emr.running(1)
        service = fake.service(emr)
        for _ in range(10):
            list(service.claims(str(step.scope)))
        assert fake.slept == []
        for _ in range(3):
            list(service.claims(str(step.scope)))
        assert fake.slept == pytest.approx([4, 2, 2])

    def test_a_throttled_call_is_not_waited_for_twice(self, fake: FakeTime) -> None:
        meter = Meter(lambda: fake.paces.of("emr", "us-east-1", "1", SERVICES["emr"].quotas))
        meter.turn("ListSteps")
        meter.throttled("ListSteps")
        meter.turn("ListSteps", again=True)
        assert fake.slept == pytest.approx([2 / 0.7], rel=0.1)

    def test_copies_keep_to_one_share(self, fake: FakeTime, queue: BatchBench) -> None:
        service = sharing(fake.service(queue), 0.02)
        list(service.scopes())
        list(service.with_patience(HASTY).scopes())
        assert fake.slept == pytest.approx([1])

    def test_emr_counts_by_operation_and_all_together(self, fake: FakeTime, emr: EmrBench) -> None:
        (step,) = emr.running(1)
        service = sharing(fake.service(emr), 0.1)
        list(service.scopes())
        list(service.claims(str(step.scope)))
        list(service.claims(str(step.scope)))
        # The second ListSteps waits for its own quota: 10 and 0.5 a second.
        assert fake.slept == pytest.approx([20])

    def test_what_the_client_repeats_is_made_up_for(
        self, cloud: LocalCloud, fake: FakeTime, queue: BatchBench
    ) -> None:
        cloud.faults.add("batch", "DescribeJobQueues", "server_error", times=3)
        retries = {"mode": "standard", "total_max_attempts": 2}
        with queue.service_at(cloud.url, PATIENT, retries=retries) as service:
            service.paces = fake.paces
            paced = sharing(service, 0.02)
            list(paced.scopes())
            list(paced.scopes())
            assert paced.traffic == {"DescribeJobQueues": 5}
        assert sum(fake.slept) == pytest.approx(4, rel=0.1)

    def test_mrs(self, cloud: LocalCloud, fake: FakeTime, open_service: Opener) -> None:
        service = open_service()
        service.paces = fake.paces
        list(sharing(service, 0.02).scopes())
        list(service.claims(CLUSTER))
        assert fake.slept == pytest.approx([2.5], rel=0.01)
        assert service.traffic == sent(cloud)

    @pytest.mark.parametrize("share", [0, -0.1, 1.1, float("inf"), float("nan")])
    def test_shares_that_are_none(self, share: float) -> None:
        with pytest.raises(InvalidInput, match="share"):
            share_of_quotas(share)
