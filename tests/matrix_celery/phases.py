"""Faults of a distributed Airflow's parts: each has the place to itself for a while."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.matrix import faults
from tests.matrix.ground import Ground
from tests.matrix.phases import SECOND as ANOTHER
from tests.matrix.phases import Group, kill
from tests.matrix.victim import TASK, Victim
from tests.matrix_celery import outages
from tests.matrix_celery.cells import FIRST, SECOND
from tests.matrix_celery.ground import HEARTBEAT_TIMEOUT, WORKERS, CeleryGround
from tests.matrix_celery.groups import (
    members,
    on_first,
    side_by_side,
    spare_what_is_cancelled,
    strike,
    succeed,
)
from tests.real_airflow.world import eventually

WARM_SECONDS = 6.0
"""After which a warm shutdown is cut short, or is taken to have begun."""
ADOPTED_SECONDS = 25.0
"""In which the tasks of a scheduler that was killed have been adopted by the other one."""
LIVED_SECONDS = 6.0
"""For how long the job of a new try is looked at."""


def cleared(ground: CeleryGround, group: Group) -> None:
    """Clear tasks, and let the other worker run their next try, whose job must live."""
    victims = on_first(group)
    ground.workers.take(SECOND)
    side_by_side(_clear_and_wait, victims)


def _clear_and_wait(victim: Victim) -> None:
    at = time.time()
    victim.ground.rest.clear(victim.dag_id, victim.runs[0], TASK)
    victim.wait_for_jobs(2)
    host = victim.wait_for_task(victim.runs[0], lambda state: state == "running")["hostname"]
    if host != SECOND:
        raise RuntimeError(f"{victim.cell.name}: the next try runs on {host}")
    time.sleep(LIVED_SECONDS)
    victim.strike(at)


def worker_killed(ground: CeleryGround, group: Group) -> None:
    """Kill a worker with all below it but the sentinels."""
    killed = {name: victims for name, victims in group.items() if name.startswith("worker killed")}
    strike(on_first(killed))
    ground.workers.kill(FIRST)
    # Others are looked at until Airflow has noticed, too: it must not take them along.
    time.sleep(HEARTBEAT_TIMEOUT + 15)
    strike(victim for victim in members(group) if victim.scenario.name not in killed)


def main_process_killed(ground: CeleryGround, group: Group) -> None:
    """Kill a worker's main process: Celery has the kernel kill those that supervise tasks with it."""
    strike(on_first(group))
    os.kill(ground.workers.pid(FIRST), signal.SIGKILL)


def cold_shutdown(ground: CeleryGround, group: Group) -> None:
    """SIGQUIT to a worker, which ends its tasks."""
    strike(on_first(group))
    os.kill(ground.workers.pid(FIRST), signal.SIGQUIT)
    eventually(lambda: ground.workers.has_ended(FIRST), "the end of the worker", seconds=60)
    ground.workers.bury(FIRST)


def warm_shutdown_cut_short(ground: CeleryGround, group: Group) -> None:
    """SIGTERM to a worker, which waits for its tasks; SIGKILL to it and to all below it before they end."""
    victims = on_first(group)
    os.kill(ground.workers.pid(FIRST), signal.SIGTERM)
    time.sleep(WARM_SECONDS)
    spare_what_is_cancelled(victims)
    strike(victims)
    ground.workers.kill(FIRST)


def warm_shutdown(ground: CeleryGround, group: Group) -> None:
    """SIGTERM to a worker, which waits for its tasks; they succeed, and it ends."""
    victims, workers = on_first(group), ground.workers
    os.kill(workers.pid(FIRST), signal.SIGTERM)
    time.sleep(WARM_SECONDS)
    if workers.has_ended(FIRST):
        raise RuntimeError("the worker did not wait for its tasks")
    side_by_side(succeed, victims)
    eventually(lambda: workers.has_ended(FIRST), "the end of the worker", seconds=60)
    workers.bury(FIRST)
    strike(victims)


def schedulers(ground: CeleryGround, group: Group) -> None:
    """Have a second scheduler take over from the first, which is killed; later kill some of the tasks."""
    ended = group.get("scheduler of two killed, success", [])
    killed = group.get("scheduler of two killed, then the task", [])
    ground.airflow.start_component("scheduler", ANOTHER)
    eventually(lambda: _schedulers(ground) == 2, "a second scheduler", seconds=60)
    kill(ground, "scheduler")
    time.sleep(ADOPTED_SECONDS)
    spare_what_is_cancelled(ended + killed)
    with ThreadPoolExecutor(1) as pool:
        succeeding = pool.submit(side_by_side, succeed, ended)
        for victim in killed:
            faults.signalled(signal.SIGKILL)(victim)
        succeeding.result()
    strike(ended)


def _schedulers(ground: Ground) -> int:
    return int(ground.rest.call("GET", "jobs?job_type=SchedulerJob&is_alive=true")["total_entries"])


def triggerer_gone(ground: CeleryGround, group: Group) -> None:
    """Kill the triggerer, and let it stay dead."""
    kill(ground, "triggerer")
    for victim in group.get("triggerer gone, cleared", []):
        faults.cleared(victim)
    for victim in group.get("triggerer gone, run deleted", []):
        faults.run_deleted(victim)


def prepare(phase: str, ground: Ground) -> None:
    """Nothing is needed before the victims start."""


def restore(phase: str, ground: Ground) -> None:
    """Bring back what the phase has killed."""
    there = _distributed(ground)
    there.hosts[FIRST].mend()
    if phase in ("cut off", "main process killed"):  # something of the old worker may hang yet
        there.hosts[FIRST].kill_all()
        there.workers.bury(FIRST)
    there.workers.start(*(name for name in WORKERS if not there.workers.is_there(name)))
    running = there.airflow.processes
    for component in ("scheduler", "triggerer"):
        if not running.is_there(component):
            there.airflow.start_component(component)
    if running.is_there(f"scheduler{ANOTHER}"):
        eventually(lambda: _schedulers(ground) == 2, "the scheduler", seconds=60)
        running.stop(f"scheduler{ANOTHER}")


def _distributed(ground: Ground) -> CeleryGround:
    assert isinstance(ground, CeleryGround)
    return ground


def _on_distributed(act: Callable[[CeleryGround, Group], None]) -> Callable[[Ground, Group], None]:
    return lambda ground, group: act(_distributed(ground), group)


PHASES = {
    name: _on_distributed(act)
    for name, act in {
        "cleared": cleared,
        "worker killed": worker_killed,
        "main process killed": main_process_killed,
        "cold shutdown": cold_shutdown,
        "warm shutdown cut short": warm_shutdown_cut_short,
        "warm shutdown": warm_shutdown,
        "host lost": outages.host_lost,
        "cut off": outages.cut_off,
        "blip": outages.blip,
        "broker": outages.broker,
        "schedulers": schedulers,
        "triggerer gone": triggerer_gone,
    }.items()
}
