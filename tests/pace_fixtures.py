"""A clock that sleeping moves on, and services over the local cloud that keep to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_cancel_provider.services.ratelimit import EVERY, Pace, Paces
from tests.cloud.server import LocalCloud
from tests.service_fixtures import BatchBench, EmrBench

LISTINGS = {"emr": "ListClusters", "batch": "DescribeJobQueues", "emr-serverless": "ListApplications"} | {
    "glue": "ListJobs",
    "emr-containers": "ListVirtualClusters",
}


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


class FakeTime:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()
        self.on_sleep: Callable[[], None] = lambda: None
        self.paces = Paces(lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.on_sleep()

    def pace(self, **quotas: tuple[float, float]) -> Pace:
        """One without the pause after the first call of a burst."""
        pace = Pace({name.replace("every", EVERY): quota for name, quota in quotas.items()}, *self.how)
        for bucket in pace.buckets.values():
            bucket.lag = 0.0
        return pace

    @property
    def how(self) -> tuple[Callable[[], float], Callable[[float], None]]:
        return (lambda: self.now), self.sleep

    def service(self, bench: Any, **options: Any) -> Any:
        """A service whose quotas are the published ones, on this clock."""
        service = bench.service(**options)
        service.paces = self.paces
        return service


@pytest.fixture
def fake() -> FakeTime:
    return FakeTime()


def pace_of(pace: Pace) -> Callable[[], Pace]:
    return lambda: pace
