"""What the process of a task does, step by step, and what Airflow takes down of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.guard.inherited import take_over_or_cancel
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.jobs import RemoteJob
from tests.model import open_world
from tests.model.guards import Rules, freeze, guarded
from tests.model.sentinels import change
from tests.model.world import (
    CLIENT,
    Job,
    Move,
    Process,
    Row,
    Sentinel,
    TaskDeferred,
    Trigger,
    World,
    address,
)


def process_moves(world: World, slot: str, process: Process, rules: Rules) -> Iterator[Move]:
    who = f"try {process.number + 1}"

    def move(name: str, what: Callable[[World, Process, Any], Process | None]) -> Move:
        def happen(world: World) -> None:
            process = getattr(world, slot)
            guard = guarded(process, rules)
            open_world.CHANNEL[0] = process.has_supervisor
            after = what(world, process, guard)
            open_world.CHANNEL[0] = True
            if after is None:
                gone(world, slot)
            else:
                setattr(world, slot, after._replace(guard=freeze(guard)))

        return f"{who} {name}", happen

    if process.phase == "begin":
        yield move("begins", _begin)
    elif process.phase == "work":
        yield from (move(*each) for each in _work(world, process, rules))
    elif process.phase == "sent":
        yield from (move(*each) for each in _sent(process))
    yield from _ends(world, slot, process, move)


def _ends(world: World, slot: str, process: Process, move: Callable[..., Move]) -> Iterator[Move]:
    who = f"try {process.number + 1}"
    if process.sigterm == "due" and process.phase in ("work", "sent", "done"):
        yield move("gets SIGTERM", _sigterm)
    if process.phase == "done" and process.has_supervisor:
        yield f"{who} reports {process.outcome}", lambda world: _report(world, slot)
    if process.phase == "reported":
        yield move("hears what Airflow made of it", _listener)
    if process.has_supervisor and not is_wanted(world, process) and process.phase != "reported":
        if not process.sigterm:
            yield f"{who} is told to end", _told_to_end(slot)
        if process.sigterm == "done" or process.phase == "begin":
            yield f"{who} is killed by its supervisor", killed(slot)
    if not process.has_supervisor:
        yield f"{who} is killed by its sentinel", lambda w: gone(w, slot)


def is_wanted(world: World, process: Process) -> bool:
    return process.number == world.number and not world.is_deleted and world.row.state == "running"


def gone(world: World, slot: str) -> None:
    """The process has ended."""
    process = getattr(world, slot)
    setattr(world, slot, None)
    if process.phase == "begin":
        world.orphan_earlier()
    row = world.rows[process.number]
    if process.outcome not in ("success", "defer") or row.state == "running":
        world.set_row(process.number, is_doomed=True)
    for at, sentinel in enumerate(world.sentinels):
        if sentinel.number == process.number and sentinel.phase != "done":
            change(at, task_ended=True)


def _begin(world: World, process: Process, guard: Any) -> Process | None:
    if not process.has_supervisor:
        return None
    take_over_or_cancel(guard.parts)
    for job in world.jobs.values():
        if not job.is_listed and 0 <= job.owner < process.number:
            world.set_row(job.owner, was_orphaned=True)  # it is looked for during some seconds only
    return process._replace(phase="work")


Part = tuple[str, Callable[[World, Process, Any], Process | None]]


def _work(world: World, process: Process, rules: Rules) -> Iterator[Part]:
    if process.submitted < rules.jobs and len(world.jobs) - world.is_forged <= rules.jobs + 1:
        yield "submits a job", _submit
    for name, job in world.jobs.items():
        if job.owner == process.number and name not in world.released and not world.rows[job.owner].is_doomed:
            yield f"releases {name}", _releasing(name)
    yield "returns", _ending("success")
    for waits in (True, False):
        yield f"fails{'' if waits else ', and its cancel is slow'}", _ending("fail", waits=waits)
    if not world.has_deferred:
        yield "defers", _ending("defer")


def _submit(world: World, process: Process, guard: Any) -> Process:
    try:
        guard.parts.recorder.label(None)
        token = guard.parts.recorder.intend(CLIENT, None, (), is_labelled=True)
    except SubmissionRefused as refused:
        return _end(world, process, guard, refused, "fail")
    if not process.has_supervisor:
        world.set_row(process.number, was_orphaned=True)  # its sentinel may be done already
    return process._replace(phase="sent", token=token, pending="", submitted=process.submitted + 1)


def _releasing(id: str) -> Callable[[World, Process, Any], Process]:
    def release(world: World, process: Process, guard: Any) -> Process:
        world.released |= {id}
        guard.parts.recorder.release(RemoteJob(address(id)))
        return process

    return release


def _sent(process: Process) -> Iterator[Part]:
    if not process.pending:
        yield "has its job started", carried_out(is_listed=True)
        return
    yield "is answered", _answered


def carried_out(*, is_listed: bool) -> Callable[[World, Process, Any], Process]:
    def carry_out(world: World, process: Process, guard: Any) -> Process:
        name = f"j{len(world.jobs)}"
        if not process.has_supervisor and all(each.phase == "done" for each in _sentinels(world, process)):
            world.set_row(process.number, was_orphaned=True)
        world.jobs[name] = Job(process.number, guard.parts.tries.go_on, is_listed)
        return process._replace(pending=name)

    return carry_out


def _sentinels(world: World, process: Process) -> list[Sentinel]:
    return [each for each in world.sentinels if each.number == process.number]


def _answered(world: World, process: Process, guard: Any) -> Process:
    try:
        guard.parts.recorder.started(process.token, [(None, process.pending)])
    except Killed as killed:
        return _end(world, process, guard, killed, "fail")
    return process._replace(phase="work", token="")


def unanswered(_: World, process: Process, guard: Any) -> Process:
    guard.parts.recorder.lost(process.token)
    guard.parts.recorder.closed(process.token)
    return process._replace(phase="work", token="")


def repeated(_: World, process: Process, guard: Any) -> Process:
    """The first answer is lost, and botocore sends the request again."""
    guard.parts.recorder.lost(process.token)
    return process._replace(pending="")


def _ending(outcome: str, *, waits: bool = True) -> Callable[[World, Process, Any], Process]:
    def end(world: World, process: Process, guard: Any) -> Process:
        errors = {"success": None, "fail": ValueError("failed"), "defer": TaskDeferred()}
        return _end(world, process, guard, errors[outcome], outcome, waits=waits)

    return end


def _end(
    world: World,
    process: Process,
    guard: Any,
    error: BaseException | None,
    outcome: str,
    *,
    waits: bool = True,
) -> Process:
    def execute() -> None:
        if error is not None:
            raise error

    if outcome == "fail":
        world.set_row(process.number, has_failed=True)
    side = guard.parts.canceller._sentinel
    side.waits = waits
    try:
        guard.run(execute)
    except Killed:
        outcome = "fail"
    except BaseException as raised:
        if raised is not error:
            raise
    finally:
        side.waits = True
    trigger = error.trigger if isinstance(error, TaskDeferred) else None
    record = json.dumps(trigger.record) if isinstance(trigger, GuardTrigger) else None
    if outcome == "success":
        world.set_row(process.number, has_returned=True)
    if outcome == "defer" and not process.has_supervisor:
        world.set_row(process.number, was_orphaned=True)
    return process._replace(phase="done", outcome=outcome, trigger=record, token="")


def _sigterm(world: World, process: Process, guard: Any) -> Process:
    process = process._replace(sigterm="done")
    try:
        guard.on_kill(lambda: None)
    except Killed as killed:
        if process.phase == "done":
            return process._replace(outcome="fail")
        return _end(world, process, guard, killed, "fail")
    return process


def _report(world: World, slot: str) -> None:
    """Tell Airflow how the try has ended; where another was decided meanwhile, it refuses that."""
    process = getattr(world, slot)
    if not is_wanted(world, process):
        if process.outcome == "defer":  # nobody asks
            world.set_row(process.number, was_orphaned=True)
    elif process.outcome == "fail":
        failed(world)
    elif process.outcome == "success":
        world.set_row(state="success")
    else:
        world.set_row(state="deferred")
        world.has_deferred = True
        if process.trigger is not None:
            world.triggers += (Trigger(process.number, process.trigger),)
    setattr(world, slot, process._replace(phase="reported"))


def failed(world: World) -> None:
    """A try has failed; if there are more, the next takes its place at once, with another id."""
    if world.number < world.max_tries:
        world.set_row(state="failed", is_archived=True)
        world.rows += (Row("up_for_retry"),)
    else:
        world.set_row(state="failed")


def _listener(world: World, process: Process, guard: Any) -> None:
    if process.outcome == "success":
        guard.ti.state = "success"
        guard.succeeded()
    elif process.outcome == "fail":
        guard.ti.state = "up_for_retry" if process.number < world.number else "failed"
        guard.failed()
    else:
        guard.ti.state = "deferred"
    guard.stops()


def _told_to_end(slot: str) -> Callable[[World], None]:
    def tell(world: World) -> None:
        process = getattr(world, slot)
        setattr(world, slot, process._replace(sigterm="due"))
        world.set_row(process.number, is_told=True)

    return tell


def killed(slot: str) -> Callable[[World], None]:
    def kill(world: World) -> None:
        process = getattr(world, slot)
        number, is_told = process.number, process.sigterm == "done"
        # What a request that was repeated has started, after the sentinel has seen the others end.
        is_late = process.phase == "sent" and all(each.phase == "done" for each in _sentinels(world, process))
        gone(world, slot)
        # docs/guarantees.rst: before Airflow has noted a deferral, or after it was resumed, only the reaper
        # sees it. What was told to end has seen to its jobs itself.
        is_noted = process.outcome != "defer" or not (is_wanted(world, process) or world.is_deleted)
        if is_late or not is_noted or (process.is_resumed and not is_told):
            world.set_row(number, was_orphaned=True)

    return kill
