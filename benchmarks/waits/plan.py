"""What is waited for: one third of the jobs in each service, and the fewest calls that this takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any, Literal

from airflow_cancel_provider.services.polls import FULL_EVERY
from airflow_cancel_provider.triggers.shared_service import SHORT
from benchmarks.account.population import SERVICES, Population
from benchmarks.account.quotas import JOBS_PER_LOOKUP, QUOTAS, STEPS_PER_LOOKUP, STEPS_PER_PAGE

Side = Literal["ours", "stock"]
POLLS = {"batch": "DescribeJobs", "emr-serverless": "ListJobRuns", "emr": "ListSteps"}
"""The operation that shows many jobs at once, by service."""
STEPS_PER_CLUSTER = 250
RUNS_PER_APPLICATION = 1000


@dataclass(frozen=True)
class Plan:
    """One run: so many waits in one event loop.

    :param waits: in all; a third in each service.
    :param delay: seconds between two polls (``waiter_delay``).
    :param window: seconds for which calls and CPU are counted, and over which jobs end.
    :param ending: one job of so many ends within the window.
    """

    side: Side
    waits: int
    delay: float
    window: float
    ending: int = 5

    @property
    def population(self) -> Population:
        """The account: clusters with up to 250 live steps, applications with up to 1,000 runs; a try each."""
        each = self.waits // 3
        clusters = max(1, ceil(each / STEPS_PER_CLUSTER))
        applications = max(1, ceil(each / RUNS_PER_APPLICATION))
        return Population(self.waits, 1, self.waits - 2 * each, applications, each, clusters, each)

    def calls_per_poll(self) -> dict[str, int]:
        """The fewest calls that see every end: by id in Batch, else one listing of each place."""
        population = self.population
        return {
            service: ceil(population.jobs / JOBS_PER_LOOKUP)
            if service == "batch"
            else len(population.scopes(service))
            for service in SERVICES
        }

    def least(self) -> dict[str, float]:
        """Calls a minute that see every end once in ``delay`` seconds, as far as the quotas allow it."""
        return {
            service: min(calls * 60 / self.delay, per_second(service) * 60)
            for service, calls in self.calls_per_poll().items()
        }

    def latest(self) -> float:
        """Seconds after its end at which a job is seen at the latest: one poll, and what the quotas force."""
        forced = (calls / per_second(service) for service, calls in self.calls_per_poll().items())
        return max(self.delay, *forced)

    def latest_of_any(self) -> float:
        """The same for a job that ends out of turn: EMR starts steps in order, and its steps here end in any.

        Where the quota is too small for full polls, those that end before they have started are seen by them
        alone; the polls between take about two calls.
        """
        clusters = [len(numbers) for numbers in self.population.scopes("emr")]
        pages = sum(ceil(steps / STEPS_PER_PAGE) for steps in clusters)
        if pages / self.delay <= SHORT * per_second("emr"):
            return self.latest()
        between = 2 * len(clusters) * (FULL_EVERY - 1)
        return max(self.latest(), (pages + between) / per_second("emr"))

    def latest_in_order(self, share: float) -> float:
        """The same where steps end in their order.

        Each cluster then takes two calls, one of them a full poll, and what has ended is asked for by ids.

        :param share: of the quota that is left.
        """
        clusters = [ceil(len(numbers) / STEPS_PER_PAGE) for numbers in self.population.scopes("emr")]
        ended = self.population.steps / self.ending / self.window / STEPS_PER_LOOKUP
        left = max(per_second("emr") * share - ended, per_second("emr") * share / 10)
        return max(self.latest(), (2 * len(clusters) + max(clusters)) / left)

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def per_second(service: str) -> float:
    """The quota of the call that polls."""
    quotas = QUOTAS[service]
    return quotas.get(POLLS[service], quotas.get("*", (0, 0.0)))[1]
