"""The table: what can happen to a distributed Airflow, for which services and in which modes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from signal import SIGKILL
from typing import Any

from tests.matrix import faults, setting
from tests.matrix.reaper import with_reaper
from tests.matrix.scenario import SERVICES, Cell, Expected, Scenario
from tests.matrix.victim import Victim

EITHER = ""
FIRST, SECOND = "worker-1", "worker-2"
Modes = dict[str, tuple[str, ...]]
SYNC: Modes = {"sync": SERVICES}
DEFERRED: Modes = {"deferred": SERVICES}
REAPED_WITHIN = 120.0
"""Seconds from the fault: Airflow's detection of a lost host (35), a sweep's interval, the second check."""


@dataclass(frozen=True)
class CeleryScenario(Scenario):
    """One row of the matrix.

    :param worker: the worker that runs the victims' first try, or either.
    """

    worker: str = EITHER


TASKS = (
    CeleryScenario("SIGKILL of the task", faults.signalled(SIGKILL), SYNC, kind="signal"),
    CeleryScenario("SIGTERM to its supervisor", faults.supervisor_signalled, SYNC, kind="signal"),
    CeleryScenario("SIGKILL of its supervisor", faults.supervisor_killed, SYNC, kind="signal"),
    CeleryScenario("marked failed", faults.marked("failed"), SYNC, kind="mark"),
)


def _of_phase(
    phase: str,
    name: str,
    expected: Expected = Expected.CANCELLED,
    worker: str = FIRST,
    modes: Modes = SYNC,
    **more: Any,
) -> CeleryScenario:
    """A scenario whose fault its phase does."""
    return CeleryScenario(name, Victim.strike, modes, expected, phase=phase, worker=worker, **more)


ALONE, REAPER = Expected.LEFT_ALONE, Expected.REAPER
PHASES = (
    _of_phase("cleared", "cleared, tried again by the other worker", kind="mark", within=30.0),
    _of_phase("worker killed", "worker killed with its children"),
    _of_phase("worker killed", "worker killed beside another Dag's job", prepare=setting.job_of_another_dag),
    _of_phase("worker killed", "the other worker's jobs", ALONE, SECOND),
    _of_phase("worker killed", "deferred while a worker is killed", ALONE, modes=DEFERRED),
    _of_phase("main process killed", "worker's main process killed alone"),
    _of_phase("cold shutdown", "cold shutdown by SIGQUIT"),
    _of_phase("warm shutdown cut short", "warm shutdown cut short by SIGKILL"),
    _of_phase("warm shutdown", "warm shutdown that completes", ALONE),
    _of_phase("host lost", "host lost", REAPER, within=60.0),
    _of_phase("host lost", "host lost, tried again elsewhere", shape="retries", within=90.0),
    _of_phase("cut off", "host cut off for a minute", within=130.0),
    _of_phase("blip", "host cut off for 3 s, success", ALONE),
    _of_phase("broker", "broker killed and restarted, success", ALONE),
    _of_phase("schedulers", "scheduler of two killed, success", ALONE, EITHER),
    _of_phase("schedulers", "scheduler of two killed, then the task", worker=EITHER, kind="signal"),
    _of_phase("triggerer gone", "triggerer gone, cleared", worker=EITHER, modes=DEFERRED, within=60.0),
    _of_phase("triggerer gone", "triggerer gone, run deleted", REAPER, EITHER, modes=DEFERRED, within=60.0),
)

SCENARIOS = (*TASKS, *PHASES)


def cells(pattern: str = "", *, reaper: bool = False) -> list[Cell]:
    """The cells whose names hold the pattern; where there is a reaper, more is expected."""
    scenarios = map(_reaped, SCENARIOS) if reaper else SCENARIOS
    return [cell for scenario in scenarios for cell in scenario.cells() if pattern in cell.name]


def _reaped(scenario: CeleryScenario) -> CeleryScenario:
    """Expected with a reaper: it knows of a lost task when Airflow does, which is later here."""
    return (
        scenario if scenario.expected is not REAPER else replace(with_reaper(scenario), within=REAPED_WITHIN)
    )
