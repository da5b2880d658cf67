"""The second part: stock operators' tasks are killed, with the guard and without it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.demo.machine import Machine
from tests.demo.places import REGION, create_application, create_cluster, register
from tests.demo.progress import tell
from tests.real_airflow.processes import children, parent

TASK = "task"
PATIENCE = 120.0
SHORTEST, LONGEST = 10.0, 60.0
"""Seconds for which jobs are watched after their tasks were killed; longer while a guarded one lives."""
REAPER = (
    "--share",
    "1",
    "--loop",
    "--interval",
    "5",
    "--grace",
    "2",
    "--at",
    f"aws://aws_default@{REGION}",
)
HEADER = ("service", "task", "killed", "the job, guarded", "by", "after", "the job, stock")


@dataclass(frozen=True)
class Kill:
    """How a task of one service is killed; ``by``: who cancels its job then."""

    service: str
    task: str
    words: str
    state: str
    by: str
    strike: Callable[[Machine, str, str], None]
    dag: str = ""


def _sigkill(machine: Machine, dag_id: str, run_id: str) -> None:
    os.kill(machine.rest.wait_for_task(dag_id, run_id, TASK, {"running"})["pid"], signal.SIGKILL)


def _mark_failed(machine: Machine, dag_id: str, run_id: str) -> None:
    machine.rest.mark(dag_id, run_id, TASK, "failed")


def _clear(machine: Machine, dag_id: str, run_id: str) -> None:
    machine.rest.clear(dag_id, run_id, TASK)


def _lose_host(machine: Machine, dag_id: str, run_id: str) -> None:
    """The task, its supervisor, and the sentinel, if there is one: nobody on its host is left."""
    task = int(machine.rest.wait_for_task(dag_id, run_id, TASK, {"running"})["pid"])
    for process in (parent(task), *children(task), task):
        os.kill(process, signal.SIGKILL)


KILLS = (
    Kill("emr", "EmrAddStepsOperator", "SIGKILL", "running", "sentinel", _sigkill),
    Kill("batch", "BatchOperator", "marked failed", "running", "sentinel", _mark_failed),
    Kill(
        "emr-serverless", "EmrServerlessStartJobOperator, deferred", "cleared", "deferred", "trigger", _clear
    ),
    Kill("emr", "EmrAddStepsOperator", "lost with its host", "running", "reaper", _lose_host, "lost"),
)


@dataclass
class Victim:
    """One task, its job, and the moment of the kill."""

    kill: Kill
    guarded: bool
    place: str
    run_id: str = ""
    job_id: str = ""
    killed_at: float = 0.0

    @property
    def dag_id(self) -> str:
        """Its Dag."""
        return f"{'guarded' if self.guarded else 'unguarded'}_{self.kill.dag or self.kill.service}"


def run(machine: Machine, begun: float) -> tuple[list[tuple[str, ...]], list[str]]:
    """Kill them all; rows for the table, and what is wrong."""
    victims = [
        Victim(kill, guarded, _place(machine, kill, guarded)) for kill in KILLS for guarded in (True, False)
    ]
    machine.rest.wait_for_dags(*{victim.dag_id for victim in victims})
    reaper = [sys.executable, "-m", "airflow_cancel_provider.cli", "reap", *REAPER]
    machine.airflow.processes.start("reaper", reaper)
    for victim in victims:
        victim.run_id = machine.rest.trigger(victim.dag_id, {"place": victim.place})
    for victim in victims:
        victim.job_id = _running_job(machine, victim)
        tell(begun, victim.dag_id, f"runs {victim.job_id}")
    time.sleep(3)  # until the triggerer looks after those that have deferred
    for victim in victims:
        machine.rest.wait_for_task(victim.dag_id, victim.run_id, TASK, {victim.kill.state})
        victim.killed_at = time.time()
        victim.kill.strike(machine, victim.dag_id, victim.run_id)
        tell(begun, victim.dag_id, f"is {victim.kill.words}")
    _watch(machine, victims)
    truth = {job["id"]: job for job in machine.cloud.jobs()}
    return [_row(victims[at : at + 2], truth) for at in range(0, len(victims), 2)], list(
        _wrong(victims, truth)
    )


def _place(machine: Machine, kill: Kill, guarded: bool) -> str:
    name = f"{'guarded' if guarded else 'unguarded'}-{kill.dag or kill.service}"
    if kill.service == "emr":
        return create_cluster(machine.cloud.url, name)
    if kill.service == "emr-serverless":
        return create_application(machine.cloud.url, name)
    return register(machine.cloud.url, "queues", name) if kill.service == "batch" else name


def _running_job(machine: Machine, victim: Victim) -> str:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for job in machine.cloud.jobs():
            if job["scope"] == victim.place and job["state"] == "RUNNING":
                return str(job["id"])
        time.sleep(0.2)
    raise TimeoutError(f"{victim.dag_id} has no running job after {PATIENCE:.0f} s")


def _watch(machine: Machine, victims: list[Victim]) -> None:
    """Until every guarded job has ended, and every other had the time to."""
    guarded = {victim.job_id for victim in victims if victim.guarded}
    begun = time.monotonic()
    while (past := time.monotonic() - begun) < LONGEST:
        time.sleep(0.5)
        machine.airflow.processes.check()
        living = {job["id"] for job in machine.cloud.jobs() if not job["ended_at"]}
        if past > SHORTEST and not guarded & living:
            return


def _row(pair: list[Victim], truth: dict[str, dict[str, Any]]) -> tuple[str, ...]:
    guarded, stock = pair
    job, kill = truth[guarded.job_id], guarded.kill
    requested = job["cancel_requested_at"]
    after = f"{requested - guarded.killed_at:.1f} s" if requested else "-"
    by = _who(kill, job) if requested else "nobody"
    return (kill.service, kill.task, kill.words, _end(job), by, after, _end(truth[stock.job_id]))


def _who(kill: Kill, job: dict[str, Any]) -> str:
    """The guard gives its reason; BatchOperator has one of its own, and is sometimes faster."""
    return "operator" if job["reason"] == "Task killed by the user" else kill.by


def _end(job: dict[str, Any]) -> str:
    if job["cancelled"] and job["ended_at"]:
        return "cancelled"
    return f"still {job['state']}" if not job["ended_at"] else str(job["state"])


def _wrong(victims: list[Victim], truth: dict[str, dict[str, Any]]) -> Iterator[str]:
    for victim in victims:
        if victim.guarded and not (truth[victim.job_id]["cancelled"] and truth[victim.job_id]["ended_at"]):
            yield f"{victim.dag_id}: job {victim.job_id} outlives its task"
