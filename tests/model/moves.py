"""What can happen next in a world."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.triggers.ownership import _AT_WORK, _OVER, Verdict
from tests.model import actors
from tests.model.actors import Rules, change, freeze, guarded, step_sentinel
from tests.model.world import CLIENT, STRANGER, Job, Process, Row, Trigger, World, address, ti_id

Move = tuple[str, Callable[[World], None]]
MOST_TRIES = 3


class TaskDeferred(BaseException):
    """As Airflow's, which the guard knows by its name."""

    def __init__(self) -> None:
        self.trigger: Any = SimpleNamespace(serialize=lambda: ("an.operators.Trigger", {}))
        self.timeout = None


def moves(world: World, rules: Rules) -> Iterator[Move]:
    """Everything that can happen next, with its name."""
    for slot in ("process", "stale"):
        if process := getattr(world, slot):
            yield from _process_moves(world, slot, process, rules)
    yield from _airflow_moves(world, rules)
    yield from _other_moves(world, rules)
    if world.faults > 0:
        for name, happen in _faults(world, rules):
            yield f"FAULT {name}", _costing(happen)


def _costing(happen: Callable[[World], None]) -> Callable[[World], None]:
    def costly(world: World) -> None:
        world.faults -= 1
        happen(world)

    return costly


# A task's process.


def _process_moves(world: World, slot: str, process: Process, rules: Rules) -> Iterator[Move]:
    who = f"try {process.number + 1}"

    def move(name: str, what: Callable[[World, Process, Any], Process | None]) -> Move:
        def happen(world: World) -> None:
            process = getattr(world, slot)
            guard = guarded(process, rules)
            actors.CHANNEL[0] = process.has_supervisor
            after = what(world, process, guard)
            actors.CHANNEL[0] = True
            if after is None:
                _gone(world, slot)
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
    if process.has_supervisor and not _is_wanted(world, process) and process.phase != "reported":
        if not process.sigterm:
            yield f"{who} is told to end", _told_to_end(slot)
        if process.sigterm == "done" or process.phase == "begin":
            yield f"{who} is killed by its supervisor", _killed(slot)
    if not process.has_supervisor:
        yield f"{who} is killed by its sentinel", lambda w: _gone(w, slot)


def _is_wanted(world: World, process: Process) -> bool:
    return process.number == world.number and not world.is_deleted and world.row.state == "running"


def _gone(world: World, slot: str) -> None:
    """The process has ended."""
    process = getattr(world, slot)
    setattr(world, slot, None)
    row = world.rows[process.number]
    if process.outcome not in ("success", "defer") or row.state == "running":
        world.set_row(process.number, is_doomed=True)
    for at, sentinel in enumerate(world.sentinels):
        if sentinel.number == process.number and sentinel.phase != "done":
            change(at, task_ended=True)


def _begin(_: World, process: Process, guard: Any) -> Process | None:
    if not process.has_supervisor:
        return None
    guard._take_over_or_cancel()
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
        guard.recorder.label(None)
        token = guard.recorder.intend(CLIENT, None, (), is_labelled=True)
    except SubmissionRefused as refused:
        return _end(world, process, guard, refused, "fail")
    if not process.has_supervisor:
        world.set_row(process.number, was_orphaned=True)  # its sentinel may be done already
    return process._replace(phase="sent", token=token, pending="", submitted=process.submitted + 1)


def _releasing(id: str) -> Callable[[World, Process, Any], Process]:
    def release(world: World, process: Process, guard: Any) -> Process:
        world.released |= {id}
        guard.recorder.release(RemoteJob(address(id)))
        return process

    return release


def _sent(process: Process) -> Iterator[Part]:
    if not process.pending:
        yield "has its job started", _carried_out(is_listed=True)
        return
    yield "is answered", _answered


def _carried_out(*, is_listed: bool) -> Callable[[World, Process, Any], Process]:
    def carry_out(world: World, process: Process, guard: Any) -> Process:
        name = f"j{len(world.jobs)}"
        world.jobs[name] = Job(process.number, guard.tries.go_on, is_listed)
        return process._replace(pending=name)

    return carry_out


def _answered(world: World, process: Process, guard: Any) -> Process:
    try:
        guard.recorder.started(process.token, [(None, process.pending)])
    except Killed as killed:
        return _end(world, process, guard, killed, "fail")
    return process._replace(phase="work", token="")


def _unanswered(_: World, process: Process, guard: Any) -> Process:
    guard.recorder.lost(process.token)
    guard.recorder.closed(process.token)
    return process._replace(phase="work", token="")


