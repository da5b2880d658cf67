"""What may happen to one task: the matrix's scenarios that suit, and how often each comes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.matrix import cells, setting
from tests.matrix.scenario import Expected, Scenario

OWN_DAGS = ("Dag paused",)
"""These change a Dag that others use, too."""
WITH_COMPANY = ("beside",)
"""The plan itself puts jobs of others beside a task's."""
SLOW = ("service down", "run timed out", "hangs", "each of 3")
TRIED_AGAIN = ("SIG", "marked failed", "cleared", "poll denied", "killed")


@dataclass(frozen=True)
class Kind:
    """A scenario, and its weight in the lot."""

    scenario: Scenario
    weight: int

    @property
    def name(self) -> str:
        """The scenario's name."""
        return self.scenario.name

    @property
    def may_be_tried_again(self) -> bool:
        """Whether the task may as well have retries left."""
        fits = self.scenario.shape == "waits" and self.scenario.ready is None
        return fits and any(word in self.name for word in TRIED_AGAIN)


def _kinds() -> dict[str, Kind]:
    found = [_kind(scenario) for scenario in cells.SCENARIOS if _concerns_one_task(scenario)]
    return {kind.name: kind for kind in found}


def _concerns_one_task(scenario: Scenario) -> bool:
    left_out = any(word in scenario.name for word in (*OWN_DAGS, *WITH_COMPANY))
    return scenario.runs == 1 and not scenario.phase and not left_out


def _kind(scenario: Scenario) -> Kind:
    if scenario.prepare is setting.short_job:
        # A place is used by many here: its jobs are ended one by one, not by its timings.
        return Kind(replace(scenario, prepare=None, ready=None), 6)
    if scenario.expected is Expected.LEFT_ALONE:
        return Kind(scenario, 4)
    return Kind(scenario, 1 if any(word in scenario.name for word in SLOW) else 2)


KINDS = _kinds()
