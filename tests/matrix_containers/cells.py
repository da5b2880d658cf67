"""The table: what can happen to a task in a container, for each kind of container."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace

from tests.matrix import faults, setting
from tests.matrix.reaper import with_reaper
from tests.matrix.scenario import Cell, Expected, Scenario
from tests.matrix.victim import Victim
from tests.matrix_containers import memory
from tests.matrix_containers.containers import Pod

GRACE = 30.0
"""Seconds between SIGTERM and SIGKILL: Kubernetes' default."""
FAILING_SECONDS = 10.0
SLOW_SECONDS = 3.0
REAPED_WITHIN = 150.0
MODES = {"sync": ("emr", "batch", "mrs")}
PODS: dict[int, Pod] = {}
"""Containers by the id of their victim, once a fault has met them."""

Fault = Callable[[Victim, Pod], None]


def _on_pod(fault: Fault) -> Callable[[Victim], None]:
    def strike(victim: Victim) -> None:
        pod = PODS[id(victim)] = Pod(victim)
        fault(victim, pod)

    return strike


def _kill(victim: Victim, pid: int) -> None:
    victim.strike()
    os.kill(pid, signal.SIGKILL)


def task_killed(victim: Victim, pod: Pod) -> None:
    """SIGKILL to the task alone."""
    _kill(victim, pod.task)


def supervisor_killed(victim: Victim, pod: Pod) -> None:
    """SIGKILL to the supervisor alone; where it is process 1, to all."""
    _kill(victim, pod.supervisor)


def out_of_memory(victim: Victim, pod: Pod) -> None:
    """The kernel kills the task, which takes most of the memory."""
    memory.run_out(pod.name, pod.task, victim.strike)


def deleted(grace: float) -> Fault:
    """The pod is deleted."""

    def fault(victim: Victim, pod: Pod) -> None:
        victim.strike()
        pod.delete(grace)

    return fault


def node_lost(victim: Victim, pod: Pod) -> None:
    """All is gone at once, and nobody says so."""
    victim.strike()
    pod.lose()


def cancel_fails(fault: Fault) -> Fault:
    """Calls that cancel get no answer for a while."""

    def both(victim: Victim, pod: Pod) -> None:
        faults.spoil(victim, "reset", faults.CANCELS, seconds=FAILING_SECONDS)
        fault(victim, pod)

    return both


def cancel_slow(fault: Fault) -> Fault:
    """Calls that cancel take three seconds."""

    def both(victim: Victim, pod: Pod) -> None:
        faults.spoil(victim, "latency", faults.CANCELS, delay=SLOW_SECONDS)
        fault(victim, pod)

    return both


def marked(victim: Victim, _: Pod) -> None:
    """A person marks the task as failed."""
    faults.marked("failed")(victim)


REAPER, ALONE = Expected.REAPER, Expected.LEFT_ALONE


def _scenario(name: str, fault: Fault, expected: Expected = Expected.CANCELLED) -> Scenario:
    return Scenario(name, _on_pod(fault), MODES, expected, within=GRACE)


def scenarios(kind: str) -> list[Scenario]:
    """What happens to containers of a kind: only one that is held open does not end with its task."""
    is_held = kind == "held open"
    unsure = Expected.CANCELLED if is_held else REAPER
    supervisor = REAPER if kind == "supervisor" else unsure
    found = [
        _scenario("task killed", task_killed, unsure),
        _scenario("supervisor killed", supervisor_killed, supervisor),
        _scenario("pod deleted", deleted(GRACE)),
        _scenario("pod deleted, cancel takes 3 s", cancel_slow(deleted(GRACE))),
        _scenario("pod deleted, cancel fails for 10 s", cancel_fails(deleted(GRACE)), unsure),
        _scenario("task killed, cancel fails for 10 s", cancel_fails(task_killed), unsure),
        _scenario("marked failed", marked),
        _scenario("pod killed without grace", deleted(0), REAPER),
        _scenario("node lost", node_lost, REAPER),
        Scenario(
            "success",
            lambda victim: victim.strike(),
            MODES,
            ALONE,
            prepare=setting.short_job,
            ready=setting.until_success,
        ),
    ]
    if memory.can_limit():
        found.insert(1, _scenario("task out of memory", out_of_memory, unsure))
    return found


def cells(kind: str, pattern: str = "", *, reaper: bool) -> list[Cell]:
    """The cells whose names hold the pattern; where there is a reaper, more is expected."""
    found = map(_reaped, scenarios(kind)) if reaper else scenarios(kind)
    return [cell for scenario in found for cell in scenario.cells() if pattern in cell.name]


def _reaped(scenario: Scenario) -> Scenario:
    """Expected with a reaper, which takes the longer the more places there are: it keeps to the quotas."""
    reaped = with_reaper(scenario)
    return reaped if scenario.expected is not REAPER else replace(reaped, within=REAPED_WITHIN)