def _repeated(_: World, process: Process, guard: Any) -> Process:
    """The first answer is lost, and botocore sends the request again."""
    guard.recorder.lost(process.token)
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
    side = guard.canceller._sentinel
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
    """Tell Airflow how the try has ended; where another was decided meanwhile, the process is killed."""
    process = getattr(world, slot)
    if not _is_wanted(world, process):
        _gone(world, slot)
        return
    if process.outcome == "fail":
        _failed(world)
    elif process.outcome == "success":
        world.set_row(state="success")
    else:
        world.set_row(state="deferred")
        world.has_deferred = True
        if process.trigger is not None:
            world.triggers += (Trigger(process.number, process.trigger),)
    setattr(world, slot, process._replace(phase="reported"))


def _failed(world: World) -> None:
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


# Airflow.


def _airflow_moves(world: World, rules: Rules) -> Iterator[Move]:
    if world.is_deleted:
        return
    if world.row.state == "queued" and world.process is None:
        yield "Airflow starts the task", lambda world: _start(world, rules)
    if world.row.state == "up_for_retry":
        yield "Airflow schedules the next try", lambda world: world.set_row(state="queued")
    if world.row.state in ("running", "restarting") and world.process is None:
        yield "Airflow sees that the process is gone", _noticed
    if world.process and not world.process.has_supervisor and world.row.state == "running":
        yield "Airflow misses the heartbeats", _noticed


def _start(world: World, rules: Rules) -> None:
    is_resumed, world.resumes = bool(world.resumes), ""
    if not is_resumed:
        world.xcom = None
    world.set_row(state="running")
    guard = actors.unborn(world.number, is_resumed, rules)
    world.process = Process(world.number, is_resumed, "begin", guard, submitted=int(is_resumed))


def _noticed(world: World) -> None:
    world.set_row(is_doomed=True)
    if world.process is not None:
        world.stale, world.process = world.process, None
    if world.row.state == "restarting":
        _replaced(world)
    else:
        _failed(world)


def _replaced(world: World) -> None:
    world.set_row(is_archived=True)
    world.rows += (Row("queued"),)
    world.resumes = ""


# Sentinels, triggers, marks, the reaper, the service.


def _other_moves(world: World, rules: Rules) -> Iterator[Move]:
    for at, sentinel in enumerate(world.sentinels):
        if sentinel.is_alive and sentinel.phase != "done":
            yield f"sentinel of try {sentinel.number + 1} acts", _sentinel(at)
    for at, trigger in enumerate(world.triggers):
        if rules.has_triggerer:
            yield from _trigger_moves(world, at, trigger)
    for number in world.marks:
        if world.process and world.process.number == number:
            continue  # it waits ten seconds; a task that runs is told to end at its next heartbeat
        yield "API server sees to a mark", _mark(number)
    yield from _service_moves(world)
    if rules.has_reaper:
        yield "reaper looks", lambda world: setattr(world, "suspects", actors.first_look())
        if world.suspects:
            yield "reaper looks again", _second_look


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
                        _gone(world, slot)
                    elif not process.sigterm:
                        setattr(world, slot, process._replace(sigterm="due"))

    return act


def _trigger_moves(world: World, at: int, trigger: Trigger) -> Iterator[Move]:
    is_deferred = trigger.number == world.number and world.row.state == "deferred" and not world.is_deleted
    if trigger.phase == "run":
        yield ("trigger fires", _fired(at)) if is_deferred else ("trigger is told to end", _told(at))
    else:
        yield "triggerer sees to a kill", _settle(at)


def _without(world: World, at: int, *new: Trigger) -> None:
    world.triggers = (*world.triggers[:at], *new, *world.triggers[at + 1 :])


def _fired(at: int) -> Callable[[World], None]:
    def fire(world: World) -> None:
        _without(world, at)
        world.set_row(state="queued")
        world.resumes = "event"

    return fire


def _told(at: int) -> Callable[[World], None]:
    return lambda world: _without(world, at, world.triggers[at]._replace(phase="killed"))


def _settle(at: int) -> Callable[[World], None]:
    def settle(world: World) -> None:
        trigger = world.triggers[at]
        state = "removed" if world.is_deleted else world.row.state
        if trigger.phase != "killed" and state not in _OVER | _AT_WORK | {"deferred"}:
            return
        standing, after = actors.standing_of(world, trigger)
        if standing.verdict is Verdict.UNCLEAR:
            _without(world, at, after._replace(phase="ask"))
        elif actors.settle_trigger(world, trigger):
            _without(world, at)

    return settle


