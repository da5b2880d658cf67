"""Who lives in the account: every job and every owner follows from its number."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from uuid import UUID

from airflow_cancel_provider.owner import Label, deployment_of
from benchmarks.account.quotas import STEPS_PER_CLUSTER

DEPLOYMENT, STRANGER = "scale", "another Airflow"
SERVICES = ("batch", "emr-serverless", "emr")


class Owner(StrEnum):
    """How a try stands in Airflow, and what its jobs say. Those from FAILED on leave orphans behind."""

    RUNNING = "running"
    DEFERRED = "deferred"
    QUEUED = "queued"
    SUCCEEDED = "succeeded"
    CLEARED = "succeeded, and cleared since"
    RECONNECTS = "to be tried again, and the next try reconnects"
    RECONNECTED = "failed, and the next try has reconnected"
    TIDIED_UP = "succeeded, released its jobs, and was deleted"
    FAILED = "failed"
    REPLACED = "failed, and its next try runs"
    RETRYING = "to be tried again"
    REMOVED = "removed before it was done"
    DELETED = "deleted before it was done"


OF_A_THOUSAND = {
    Owner.DEFERRED: 50,
    Owner.QUEUED: 20,
    Owner.SUCCEEDED: 100,
    Owner.CLEARED: 10,
    Owner.RECONNECTS: 10,
    Owner.RECONNECTED: 10,
    Owner.TIDIED_UP: 5,
    Owner.FAILED: 4,
    Owner.REPLACED: 3,
    Owner.RETRYING: 2,
    Owner.REMOVED: 1,
    Owner.DELETED: 1,
}
"""Owners of each kind; the rest is running."""
ORPHANING = (Owner.FAILED, Owner.REPLACED, Owner.RETRYING, Owner.REMOVED, Owner.DELETED)
RECONNECTING = (Owner.RECONNECTS, Owner.RECONNECTED)
WITHOUT_A_TRACE = (Owner.TIDIED_UP, Owner.DELETED)
BLOCK = 20
"""Of so many jobs one is of another Airflow, and one carries no label."""


def _shuffled() -> list[Owner]:
    kinds = [kind for kind, number in OF_A_THOUSAND.items() for _ in range(number)]
    kinds += [Owner.RUNNING] * (1000 - len(kinds))
    random.Random(4).shuffle(kinds)  # always the same, but spread over all that follows from a number
    return kinds


KINDS = _shuffled()


@dataclass(frozen=True)
class Population:
    """How many there are of everything.

    Jobs are numbered through: those of Batch queues first, then EMR Serverless runs, then EMR steps. Job n
    is of owner ``n % owners``, so that an owner's jobs lie in many places.
    """

    owners: int
    queues: int
    jobs: int
    applications: int
    runs: int
    clusters: int
    steps: int

    def __post_init__(self) -> None:
        if self.steps > self.clusters * STEPS_PER_CLUSTER:
            raise ValueError(f"A cluster has at most {STEPS_PER_CLUSTER} living steps.")

    @classmethod
    def of(cls, size: int, owners: int) -> Population:
        """So many jobs, mostly in Batch; as many places whatever the size."""
        runs, steps = size * 5 // 100, size * 45 // 1000
        return cls(owners, 9, size - runs - steps, 5, runs, 18, steps)

    @property
    def size(self) -> int:
        """Number of jobs."""
        return self.jobs + self.runs + self.steps

    def scopes(self, service: str) -> list[range]:
        """Numbers of the jobs in each queue, application or cluster of a service."""
        first, count, places = {
            "batch": (0, self.jobs, self.queues),
            "emr-serverless": (self.jobs, self.runs, self.applications),
            "emr": (self.jobs + self.runs, self.steps, self.clusters),
        }[service]
        bounds = [first + count * place // places for place in range(places + 1)]
        return [range(start, end) for start, end in pairwise(bounds)]

    def is_orphan(self, number: int) -> bool:
        """Whether a job is one of this Airflow's, and its owner is over and has not handed it on."""
        return _carries(number, self.owners) == "ours" and kind_of(number % self.owners) in ORPHANING

    def orphans(self) -> Iterator[int]:
        """Numbers of all jobs that are to be cancelled."""
        return filter(self.is_orphan, range(self.size))

    def label(self, number: int) -> str | None:
        """What a job's label says, if it carries one."""
        carries, owner = _carries(number, self.owners), number % self.owners
        if carries == "nothing":
            return None
        name = deployment_of(DEPLOYMENT if carries == "ours" else STRANGER)
        kind = kind_of(owner)
        return str(Label(name, try_id(owner), reconnects=kind in RECONNECTING))


def kind_of(owner: int) -> Owner:
    """How an owner stands."""
    return KINDS[owner % len(KINDS)]


def try_id(owner: int, *, later: bool = False) -> UUID:
    """The id of the try that has started an owner's jobs, or of the one after it: UUIDs of version 7."""
    milliseconds = 1_790_000_000_000 + owner * 10 + later
    return UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | owner)


def _carries(number: int, owners: int) -> str:
    return {0: "a stranger's", 1: "nothing"}.get((number + number // owners) % BLOCK, "ours")
