"""What Airflow, the service, triggers and the reaper do next."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

from airflow_cancel_provider.triggers.ownership import _AT_WORK, _OVER, Verdict
from tests.model import deciders, guards
from tests.model.guards import Rules
from tests.model.sentinels import step_sentinel
from tests.model.task_moves import failed, gone
from tests.model.world import Move, Process, Row, Trigger, World


def airflow_moves(world: World, rules: Rules) -> Iterator[Move]:
    if world.is_deleted:
        return
    if world.row.state == "queued" and world.process is None:
        yield "Airflow starts the task", lambda world: _start(world, rules)
    if world.row.state == "up_for_retry":
        yield "Airflow schedules the next try", lambda world: world.set_row(state="queued")
    if world.row.state in ("running", "restarting") and world.process is None:
        yield "Airflow sees that the process is gone", noticed
    if world.process and not world.process.has_supervisor and world.row.state == "running":
        yield "Airflow misses the heartbeats", noticed
    if world.row.state == "deferred" and not any(each.number == world.number for each in world.triggers):
        yield "a trigger without a guard fires", resumed


def resumed(world: World) -> None:
    world.set_row(state="queued")
    world.resumes = "event"


def _start(world: World, rules: Rules) -> None:
    is_resumed, world.resumes = bool(world.resumes), ""
    if not is_resumed:
        world.xcom = None
    world.set_row(state="running")
    guard = guards.unborn(world.number, is_resumed, rules)
    world.process = Process(world.number, is_resumed, "begin", guard, submitted=int(is_resumed))


def noticed(world: World) -> None:
    world.set_row(is_doomed=True)
    if world.process is not None:
        world.stale, world.process = world.process, None
    if world.row.state == "restarting":
        replaced(world)
    else:
        failed(world)


def replaced(world: World) -> None:
    world.set_row(is_archived=True)
    world.rows += (Row("queued"),)
    world.resumes = ""


def other_moves(world: World, rules: Rules) -> Iterator[Move]:
    for at, sentinel in enumerate(world.sentinels):
        if sentinel.is_alive and sentinel.phase != "done":
            yield f"sentinel of try {sentinel.number + 1} acts", _sentinel(at)
    for at, trigger in enumerate(world.triggers):
        if rules.has_triggerer:
            yield from _trigger_moves(world, at, trigger)
    for number in world.marks:
        yield "API server sees to a mark", _mark(number)
    yield from _service_moves(world)
    if rules.has_reaper:
        yield "reaper checks", lambda world: setattr(world, "suspects", deciders.first_check())
        if world.suspects:
            yield "reaper checks again", _second_check


def _service_moves(world: World) -> Iterator[Move]:
    for name, job in world.jobs.items():
        if not job.is_listed:
            yield f"service lists {name}", _listed(name)


def _sentinel(at: int) -> Callable[[World], None]:
    def act(world: World) -> None:
        for number in step_sentinel(world, at):
            for slot in ("process", "stale"):
                process = getattr(world, slot)
                if process and process.number == world.sentinels[at].number:
                    if number == signal.SIGKILL:
                        gone(world, slot)
                    elif not process.sigterm:
                        setattr(world, slot, process._replace(sigterm="due"))

    return act


def _trigger_moves(world: World, at: int, trigger: Trigger) -> Iterator[Move]:
    is_deferred = trigger.number == world.number and world.row.state == "deferred" and not world.is_deleted
    if trigger.phase == "run":
        yield ("trigger fires", _fired(at)) if is_deferred else ("trigger is told to end", _told(at))
    else:
        yield "triggerer sees to a kill", _settle(at)


def without(world: World, at: int, *new: Trigger) -> None:
    world.triggers = (*world.triggers[:at], *new, *world.triggers[at + 1 :])


def _fired(at: int) -> Callable[[World], None]:
    def fire(world: World) -> None:
        without(world, at)
        resumed(world)

    return fire


def _told(at: int) -> Callable[[World], None]:
    return lambda world: without(world, at, world.triggers[at]._replace(phase="killed"))


def _settle(at: int) -> Callable[[World], None]:
    def settle(world: World) -> None:
        trigger = world.triggers[at]
        state = "removed" if world.is_deleted else world.row.state
        if trigger.phase != "killed" and state not in _OVER | _AT_WORK | {"deferred"}:
            return
        standing, after = deciders.standing_of(world, trigger)
        if standing.verdict is Verdict.UNCLEAR:
            without(world, at, after._replace(phase="ask"))
        elif deciders.settle_trigger(world, trigger):
            without(world, at)

    return settle


def _mark(number: int) -> Callable[[World], None]:
    def see_to(world: World) -> None:
        # It looks again ten seconds after the mark. By then a task that runs was told to end.
        runs = world.process and world.process.number == number
        if world.is_deleted and world.process is None and not world.triggers:
            # Airflow has not taken its deferral, and its record is gone before the API server reads it.
            world.set_row(number, was_orphaned=True)
        if deciders.settle_mark(world, number) and not runs:
            world.marks = tuple(each for each in world.marks if each != number)

    return see_to


def _listed(id: str) -> Callable[[World], None]:
    return lambda world: world.jobs.__setitem__(id, world.jobs[id]._replace(is_listed=True))


def _second_check(world: World) -> None:
    suspects, world.suspects = world.suspects, ()
    deciders.second_check(suspects)