def _mark(number: int) -> Callable[[World], None]:
    def see_to(world: World) -> None:
        if actors.settle_mark(world, number):
            world.marks = tuple(each for each in world.marks if each != number)

    return see_to


def _listed(id: str) -> Callable[[World], None]:
    return lambda world: world.jobs.__setitem__(id, world.jobs[id]._replace(is_listed=True))


def _second_look(world: World) -> None:
    suspects, world.suspects = world.suspects, ()
    actors.second_look(suspects)


# What goes wrong, and what people do.


def _faults(world: World, rules: Rules) -> Iterator[Move]:
    yield from _crashes(world, rules)
    yield from _people(world)
    yield from _losses(world, rules)


def _crashes(world: World, rules: Rules) -> Iterator[Move]:
    process = world.process
    if process is not None:
        yield "SIGKILL of the task", _killed("process")
        if process.phase in ("work", "sent", "done") and not process.sigterm:
            yield "SIGTERM to the task", _terminated
        if process.has_supervisor:
            yield "SIGKILL of the supervisor", _unsupervised
        if rules.has_reaper:
            yield "the host is lost", _host_lost
            yield "Airflow gives up a task that lives", _noticed
    for at, sentinel in enumerate(world.sentinels):
        if sentinel.is_alive and sentinel.phase != "done" and rules.has_reaper:
            yield "SIGKILL of the sentinel", _sentinel_killed(at)
    for at, trigger in enumerate(world.triggers):
        if trigger.phase == "run":
            yield "the trigger moves to another triggerer", _moved(at)
        elif rules.has_reaper:
            yield "the triggerer restarts", _forgotten(at)


def _told_to_end(slot: str) -> Callable[[World], None]:
    def tell(world: World) -> None:
        process = getattr(world, slot)
        setattr(world, slot, process._replace(sigterm="due"))
        world.set_row(process.number, is_told=True)

    return tell


def _killed(slot: str) -> Callable[[World], None]:
    def kill(world: World) -> None:
        process = getattr(world, slot)
        number, is_told = process.number, process.sigterm == "done"
        _gone(world, slot)
        # docs/guarantees.rst: before Airflow has noted a deferral, or after it was resumed, only the reaper
        # sees it. What was told to end has seen to its jobs itself.
        is_noted = process.outcome != "defer" or not _is_wanted(world, process)
        if not is_noted or (process.is_resumed and not is_told):
            world.set_row(number, was_orphaned=True)

    return kill


def _sentinel_killed(at: int) -> Callable[[World], None]:
    return lambda _: change(at, is_alive=False)


def _forgotten(at: int) -> Callable[[World], None]:
    return lambda world: _without(world, at)


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
    _gone(world, "process")
    world.set_row(number, was_orphaned=True)
    for at, sentinel in enumerate(world.sentinels):
        if sentinel.number == number:
            change(at, is_alive=False)


def _moved(at: int) -> Callable[[World], None]:
    """The old triggerer is told as if the task was over; the new one has the trigger, too."""

    def move(world: World) -> None:
        trigger = world.triggers[at]
        _without(world, at, trigger, trigger._replace(phase="killed"))

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


def _doomed(world: World) -> None:
    is_over = world.row.state in ("success", "failed")
    has_no_process = world.row.state in ("queued", "up_for_retry")
    world.set_row(
        is_doomed=True, is_told=not is_over, was_orphaned=world.row.was_orphaned or (has_no_process)
    )


def _marked(state: str) -> Callable[[World], None]:
    def mark(world: World) -> None:
        _doomed(world)
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
    _replaced(world)


def _deleted(world: World) -> None:
    _doomed(world)
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
        yield "the answer is lost", with_guard(_unanswered)
        yield "the answer is lost, and the request repeated", with_guard(_repeated)
    else:
        yield "the request is lost", with_guard(_unanswered)
        yield "the service lists late", with_guard(_carried_out(is_listed=False))


def _forged(world: World) -> None:
    record = TryRecord.from_json(json.loads(world.xcom or ""))
    world.jobs["x"] = Job(STRANGER)
    earlier = (TryRecord(ti_id(STRANGER), TryState.DEFERRED, (address("x"),)),)
    forged = TryRecord(
        record.ti_id, record.state, (*record.jobs, address("x")), record.intents, earlier=earlier
    )
    world.xcom, world.is_forged = json.dumps(forged.as_json()), True
