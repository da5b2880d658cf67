"""How victims are put in place: what comes before the fault, when it is not just a job that runs."""

from __future__ import annotations

from typing import Any

from tests.matrix.victim import Victim
from tests.real_airflow.world import eventually


def hold_the_answer(victim: Victim) -> None:
    """Keep back the answer to the submission."""
    victim.made = victim.ground.holds.hold(victim.scope)


def until_job_is_made(victim: Victim) -> None:
    """The job is there, the task does not know yet."""
    if not victim.made.wait(victim.patience):
        raise TimeoutError(f"{victim.cell.name}: no job")


def until_just_deferred(victim: Victim) -> None:
    """The task has been deferred this moment."""
    eventually(lambda: bool(victim.own_jobs()), "a job", seconds=victim.patience)
    victim.look_at_tasks(pause=0.05)


def short_job(victim: Victim) -> None:
    """The job succeeds soon."""
    local: Any = victim.ground.cloud.services[victim.cell.service]
    local.configure({"overrides": {victim.scope: {"run": 8}}})


def until_success(victim: Victim) -> None:
    """The task has succeeded."""
    victim.wait_for_jobs(1)
    victim.wait_for_run("success")


def job_by_hand(victim: Victim) -> None:
    """Somebody has submitted a job in the same place."""
    victim.spare(victim.ground._start[victim.cell.service](victim.scope))


def sensed_job(victim: Victim) -> None:
    """A sensor is to wait for a job that somebody has submitted."""
    before = set(victim.spared)
    job_by_hand(victim)
    (victim.conf["id"],) = victim.spared - before


def until_sensed(victim: Victim) -> None:
    """The sensor has polled the job."""
    eventually(lambda: len(victim.calls()) > 1, "a poll of the job", seconds=victim.patience)
    victim.look_at_tasks()


def job_of_another_dag(victim: Victim) -> None:
    """Another Dag has a job in the same place."""
    dag_id = f"forgets__{victim.cell.service}__sync"
    run = victim.ground.rest.trigger(dag_id, {"scope": victim.scope})
    victim.ground.rest.wait_for_run(dag_id, run, timeout=victim.patience)
    victim.spare(*(job["id"] for job in victim.jobs()))
