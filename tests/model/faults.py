"""What can go wrong: crashes, people, lost answers, forged records."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from airflow_cancel_provider.record import TryRecord, TryState
from tests.model.airflow_moves import noticed, replaced, without
from tests.model.guards import Rules, freeze, guarded
from tests.model.sentinels import change
from tests.model.task_moves import carried_out, gone, killed, repeated, unanswered
from tests.model.world import MOST_TRIES, STRANGER, Job, Move, Process, World, address, ti_id


def faults(world: World, rules: Rules) -> Iterator[Move]:
    yield from _crashes(world, rules)
    yield from _people(world)
    yield from _losses(world, rules)


def _crashes(world: World, rules: Rules) -> Iterator[Move]:
    process = world.process
    if process is not None:
        yield "SIGKILL of the task", killed("process")
        if process.phase in ("work", "sent", "done") and not process.sigterm:
            yield "SIGTERM to the task", _terminated
        if process.has_supervisor:
            yield "SIGKILL of the supervisor", _unsupervised
        if rules.has_reaper:
            yield "the host is lost", _host_lost
            yield "Airflow gives up a task that lives", noticed
    for at, sentinel in enumerate(world.sentinels):
        if sentinel.is_alive and sentinel.phase != "done" and rules.has_reaper:
            yield "SIGKILL of the sentinel", _sentinel_killed(at)
    for at, trigger in enumerate(world.triggers):
        if trigger.phase == "run":
            yield "the trigger moves to another triggerer", _moved(at)
        elif rules.has_reaper:
            yield "the triggerer restarts", _forgotten(at)


def _sentinel_killed(at: int) -> Callable[[World], None]:
    return lambda _: change(at, is_alive=False)


def _forgotten(at: int) -> Callable[[World], None]:
    return lambda world: without(world, at)


def _terminated(world: World) -> None:
    assert world.process
    world.set_row(world.process.number, is_doomed=True, is_told=True)
    world.process = world.process._replace(sigterm="due")


def _unsupervised(world: World) -> None:
    assert world.process
    number = world.process.number
    world.process = world.process._replace(has_supervisor=False)
    is_reapers = world.process.outcome == "defer" or world.process.is_resumed
    world.set_row(number, is_doomed=True, was_orphaned=world.rows[number].was_orphaned or is_reapers)
    for at, sentinel in enumerate(world.sentinels):
        if sentinel.number == number and sentinel.phase != "done":
            change(at, supervisor_ended=True)


def _host_lost(world: World) -> None:
    assert world.process
    number = world.process.number
    gone(world, "process")
    world.set_row(number, was_orphaned=True)
    for at, sentinel in enumerate(world.sentinels):
        if sentinel.number == number:
            change(at, is_alive=False)


def _moved(at: int) -> Callable[[World], None]:
    """The old triggerer is told as if the task was over; the new one has the trigger, too."""

    def move(world: World) -> None:
        trigger = world.triggers[at]
        without(world, at, trigger, trigger._replace(phase="killed"))

    return move


def _people(world: World) -> Iterator[Move]:
    if world.is_deleted:
        return
    state = world.row.state
    if state in ("running", "deferred", "queued", "up_for_retry"):
        for mark in ("failed", "success"):
            yield f"a person marks the task {mark}", _marked(mark)
    if world.number + 1 < MOST_TRIES and state != "up_for_retry":
        yield "a person clears the task", _cleared
    if state not in ("running", "restarting"):
        yield "a person deletes the Dag run", _deleted


def _doomed(world: World, *, is_marked: bool = False) -> None:
    is_over = world.row.state in ("success", "failed")
    # What waits for a next try is seen to by the API server, if that is marked.
    has_no_process = world.row.state == "queued" or (world.row.state == "up_for_retry" and not is_marked)
    if has_no_process:
        world.orphan_earlier()
    world.set_row(
        is_doomed=True, is_told=not is_over, was_orphaned=world.row.was_orphaned or (has_no_process)
    )


def _marked(state: str) -> Callable[[World], None]:
    def mark(world: World) -> None:
        _doomed(world, is_marked=True)
        world.set_row(state=state, is_marked=True)
        world.resumes = ""
        world.marks += (world.number,)

    return mark


def _cleared(world: World) -> None:
    if world.row.state == "running":
        _doomed(world)
        world.set_row(state="restarting")
        return
    _doomed(world)
    replaced(world)


def _deleted(world: World) -> None:
    _doomed(world)
    if world.process is not None and world.process.phase == "begin":
        world.set_row(was_orphaned=True)  # its record is gone before it is read
        world.orphan_earlier()
    world.is_deleted, world.xcom, world.stored, world.resumes = True, None, None, ""


def _losses(world: World, rules: Rules) -> Iterator[Move]:
    process = world.process
    if process and process.phase == "sent":
        yield from _lost_answers(process, rules)
    if not world.cancels_lost and world.jobs:
        yield "the next request to end a job is lost", lambda world: setattr(world, "cancels_lost", 1)
    if rules.has_reaper and process and not world.is_write_lost:
        yield "the next write to Airflow fails", lambda world: setattr(world, "is_write_lost", True)
    if world.xcom is not None and not world.is_forged:
        yield "somebody writes another's job into the record", _forged


def _lost_answers(process: Process, rules: Rules) -> Iterator[Move]:
    def with_guard(what: Callable[[World, Process, Any], Process]) -> Callable[[World], None]:
        def happen(world: World) -> None:
            assert world.process
            guard = guarded(world.process, rules)
            after = what(world, world.process, guard)
            world.process = after._replace(guard=freeze(guard))

        return happen

    if process.pending:
        yield "the answer is lost", with_guard(unanswered)
        yield "the answer is lost, and the request repeated", with_guard(repeated)
    else:
        yield "the request is lost", with_guard(unanswered)
        yield "the service lists late", with_guard(carried_out(is_listed=False))


def _forged(world: World) -> None:
    record = TryRecord.from_json(json.loads(world.xcom or ""))
    world.jobs["x"] = Job(STRANGER)
    earlier = (TryRecord(ti_id(STRANGER), TryState.DEFERRED, (address("x"),)),)
    forged = TryRecord(
        record.ti_id, record.state, (*record.jobs, address("x")), record.intents, earlier=earlier
    )
    world.xcom, world.is_forged = json.dumps(forged.as_json()), True
