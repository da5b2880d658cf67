"""What is done to all victims of a phase."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.matrix.phases import Group
from tests.matrix.victim import Victim
from tests.matrix_celery.cells import FIRST
from tests.real_airflow.world import SUCCEEDED


def members(group: Group) -> list[Victim]:
    """All victims, of whichever scenario."""
    return [victim for victims in group.values() for victim in victims]


def on_first(group: Group) -> list[Victim]:
    """All victims, which are on the first worker.

    :raises RuntimeError: one is elsewhere, and the fault would not be its.
    """
    for victim in members(group):
        for task in victim.tasks:
            if task["hostname"] != FIRST:
                raise RuntimeError(f"{victim.cell.name} runs on {task['hostname']}")
    return members(group)


def strike(victims: Iterable[Victim]) -> None:
    """The fault has happened to all of them."""
    for victim in victims:
        victim.strike()


def spare_what_is_cancelled(victims: Iterable[Victim]) -> None:
    """What is asked to end already, before the fault that ends its task, should not have been."""
    for victim in victims:
        victim.spare(*(job["id"] for job in victim.jobs() if job["cancel_requested_at"]))


def succeed(victim: Victim) -> None:
    """Its jobs end well, and so does its run."""
    service: Any = victim.ground.cloud.services[victim.cell.service]
    for job in victim.jobs():
        service.finish(job["id"], SUCCEEDED[victim.cell.service])
    victim.wait_for_run("success")


def side_by_side(act: Callable[[Victim], None], victims: list[Victim]) -> None:
    """Do it to all of them at the same time; raises what the first of them raised."""
    with ThreadPoolExecutor(max(1, len(victims))) as pool:
        list(pool.map(act, victims))
