"""Steps of one Amazon EMR cluster: the queue, the slots that run them, and what ends them.

Follows "Submit work to an Amazon EMR cluster" and "Cancel steps" of the EMR Management Guide.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from tests.cloud.aws import Place, random_id
from tests.cloud.lifecycle import Life, Settings, Words

STEP_STATES = ("PENDING", "CANCEL_PENDING", "RUNNING", "COMPLETED", "CANCELLED", "FAILED", "INTERRUPTED")
TERMINATING_ACTIONS = ("TERMINATE_CLUSTER", "TERMINATE_JOB_FLOW")
QUICK = 0.05
"""Seconds that the service takes to drop a step that is not running yet."""

WORDS = Words(
    stages=(("PENDING", "pending"), ("RUNNING", "run")),
    hold="PENDING",
    success="COMPLETED",
    failure="FAILED",
    cancelled="CANCELLED",
    cancelling="CANCEL_PENDING",
)


@dataclass(eq=False)
class Step:
    """One step: what was asked for, and its life. A step is held PENDING until a slot is free."""

    id: str
    name: str
    config: dict[str, Any]
    action_on_failure: str
    role: str
    life: Life
    number: int

    @property
    def properties(self) -> dict[str, str]:
        return {pair["Key"]: pair.get("Value", "") for pair in self.config.get("Properties", [])}

    def status(self, now: float) -> dict[str, Any]:
        """The Status member of a step in the API."""
        end, ended_at = self.life.end(), self.life.ended_at(now)
        times = {
            "CreationDateTime": self.life.created_at,
            "StartDateTime": self.life.entered("RUNNING", now),
            "EndDateTime": ended_at,
        }
        timeline = {name: at for name, at in times.items() if at is not None}
        state = self.life.state(now)
        status: dict[str, Any] = {"State": state, "StateChangeReason": {}, "Timeline": timeline}
        if ended_at is not None and end.reason:
            status["StateChangeReason"] = {"Message": end.reason}
        if state == "FAILED":
            log = f"s3://logs/{self.id}/stderr.gz"
            status["FailureDetails"] = {"Reason": "Unknown Error.", "LogFile": log}
        return status

    def summary(self, now: float) -> dict[str, Any]:
        """A StepSummary, as ListSteps shows it."""
        config = {"Jar": self.config.get("Jar", ""), "Properties": self.properties}
        config["Args"] = self.config.get("Args", [])
        if "MainClass" in self.config:
            config["MainClass"] = self.config["MainClass"]
        summary = {"Id": self.id, "Name": self.name, "Config": config, "Status": self.status(now)}
        summary["ActionOnFailure"] = self.action_on_failure
        started = self.life.entered("RUNNING", now)
        if started is not None:
            application = f"application_{int(self.life.created_at)}_{self.id[-4:]}"
            summary["AdditionalInfo"] = {
                "ResourceManagerApplicationIds": [application],
                "ResourceManager": "YARN",
            }
        return summary


@dataclass
class Slot:
    """Room for one running step. ``step`` stays after its end: that end tells since when the slot is free."""

    free_since: float
    step: Step | None = None

    def free_at(self) -> float:
        return self.step.life.end().at if self.step else self.free_since


@dataclass(eq=False)
class Cluster:
    """The steps of a cluster. Everything else about it is moto's."""

    id: str
    place: Place
    release: str
    created_at: float
    concurrency: int = 1
    keep_alive: bool = True
    steps: dict[str, Step] = field(default_factory=dict)
    waiting: list[Step] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    ended_at: float | None = None
    _minded: set[str] = field(default_factory=set)

    @property
    def version(self) -> tuple[int, ...]:
        """The release as numbers; clusters of the AMI days count as version 0."""
        found = re.search(r"(\d+)\.(\d+)\.(\d+)", self.release)
        return tuple(int(part) for part in found.groups()) if found else (0, 0, 0)

    def add(self, request: dict[str, Any], role: str, settings: Settings, now: float) -> Step:
        """Queue a step that has passed validation."""
        step_id, name = "s-" + random_id(13), str(request["Name"])
        life = Life(WORDS, settings.timings(self.id, name, step_id), now, held=True)
        action = request.get("ActionOnFailure", "CONTINUE")
        step = Step(step_id, name, request["HadoopJarStep"], action, role, life, len(self.steps))
        self.steps[step_id] = step
        self.waiting.append(step)
        return step

    def active(self, now: float) -> list[Step]:
        """Steps that have not ended, oldest first."""
        return [step for step in self.steps.values() if not step.life.ended(now)]

    def resize(self, concurrency: int, now: float) -> None:
        """Follow the cluster's StepConcurrencyLevel; fewer slots never stop a running step."""
        self.concurrency = concurrency
        while len(self.slots) < concurrency:
            self.slots.append(Slot(now if self.slots else self.created_at))
        surplus = [slot for slot in self.slots if slot.free_at() <= now][: len(self.slots) - concurrency]
        self.slots = [slot for slot in self.slots if slot not in surplus] if surplus else self.slots

    def advance(self, now: float) -> None:
        """Start what could start until now, in the order in which slots became free."""
        while self.slots:
            slot = min(self.slots, key=Slot.free_at)
            self._mind_failures(now)
            if not self.waiting or not self._start(slot, now):
                break
        self._end_when_idle(now)

    def _start(self, slot: Slot, now: float) -> bool:
        """Give the slot to the first step in the queue; False when that is still in the future."""
        step = self.waiting[0]
        start = max(slot.free_at(), step.life.created_at + step.life.timings.pending)
        if min(start, step.life.end().at) > now:
            return False
        self.waiting.pop(0)
        if step.life.end().at > start:
            step.life.release(start)
            slot.step = step
        return True

    def _mind_failures(self, now: float) -> None:
        """Apply ActionOnFailure to steps that failed; cancelling a step never triggers it."""
        for step in [slot.step for slot in self.slots if slot.step]:
            end = step.life.end()
            if end.at > now or end.state != "FAILED" or step.id in self._minded:
                continue
            self._minded.add(step.id)
            if step.action_on_failure == "CANCEL_AND_WAIT":
                self.stop_steps(self.waiting, end.at, "a previous step failed")
            elif step.action_on_failure in TERMINATING_ACTIONS:
                self.terminate(end.at, "a step failed")

    def _end_when_idle(self, now: float) -> None:
        """A cluster that is not to be kept alive ends with its last step."""
        if self.keep_alive or self.ended_at is not None or not self.steps:
            return
        last = max(step.life.end().at for step in self.steps.values())
        if last <= now:
            self.ended_at = last

    def terminate(self, at: float, reason: str) -> None:
        """End the cluster and with it all its steps."""
        if self.ended_at is None:
            self.ended_at = at
        self.stop_steps(list(self.steps.values()), at, reason)

    @staticmethod
    def stop_steps(steps: list[Step], at: float, reason: str) -> None:
        """End steps at once, as the service does when the ground goes from under them."""
        for step in steps:
            if not step.life.ended(at):
                step.life.request_cancel(at, at, reason)
                step.life.finish(at, "CANCELLED", reason, cancelled=True)

    def cancel(self, step_id: str, *, kill: bool, now: float) -> tuple[bool, str]:
        """Ask one step to end; whether the request was taken, and why not."""
        step = self.steps.get(step_id)
        if step is None or not step.life.is_seen(now):
            return False, f"Step id '{step_id}' is not valid."
        state = step.life.state(now)
        running = step.life.stage(now) == "RUNNING"
        too_old = running and self.version < (5, 28, 0)
        if state not in ("PENDING", "RUNNING", "CANCEL_PENDING") or too_old:
            return False, f"Cannot cancel the step. It is already {state}."
        if step.life.timings.refuse:
            return False, "This step cannot be cancelled."
        ends_at = self._cancel_end(step, now, running=running, kill=kill)
        step.life.request_cancel(now, ends_at, "cancelled by request")
        return True, ""

    @staticmethod
    def _cancel_end(step: Step, now: float, *, running: bool, kill: bool) -> float:
        timings = step.life.timings
        if not running:
            return now + min(QUICK, timings.cancel)
        return math.inf if timings.stubborn and not kill else now + timings.cancel
