"""At what pace services are asked, and what of it counts: requests by operation, time spent in vain."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from airflow_cancel_provider.exceptions import InvalidInput, ServiceUnavailable
from airflow_cancel_provider.services.ratelimit import EVERY, TokenBucket
from airflow_cancel_provider.services.retry import CallSeries, Patience
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import CLUSTER, Opener, open_service, submitted
from tests.service_fixtures import BENCHES, HASTY, PATIENT, BatchBench, Bench, EmrBench

__all__ = ["open_service"]

LISTINGS = {"emr": "ListClusters", "batch": "DescribeJobQueues", "emr-serverless": "ListApplications"} | {
    "glue": "ListJobs",
    "emr-containers": "ListVirtualClusters",
}


@pytest.fixture(params=BENCHES, ids=lambda kind: str(kind.name))
def bench(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[Bench]:
    bench: Bench = request.param(cloud)
    yield bench
    bench.close()


@pytest.fixture
def emr(cloud: LocalCloud) -> Iterator[EmrBench]:
    bench = EmrBench(cloud)
    yield bench
    bench.close()


@pytest.fixture
def queue(cloud: LocalCloud) -> Iterator[BatchBench]:
    bench = BatchBench(cloud)
    yield bench
    bench.close()


def sent(cloud: LocalCloud) -> Counter[str]:
    """Requests that have arrived, by operation."""
    return Counter(entry.operation for entry in cloud.journal)


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
        list(service.paced(0.5).scopes())
        assert service.traffic == {"DescribeJobQueues": 2}
        assert other.traffic == {}


class FakeTime:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds

    def pace(self, burst: float, per_second: float) -> TokenBucket:
        return TokenBucket(burst, per_second, clock=lambda: self.now, sleep=self.sleep)


class TestPace:
    def test_a_burst_then_one_by_one(self) -> None:
        fake = FakeTime()
        pace = fake.pace(3, 0.5)
        for _ in range(5):
            pace.take()
        assert fake.slept == [2, 2]
        fake.now += 3
        pace.take()
        pace.take()
        assert fake.slept == [2, 2, 1]

    def test_it_fills_up_to_its_burst_and_no_further(self) -> None:
        fake = FakeTime()
        pace = fake.pace(2, 1)
        fake.now += 1000
        for _ in range(3):
            pace.take()
        assert fake.slept == [1]

    def test_a_burst_below_one_waits_each_time(self) -> None:
        fake = FakeTime()
        pace = fake.pace(0.5, 0.25)
        pace.take()
        pace.take()
        assert fake.slept == [2, 4]

    def test_threads_take_turns(self) -> None:
        waits, lock = list[float](), threading.Lock()

        def sleep(seconds: float) -> None:
            with lock:
                waits.append(round(seconds, 6))

        pace = TokenBucket(10, 4, clock=lambda: 0.0, sleep=sleep)

        def work() -> None:
            for _ in range(50):
                pace.take()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # The clock stands still: each call beyond the burst has a turn of its own.
        assert sorted(waits) == [number / 4 for number in range(1, 391)]


class TestPaced:
    def test_a_share_of_the_published_quotas(self, bench: Bench) -> None:
        """A burst at once, then the sustained rate, both times the share."""
        fake = FakeTime()
        service = bench.service().paced(0.5, fake.pace)
        operation = LISTINGS[bench.name]
        burst, rate = service.quotas.get(operation) or service.quotas[EVERY]
        calls = int(burst / 2) + 3
        for _ in range(calls):
            next(service.scopes(), None)
        assert service.traffic == {operation: calls}
        # EMR's quota for all operations together is generous beside that for one.
        assert fake.slept == pytest.approx([2 / rate * (calls - burst / 2 - 2)] + [2 / rate] * 2)

    def test_the_whole_of_a_quota_leaves_a_call_for_those_that_come_early(self, emr: EmrBench) -> None:
        fake = FakeTime()
        (step,) = emr.running(1)
        service = emr.service().paced(1.0, fake.pace)
        for _ in range(10):
            list(service.claims(str(step.scope)))
        assert fake.slept == pytest.approx([2])

    def test_copies_keep_to_one_share(self, cloud: LocalCloud, queue: BatchBench) -> None:
        fake = FakeTime()
        service = queue.service().paced(0.02, fake.pace)
        list(service.scopes())
        list(service.with_patience(HASTY).scopes())
        assert fake.slept == [1]

    def test_batch_counts_all_calls_together(self, cloud: LocalCloud, queue: BatchBench) -> None:
        queue.running(1)
        fake = FakeTime()
        list(queue.service().paced(0.02, fake.pace).claims("queue"))
        # One of five ListJobs is free; a DescribeJobs comes on top.
        assert fake.slept == pytest.approx([1] * 5)

    def test_emr_counts_by_operation_and_all_together(self, emr: EmrBench) -> None:
        (step,) = emr.running(1)
        fake = FakeTime()
        service = emr.service().paced(0.1, fake.pace)
        list(service.scopes())
        list(service.claims(str(step.scope)))
        list(service.claims(str(step.scope)))
        # The second ListSteps waits for its own quota: 10 and 0.5 a second.
        assert fake.slept == pytest.approx([20])

    def test_repeats_wait_for_their_turn(self, cloud: LocalCloud, queue: BatchBench) -> None:
        """Those of the client itself are made up for afterwards."""
        cloud.faults.add("batch", "DescribeJobQueues", "throttle", times=3)
        fake = FakeTime()
        retries = {"mode": "standard", "total_max_attempts": 2}
        with queue.service_at(cloud.url, PATIENT, retries=retries) as service:
            paced = service.paced(0.02, fake.pace)
            list(paced.scopes())
            list(paced.scopes())
            assert paced.traffic == {"DescribeJobQueues": 5}
        # Tokens: 1 there, 2 spent; 2 more for the second attempt; 1 for the last call.
        assert sum(fake.slept) == pytest.approx(4)

    def test_mrs(self, cloud: LocalCloud, open_service: Opener) -> None:
        fake = FakeTime()
        service = open_service()
        paced = service.paced(0.1, fake.pace)
        list(paced.scopes())
        list(paced.claims(CLUSTER))
        assert fake.slept == pytest.approx([2])
        list(service.claims(CLUSTER))
        assert fake.slept == pytest.approx([2])
        assert paced.traffic == service.traffic == sent(cloud)

    def test_without_a_pace_nothing_waits(self, queue: BatchBench) -> None:
        service = queue.service()
        service.paced(0.001)
        started = time.monotonic()
        for _ in range(100):
            list(service.scopes())
        # At 50 a second, half of these would have to wait a second.
        assert time.monotonic() - started < 10
        assert service.traffic == {"DescribeJobQueues": 100}

    @pytest.mark.parametrize("share", [0, -0.1, float("inf"), float("nan")])
    def test_shares_that_are_none(self, queue: BatchBench, share: float) -> None:
        with pytest.raises(InvalidInput, match="share"):
            queue.service().paced(share)

    def test_what_shared_waits_keep_to(self, bench: Bench) -> None:
        assert (
            bench.service().look_quota
            == {
                "emr": (10, 0.5),
                "batch": (50, 50.0),
                "emr-serverless": (25, 1.0),
                "glue": (10, 5.0),
                "emr-containers": (25, 1.0),
            }[bench.name]
        )


class TestPatience:
    def test_time_between_calls_does_not_wear_it_out(self) -> None:
        """A listing is read page by page, and who reads it may take long over each."""
        persistence = Patience(seconds=0.3, first_pause=0.01, longest_pause=0.02).started()
        assert self.attempts(persistence, failures=1) == 2
        time.sleep(0.4)
        assert self.attempts(persistence, failures=2) == 3

    def test_nor_does_waiting_for_a_turn(self) -> None:
        persistence = Patience(seconds=0.3, first_pause=0.01, longest_pause=0.02).started()
        assert self.attempts(persistence, failures=1, turn=lambda: time.sleep(0.4)) == 2

    def test_time_spent_in_vain_does(self) -> None:
        persistence = Patience(seconds=0.3, first_pause=0.01, longest_pause=0.02).started()
        with pytest.raises(ConnectionError):
            self.attempts(persistence, failures=10**6)
        # No answer since then: what comes next is tried once.
        with pytest.raises(ConnectionError):
            self.attempts(persistence, failures=1)

    def attempts(
        self, persistence: CallSeries, failures: int, turn: Callable[[], None] = lambda: None
    ) -> int:
        """How many attempts a call took that fails so often at first."""
        made = 0

        def call() -> None:
            nonlocal made
            made += 1
            if made <= failures:
                raise ConnectionError

        persistence.call(call, lambda error: isinstance(error, ConnectionError), turn)
        return made
