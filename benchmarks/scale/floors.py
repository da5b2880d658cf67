"""The least that a sweep can take: the fewest calls that the page sizes allow, at the pace of the quotas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import ceil

from benchmarks.account.batch import STATES as BATCH_STATES
from benchmarks.account.population import SERVICES, Population
from benchmarks.account.quotas import (
    APPLICATIONS_PER_PAGE,
    CLUSTERS_PER_PAGE,
    JOBS_PER_CANCEL,
    JOBS_PER_LOOKUP,
    JOBS_PER_PAGE,
    QUEUES_PER_PAGE,
    QUOTAS,
    RUNS_PER_PAGE,
    STEPS_PER_CANCEL,
    STEPS_PER_LOOKUP,
    STEPS_PER_PAGE,
    TOGETHER,
)

Calls = Mapping[str, Mapping[str, int]]
"""By service and operation."""


def check_calls(population: Population) -> Calls:
    """Calls that see every job and its label."""
    jobs, runs, steps = (_sizes(population, service) for service in SERVICES)
    return {
        "batch": {
            "DescribeJobQueues": _pages(len(jobs), QUEUES_PER_PAGE),
            "ListJobs": sum(
                _pages(round(size * share), JOBS_PER_PAGE) for size in jobs for share in BATCH_STATES.values()
            ),
            "DescribeJobs": sum(_pages(size, JOBS_PER_LOOKUP) for size in jobs),
        },
        "emr-serverless": {
            "ListApplications": _pages(len(runs), APPLICATIONS_PER_PAGE),
            "ListJobRuns": sum(_pages(size, RUNS_PER_PAGE) for size in runs),
        },
        "emr": {
            "ListClusters": _pages(len(steps), CLUSTERS_PER_PAGE),
            "ListSteps": sum(_pages(size, STEPS_PER_PAGE) for size in steps),
        },
    }


def again_calls(population: Population) -> Calls:
    """Calls that see the orphans once more."""
    jobs, runs, steps = (_orphans(population, service) for service in SERVICES)
    return {
        "batch": {"DescribeJobs": ceil(sum(jobs) / JOBS_PER_LOOKUP)},
        "emr-serverless": {"GetJobRun": sum(runs)},
        "emr": {"ListSteps": sum(ceil(size / STEPS_PER_LOOKUP) for size in steps)},
    }


def cancel_calls(population: Population) -> Calls:
    """Calls that ask the orphans to end."""
    jobs, runs, steps = (_orphans(population, service) for service in SERVICES)
    return {
        "batch": {"TerminateJobs": ceil(sum(jobs) / JOBS_PER_CANCEL)},
        "emr-serverless": {"CancelJobRun": sum(runs)},
        "emr": {"CancelSteps": sum(ceil(size / STEPS_PER_CANCEL) for size in steps)},
    }


class Ideal:
    """Somebody who makes every call as soon as the quotas let it in, all services side by side."""

    def __init__(self) -> None:
        self._tokens = {
            (service, operation): (float(burst), 0.0)
            for service, quotas in QUOTAS.items()
            for operation, (burst, _) in quotas.items()
        }

    def make(self, calls: Calls, start: float = 0.0) -> dict[str, float]:
        """When the calls of each service are made, in seconds; they begin at ``start``."""
        return {service: self._make(service, Counter(some), start) for service, some in calls.items()}

    def _make(self, service: str, calls: Counter[str], start: float) -> float:
        quotas, end = QUOTAS[service], start
        for operation, (burst, rate) in quotas.items():
            count = calls.total() if operation == TOGETHER else calls[operation]
            tokens, filled_at = self._tokens[service, operation]
            tokens = min(float(burst), tokens + (start - filled_at) * rate) - count
            done = start + max(0.0, -tokens / rate)
            if count:
                self._tokens[service, operation] = max(0.0, tokens), done
                end = max(end, done)
        return end


def _sizes(population: Population, service: str) -> list[int]:
    return [len(numbers) for numbers in population.scopes(service)]


def _orphans(population: Population, service: str) -> list[int]:
    return [sum(map(population.is_orphan, numbers)) for numbers in population.scopes(service)]


def _pages(size: int, most: int) -> int:
    """Pages of a listing; an empty one takes a call as well."""
    return max(1, ceil(size / most))
