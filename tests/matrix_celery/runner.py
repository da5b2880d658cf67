"""Run cells: victims are placed on their workers, and looked at until Airflow has noticed, too."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.matrix.runner import Runner
from tests.matrix.scenario import Cell, Expected, Result
from tests.matrix.verdicts import observe
from tests.matrix.victim import TASK, Victim, moment
from tests.matrix_celery import phases
from tests.matrix_celery.cells import EITHER, CeleryScenario
from tests.matrix_celery.ground import HEARTBEAT_TIMEOUT, WORKERS, CeleryGround

NOTICED_WITHIN = HEARTBEAT_TIMEOUT + 45.0


class CeleryRunner(Runner):
    """Runs cells on one ground."""

    def __init__(self, ground: CeleryGround, tell: Callable[[Result], None] | None = None) -> None:
        super().__init__(ground, tell, phases)
        self._workers = ground.workers

    def _start(self, cells: list[Cell]) -> list[Victim]:
        """Start those first that go to one worker, while the other takes nothing."""
        started: list[Victim] = []
        for worker in (*WORKERS, EITHER):
            here = [cell for cell in cells if _worker(cell) == worker]
            if here:
                self._workers.take(*([worker] if worker else WORKERS))
                started += super()._start(here)
        self._workers.take(*WORKERS)
        return started

    def _look_on(self, victim: Victim) -> Result:
        result = observe(victim)
        if victim.scenario.expected is Expected.LEFT_ALONE:
            return result
        return replace(result, noticed=noticed(victim))


def noticed(victim: Victim) -> float | None:
    """Seconds from the fault until Airflow took the try for ended; None when it never did, or forgot it."""
    path = f"dags/{victim.dag_id}/dagRuns/{victim.runs[0]}/taskInstances/{TASK}/tries/1"
    begun = min(victim.strikes)
    while time.time() < begun + NOTICED_WITHIN:
        try:
            first: dict[str, Any] = victim.ground.rest.call("GET", path)
        except RuntimeError:
            return None
        if first["end_date"] and first["state"] not in ("running", "deferred"):
            return max(0.0, moment(first["end_date"]) - begun)
        time.sleep(1)
    return None


def _worker(cell: Cell) -> str:
    scenario = cell.scenario
    return scenario.worker if isinstance(scenario, CeleryScenario) else EITHER
