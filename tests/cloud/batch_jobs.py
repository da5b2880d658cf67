"""Jobs of AWS Batch: single, array and multi-node parallel ones, and what they wait for.

Follows "Job states", "Job dependencies", "Array jobs" and "Multi-node parallel jobs" of the user guide.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.cloud.aws import Place
from tests.cloud.lifecycle import End, Life, Words

JOB_STATES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")
CANCELLABLE = ("SUBMITTED", "PENDING", "RUNNABLE")

WORDS = Words(
    stages=(
        ("SUBMITTED", "submitted"),
        ("RUNNABLE", "pending"),
        ("STARTING", "starting"),
        ("RUNNING", "run"),
    ),
    hold="PENDING",
    success="SUCCEEDED",
    failure="FAILED",
    cancelled="FAILED",
)


@dataclass(eq=False)
class Job:
    """One job, array child or array parent. A parent has no life of its own: its children make it."""

    id: str
    name: str
    request: dict[str, Any]
    place: Place
    life: Life
    depends_on: list[str] = field(default_factory=list)
    children: list[Job] = field(default_factory=list)
    parent: Job | None = None
    index: int | None = None
    nodes: int = 0
    is_cancelled: bool = False
    is_terminated: bool = False

    @property
    def arn(self) -> str:
        return f"arn:aws:batch:{self.place.region}:{self.place.account}:job/{self.id}"

    @property
    def queue(self) -> str:
        return short_name(str(self.request["jobQueue"]))

    def end(self) -> End:
        """The end as things stand; that of a parent comes with its last child."""
        if not self.children or self.life.pinned:
            return self.life.end()
        ends = [child.life.end() for child in self.children]
        at = max(end.at for end in ends)
        failed = any(end.state == "FAILED" for end in ends)
        cancelled = self.is_cancelled or self.is_terminated
        reason = self.life.cancel_reason if cancelled else "Array Child Job failed" if failed else ""
        return End(at, "FAILED" if failed else "SUCCEEDED", reason, cancelled and failed)

    def state(self, now: float) -> str:
        """The job's status. A parent is PENDING for as long as its children are busy."""
        if not self.children:
            return self.life.state(now)
        end = self.end()
        if now >= end.at:
            return end.state
        return "SUBMITTED" if self.life.stage(now) == "SUBMITTED" else "PENDING"

    def ended(self, now: float) -> bool:
        """Whether the job, with all its children, has reached its end."""
        return now >= self.end().at

    def reason(self, now: float) -> str:
        """The statusReason."""
        end = self.end()
        if now >= end.at and end.reason:
            return end.reason
        return self.life.cancel_reason

    def stop(self, reason: str, now: float, *, terminate: bool) -> None:
        """Take a cancel or terminate request; no effect on what is over or too far on to be cancelled."""
        if self.ended(now):
            return
        if self.children:
            self._note(reason, now, terminate=terminate)
            for child in self.children:
                child.stop(reason, now, terminate=terminate)
        elif terminate or self.life.stage(now) in CANCELLABLE:
            self._note(reason, now, terminate=terminate)
            if not self.waits():
                self.life.request_cancel(now, now + self.life.timings.cancel, reason)

    def _note(self, reason: str, now: float, *, terminate: bool) -> None:
        self.is_terminated |= terminate
        self.is_cancelled |= not terminate
        self.life.request_cancel(now, math.inf, reason)

    def waits(self) -> bool:
        """Whether dependencies still keep the job from going on."""
        return self.life.held and self.life.released_at is None

    def settle(self, dependencies: Iterable[Job], now: float) -> None:
        """Go on, or fail, once everything depended on has ended; only then is a cancel carried out."""
        ends = [job.end() for job in dependencies]
        at = max((end.at for end in ends), default=self.life.created_at)
        if at > now:
            return
        if any(end.state == "FAILED" for end in ends) and not (self.is_cancelled or self.is_terminated):
            self.life.finish(at, "FAILED", "Dependent Job failed")
        self.life.release(at)
        if self.life.cancel_requested_at is not None:
            ready = max(at, self.life.cancel_requested_at)
            self.life.request_cancel(ready, ready + self.life.timings.cancel, self.life.cancel_reason)

    def summary_of_children(self, now: float) -> dict[str, int]:
        """arrayProperties.statusSummary."""
        counts = Counter(child.state(now) for child in self.children)
        return {state: counts[state] for state in JOB_STATES}

    def truth(self, now: float) -> dict[str, Any]:
        """The time-dependent part of ``CloudService.jobs()``."""
        end, over = self.end(), self.ended(now)
        return {
            **self.life.truth(now),
            "state": self.state(now),
            "cancelled": over and end.cancelled,
            "reason": self.reason(now),
            "ended_at": end.at if over else None,
        }


def short_name(name_or_arn: str) -> str:
    """A queue's or job definition's name, from a name or an ARN."""
    return name_or_arn.rpartition("/")[2]


def make_children(parent: Job, size: int, kinds: list[tuple[str, str]]) -> None:
    """Give an array job its children, with the dependencies of each.

    kinds: (job id, type) of the parent's dependsOn. SEQUENTIAL makes each child wait for the one before,
    N_TO_N for the child with the same index of the other array, no type for the whole other job.
    """
    for index in range(size):
        others = [(other, kind) for other, kind in kinds if kind != "SEQUENTIAL"]
        waits = [f"{other}:{index}" if kind == "N_TO_N" else other for other, kind in others]
        if index and any(kind == "SEQUENTIAL" for _, kind in kinds):
            waits.append(f"{parent.id}:{index - 1}")
        old = parent.life
        life = Life(old.words, old.timings, old.created_at, held=bool(waits), attempts=old.attempts)
        child = Job(f"{parent.id}:{index}", parent.name, parent.request, parent.place, life, waits)
        child.parent, child.index = parent, index
        parent.children.append(child)
