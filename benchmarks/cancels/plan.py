"""How many jobs of which service are cancelled, and the least that it takes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from benchmarks.account.ends import SECONDS_TO_END
from benchmarks.account.population import Population
from benchmarks.account.quotas import (
    JOBS_PER_CANCEL,
    JOBS_PER_LOOKUP,
    RUNS_PER_PAGE,
    STEPS_PER_CANCEL,
    STEPS_PER_PAGE,
)
from benchmarks.scale.floors import Ideal
from benchmarks.waits.plan import STEPS_PER_CLUSTER, Side


@dataclass(frozen=True)
class Plan:
    """One run.

    :param budget: seconds after which the stock way is stopped; its time for all jobs is then extrapolated.
    """

    side: Side
    service: str
    jobs: int
    budget: float = 60.0

    @property
    def population(self) -> Population:
        """An account with these jobs and no others: 250 steps in a cluster, one application, one queue."""
        counts = {"jobs": 0, "runs": 0, "steps": 0}
        counts[{"batch": "jobs", "emr-serverless": "runs", "emr": "steps"}[self.service]] = self.jobs
        clusters = max(1, ceil(counts["steps"] / STEPS_PER_CLUSTER))
        return Population(owners=1000, queues=1, applications=1, clusters=clusters, **counts)

    def least(self) -> dict[str, dict[str, int]]:
        """The fewest calls: first those that request all ends, then those that read each job's last state."""
        scopes = self.population.scopes(self.service)
        request, see = {
            "batch": (("TerminateJobs", JOBS_PER_CANCEL), ("DescribeJobs", JOBS_PER_LOOKUP)),
            "emr-serverless": (("CancelJobRun", 1), ("ListJobRuns", RUNS_PER_PAGE)),
            "emr": (("CancelSteps", STEPS_PER_CANCEL), ("ListSteps", STEPS_PER_PAGE)),
        }[self.service]
        return {
            phase: {operation: sum(ceil(len(numbers) / size) for numbers in scopes)}
            for phase, (operation, size) in (("request", request), ("see", see))
        }

    def floor(self, latency: float, *, polls_first: bool = False) -> dict[str, float]:
        """Seconds until the last request is answered, and until each job was seen to end.

        :param polls_first: the state of each job is read before its cancel as well.
        """
        ideal, least = Ideal(), self.least()
        before = ideal.make({self.service: least["see"]})[self.service] + latency if polls_first else 0.0
        requested = ideal.make({self.service: least["request"]}, before)[self.service]
        ended = requested + SECONDS_TO_END
        seen = max(
            ideal.make({self.service: least["see"]}, ended)[self.service],
            ended + (self._pages - 1) * latency,
        )
        return {"requested": requested + latency, "ended": seen + 2 * latency}

    @property
    def _pages(self) -> int:
        """Pages of the longest listing: each can be asked for only when the one before is there."""
        if self.service == "batch":
            return 1
        size = {"emr-serverless": RUNS_PER_PAGE, "emr": STEPS_PER_PAGE}[self.service]
        return max(ceil(len(numbers) / size) for numbers in self.population.scopes(self.service))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
