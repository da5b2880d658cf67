"""The package's own objects in a world: put into its state, used, and read again.

What decides is the package's: ledger, record, guard, canceller, watch of the sentinel, engine, standing of a
deferred try, what the API server does with a mark, the reaper's judge. What is told anew is what connects
them: Airflow, the processes and the service.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, lru_cache
from itertools import count
from types import SimpleNamespace
from typing import Any, Self
from unittest import mock
from uuid import UUID

from airflow_cancel_provider import cancellation
from airflow_cancel_provider.engine import cancel as engine_cancel
from airflow_cancel_provider.engine import label_search
from airflow_cancel_provider.engine.recorded import CancelRequest, cancel_over_connections, cancel_requests
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.guard import (
    cancel_loop,
    canceller,
    client_pool,
    inherited,
    recorder,
    releases,
    task,
)
from airflow_cancel_provider.guard.events import TryLedger
from airflow_cancel_provider.guard.sentinel import main
from airflow_cancel_provider.guard.sentinel.client import Sentinel as SentinelClient
from airflow_cancel_provider.guard.sentinel.notes import event_of
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.hooks import variables
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.plugin import api_server
from airflow_cancel_provider.reaper.backends.base import Airflow, OwnerState, Presence, TryAnswer
from airflow_cancel_provider.reaper.judge import DecisionKind, Judge
from airflow_cancel_provider.record import TryRecord
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.triggers import ownership
from airflow_cancel_provider.triggers.ownership import DeferredTry, Verdict
from airflow_cancel_provider.version_compat import Variable
from tests.model.promises import may_be_cancelled
from tests.model.world import (
    CLIENT,
    CLOCK,
    CONN,
    DEPLOYMENT,
    REGION,
    STRANGER,
    TASK,
    Process,
    Sentinel,
    Trigger,
    World,
    address,
    label,
    owner,
    ti_id,
)

QUIET = logging.getLogger("tests.model")
QUIET.disabled = True
OPEN: list[World] = []
"""The world in which something happens now."""
CHANNEL = [True]
"""Whether who acts now has a supervisor, and can reach Airflow."""


class Service(JobService):
    """The service's jobs in the world."""

    name = "batch"
    scope_word = scope_pattern = None
    id_word, id_pattern = "id", re.compile(r"\w+")

    def __init__(self) -> None:
        super().__init__(conn_id=CONN, region=REGION)

    @classmethod
    def over(cls, spec: ClientSpec, patience: Any) -> Self:  # noqa: ARG003  all the same here
        return cls()

    @property
    def spec(self) -> ClientSpec:
        return CLIENT

    def describe(self, jobs: Iterable[RemoteJob]) -> list[JobStatus]:
        return [self._status(job) for job in dict.fromkeys(jobs)]

    @staticmethod
    def _status(job: RemoteJob) -> JobStatus:
        known = OPEN[0].jobs.get(job.id)
        if known is None or not known.is_listed:
            return JobStatus(job, JobState.GONE)
        state = JobState.CANCELLED if known.is_asked else JobState.RUNNING
        return JobStatus(job, state, label=label(known.owner, reconnects=known.reconnects))

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        return [self._cancelled(job) for job in dict.fromkeys(jobs)]

    @staticmethod
    def _cancelled(job: RemoteJob) -> CancelResult:
        world = OPEN[0]
        known = world.jobs.get(job.id)
        if known is None:
            return CancelResult(job, CancelOutcome.GONE)
        if known.is_asked:
            return CancelResult(job, CancelOutcome.ALREADY_ENDED)
        if wrong := may_be_cancelled(world, job.id):
            world.wrongs += (f"{job.id} was asked to end: {wrong}",)
        if world.cancels_lost:
            world.cancels_lost -= 1
            return CancelResult(job, CancelOutcome.UNANSWERED, "lost")
        world.jobs[job.id] = known._replace(is_asked=True)
        return CancelResult(job, CancelOutcome.REQUESTED)

    def scopes(self) -> Iterator[str]:
        yield "queue"

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        for name in OPEN[0].jobs:
            if not (status := self._status(address(name))).state.is_terminal:
                yield status


SERVICE = Service()


class Ti:
    """A task instance, as the SDK shows it in the task's process."""

    dag_id, run_id, task_id, map_index = TASK.dag_id, TASK.run_id, TASK.task_id, -1
    start_date = None

    def __init__(self, number: int, max_tries: int, *, is_resumed: bool) -> None:
        self.id, self.try_number, self.max_tries = ti_id(number), number + 1, max_tries
        self.state = "running"
        self.task = SimpleNamespace(log=QUIET, execution_timeout=None)
        self._ti_context_from_server = SimpleNamespace(
            next_method="execute_complete" if is_resumed else None, task_reschedule_count=0
        )

    def xcom_push(self, key: str, value: Any) -> None:
        lose_a_write()
        OPEN[0].xcom = json.dumps(value)

    def xcom_pull(self, **_: Any) -> Any:
        reach_airflow()
        return stored(OPEN[0].xcom)

    def get_template_context(self) -> dict[str, Any]:
        return {"task_state_store": StateStore()}


class StateStore:
    """Airflow's task state store."""

    def get(self, key: str) -> Any:
        reach_airflow()
        return stored(OPEN[0].stored)

    def set(self, key: str, value: Any) -> None:
        reach_airflow()
        OPEN[0].stored = json.dumps(value)

    def delete(self, key: str) -> None:
        reach_airflow()
        OPEN[0].stored = None


def stored(text: str | None) -> Any:
    return json.loads(text) if text is not None else None


def reach_airflow() -> None:
    if not CHANNEL[0]:
        raise AirflowUnavailable("The supervisor is gone.")


def lose_a_write() -> None:
    reach_airflow()
    if OPEN[0].is_write_lost:
        OPEN[0].is_write_lost = False
        raise OSError("Airflow does not answer.")


class TaskSide(SentinelClient):
    """The task's side of the channel; the sentinel is in the world."""

    waits = True
    """Whether the sentinel gets its work done while the task waits for it."""

    def _start(self) -> bool:
        if self._socket is not None:
            return False
        world = OPEN[0]
        self._socket, self.at = SimpleNamespace(), len(world.sentinels)  # type: ignore[assignment]
        world.sentinels += (Sentinel(self.number),)
        for message in hello(self._is_armed):
            self._send(message)
        for event in self._history():
            self._tell(event)
        return True

    number: int
    at: int

    def _send(self, message: bytes) -> bool:
        if self._socket is None:
            return False
        sentinel = OPEN[0].sentinels[self.at]
        if not sentinel.is_alive or sentinel.phase == "done":
            return False
        change(self.at, inbox=(*sentinel.inbox, message))
        return True

    @property
    def can_act(self) -> bool:
        sentinel = OPEN[0].sentinels[self.at] if self._socket is not None else None
        return bool(sentinel and sentinel.is_alive and sentinel.phase != "done" and self.is_usable)

    def check(self, seconds: float) -> None:
        pass

    def relay(self) -> None:
        pass

    def done(self) -> None:
        self._send(main.DONE)
        self._is_gone = True

    def wait_for(self, word: str, seconds: float) -> bool:
        for _ in range(4):
            if not (self.waits and self.can_act):
                break
            step_sentinel(OPEN[0], self.at)
        self.last_word = OPEN[0].sentinels[self.at].word if self._socket is not None else ""
        return self.last_word == "ended"


@cache
def hello(is_armed: bool) -> list[bytes]:
    """What a sentinel is told first, as the package does it."""
    client = SentinelClient(Settings(), owner(0), None, QUIET, list, is_armed=is_armed)
    return [each for each in client._introduction() if not each.startswith(main.PATHS)]


class Thread:
    """Cancels in the task's process where there is no sentinel."""

    def __init__(self, ledger: TryLedger, number: int) -> None:
        self.is_started = False
        self.ends: dict[RemoteJob, Any] = {}
        self._ledger, self._number = ledger, number

    def killed(self, why: str) -> None:
        self.cancel(why)

    def cancel(self, why: str) -> None:
        self.is_started = True
        run_loop(self._ledger, self._number)

    def wait_for(self, word: str, seconds: float) -> bool:
        return run_loop(self._ledger, self._number) == "ended"


@cache
def guard_of(number: int, is_resumed: bool, goes_on: bool, max_tries: int) -> Any:
    """The guard of a try, once for all worlds."""
    settings = Settings(deployment=DEPLOYMENT, on_retry="keep" if goes_on else "cancel")
    with mock.patch.multiple(task, log_file_of=str, _log_file=str):
        guard: Any = TaskGuard(Ti(number, max_tries, is_resumed=is_resumed), settings)
    is_armed = not guard.tries.is_followed
    side = TaskSide(settings, guard.owner, None, QUIET, guard.ledger.history, is_armed=is_armed)
    side.number = number
    side._clients = SimpleNamespace(name=lambda _: "client", stop=lambda: None)  # type: ignore[assignment]
    guard.log = guard.store._log = guard.recorder._log = guard.canceller._log = QUIET
    guard.releases._log = QUIET
    guard.canceller._sentinel = side
    guard.canceller._new_sentinel = lambda: side
    guard.canceller._thread = Thread(guard.ledger, number)
    guard.recorder.readers = [guard.canceller.hear, guard.store.hear, guard.releases.hear]
    guard.born = freeze(guard)
    return guard


PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ledger", ("_intents", "_jobs", "_released")),
    ("recorder", ("is_killed", "is_over", "_tokens")),
    ("store", ("_written", "_changes", "_size", "state")),
    ("releases", ("_before", "_withdrawable", "_released", "_written", "_has_failed")),
    ("canceller", ("_has_news", "_is_done", "_is_told", "_is_late", "_start_again_at")),
    ("canceller._sentinel", ("_socket", "_is_gone", "last_word", "at")),
    ("canceller._thread", ("is_started",)),
    ("", ("_is_handled", "_is_left", "_is_to_end")),
)


def part(guard: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        guard = getattr(guard, name)
    return guard


def freeze(guard: Any) -> Any:
    """A guard's whole state, as values."""
    return tuple(
        tuple(_plain(getattr(part(guard, path), name, None)) for name in names) for path, names in PARTS
    )


def _plain(value: Any) -> Any:
    match value:
        case dict() if "ti_id" in value:
            return ("json", json.dumps(value))
        case dict():
            return ("dict", tuple(value.items()))
        case set():
            return ("set", tuple(sorted(value)))
        case count():
            return ("count", value.__reduce__()[1][0])
        case SimpleNamespace():
            return ("socket", True)
        case _:
            return ("", value)


def thaw(guard: Any, state: Any) -> None:
    """Put a guard into a state."""
    for (path, names), values in zip(PARTS, state, strict=True):
        for name, value in zip(names, values, strict=True):
            setattr(part(guard, path), name, _living(*value))
    guard.ledger._by_id = {}
    for job in guard.ledger._jobs:
        guard.ledger._by_id.setdefault((job.service, job.id), {})[job] = None


def _living(kind: str, value: Any) -> Any:
    match kind:
        case "json":
            return json.loads(value)
        case "dict":
            return dict(value)
        case "set":
            return set(value)
        case "count":
            return count(value)
        case "socket":
            return SimpleNamespace()
        case _:
            return value


@dataclass(frozen=True)
class Rules:
    """What is the same in all worlds of one exploration."""

    goes_on: bool = False
    max_tries: int = 0
    jobs: int = 1
    has_reaper: bool = True
    has_triggerer: bool = True


def unborn(number: int, is_resumed: bool, rules: Rules) -> Any:
    """The state of a guard at its start."""
    return guard_of(number, is_resumed, rules.goes_on, rules.max_tries).born


def guarded(process: Process, rules: Rules) -> Any:
    """The guard of a process, in its state."""
    guard = guard_of(process.number, process.is_resumed, rules.goes_on, rules.max_tries)
    thaw(guard, process.guard)
    guard.ti.state = "running"
    return guard


# The sentinel.


def change(at: int, **changes: Any) -> None:
    """Change a sentinel."""
    world = OPEN[0]
    before = world.sentinels
    if changes.get("phase") == "done" or changes.get("is_alive") is False:
        changes["inbox"] = ()  # nobody reads it any more
    world.sentinels = (*before[:at], before[at]._replace(**changes), *before[at + 1 :])


class Idle(Exception):
    """Nothing has happened."""


class _Poll:
    def __init__(self, poll: Any) -> None:
        self._poll = poll
        self.register, self.unregister, self.modify = poll.register, poll.unregister, poll.modify

    def poll(self, _: Any) -> Any:
        if not (ready := self._poll.poll(0)):
            raise Idle
        return ready


class _Watch(main.TaskWatch):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._poll: Any = _Poll(self._poll)
        self.signals: list[int] = []

    def _signal(self, number: int) -> None:
        self.signals.append(number)


@lru_cache(maxsize=200_000)
def watched(inbox: tuple[bytes, ...], task_ended: bool, supervisor_ended: bool) -> tuple[Any, ...]:
    """What the watch makes of it: why to act (empty: not yet; None: nothing is to do), and its signals."""
    with ExitStack() as stack:
        ends = iter((task_ended, supervisor_ended))

        def end_of(_: int) -> int:
            readable, other = os.pipe()
            stack.callback(os.close, readable)
            if next(ends):
                os.close(other)
            else:
                stack.callback(os.close, other)
            return readable

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        stack.enter_context(theirs)
        for message in inbox:
            ours.send(message)
        if task_ended:
            ours.close()
        else:
            stack.enter_context(ours)
        with mock.patch.object(main, "end_of", end_of):
            watch = _Watch(theirs.fileno(), 1, 2)
        try:
            return watch.watch(), tuple(watch.signals)
        except Idle:
            return b"", tuple(watch.signals)


@lru_cache(maxsize=200_000)
def ledger_of(inbox: tuple[bytes, ...]) -> TryLedger:
    """What the sentinel knows of the task's jobs."""
    ledger = TryLedger()
    for message in inbox:
        if message.startswith(main.NOTE) and "event" in (note := json.loads(message[1:])):
            ledger.apply(event_of(note, {"client": CLIENT}))
    return ledger


def step_sentinel(world: World, at: int) -> tuple[int, ...]:
    """Let a sentinel take in what has happened, and do one round; the signals that it sends to the task."""
    sentinel = world.sentinels[at]
    signals: tuple[int, ...] = ()
    if sentinel.phase == "watch":
        why, signals = watched(sentinel.inbox, sentinel.task_ended, sentinel.supervisor_ended)
        if why == b"":
            return signals
        change(at, phase="done" if why is None else "act", word="" if why else "done")
        return signals
    word = run_loop(ledger_of(sentinel.inbox), sentinel.number, is_final=sentinel.task_ended)
    if word:
        change(at, phase="done", word=word)
    return signals


def run_loop(ledger: TryLedger, number: int, *, is_final: bool = True) -> str:
    """Two rounds of the loop that cancels; its last word if nothing is left to do."""
    # A service lists within a minute what it has taken, and answers within that. So as long as one of both is
    # still to come, the loop is not late.
    is_early = any(not job.is_listed for job in OPEN[0].jobs.values()) or (
        ledger.is_submitting and not is_final
    )
    copy = TryLedger()
    copy._intents, copy._jobs = dict(ledger._intents), dict(ledger._jobs)
    copy._by_id, copy._released = {k: dict(v) for k, v in ledger._by_id.items()}, dict(ledger._released)
    with CLOCK.later(1.0 if is_early else 3600.0):
        loop = cancel_loop.CancelLoop(
            copy, QUIET, own=owner(number).label, reason="model", patience=1e9, escalate_after=1e9
        )
        loop._step()
        loop._step()
        return loop._close() if loop.engine.is_done else ""


def cancel_over(requests: Iterable[CancelRequest]) -> bool:
    """Two rounds of the cancel of what records name; whether nothing is left to do."""
    is_early = any(not job.is_listed for job in OPEN[0].jobs.values())
    with CLOCK.later(1.0 if is_early else 3600.0):
        engine = cancel_over_connections(lambda *_: SERVICE, requests, DEPLOYMENT, call_seconds=1)
        engine.step()
        engine.step()
        return engine.is_done


# The triggerer and the API server.


def standing_of(world: World, trigger: Trigger) -> tuple[Any, Trigger]:
    """How a deferred try stands, and what is remembered of it."""
    deferred = DeferredTry(TASK, ti_id(trigger.number))
    deferred.has_run, deferred.had_no_record = trigger.has_run, trigger.had_no_record
    state = "removed" if world.is_deleted else world.row.state
    try:
        standing = ownership._found(deferred, state)
    except Exception:  # noqa: BLE001  as _standing() does
        standing = ownership.UNCLEAR
    return standing, trigger._replace(has_run=deferred.has_run, had_no_record=deferred.had_no_record)


def settle_trigger(world: World, trigger: Trigger) -> bool:
    """Whether a trigger that was told to end has done what there is to do; as ``KilledTrigger``."""
    standing, _ = standing_of(world, trigger)
    if standing.verdict is not Verdict.DEAD:
        return True
    requests = [
        ownership.without_released(each)
        if each.record and each.record.ti_id != ti_id(trigger.number)
        else each
        for each in cancel_requests(TryRecord.from_json(json.loads(trigger.record)), "model", QUIET, TASK)
    ]
    return cancel_over(each.without(standing.kept, is_followed=standing.is_followed) for each in requests)


def settle_mark(world: World, number: int) -> bool:
    """Whether the API server has done what a mark asks for."""
    if world.is_deleted:
        return True
    marks = [api_server.Mark(TASK, ti_id(number), world.rows[number].state or "failed")]
    return cancel_over([request for _, request in api_server._requests(marks)])


# The reaper.


class Answers(Airflow):
    """Airflow's answers in the world."""

    def owners(self, ti_ids: Collection[UUID]) -> Mapping[UUID, OwnerState]:
        return {each: self._answer(each).owner for each in ti_ids}

    @staticmethod
    def _answer(id: UUID) -> TryAnswer:
        world = OPEN[0]
        release = release_of(id)
        number = next((n for n in range(-1, len(world.rows)) if ti_id(n) == id), None)
        if number == STRANGER:
            return TryAnswer(Presence.CURRENT, "running")
        if number is None or world.is_deleted:
            return TryAnswer(Presence.ABSENT, release=release)
        row = world.rows[number]
        state = row.state or "not started"
        if not row.is_archived:
            return TryAnswer(Presence.CURRENT, state, release=release)
        return TryAnswer(Presence.ARCHIVED, state, world.row.state or "not started", release=release)

    def releases(self, most: int) -> Mapping[str, str | None]:
        return {}

    def variable(self, key: str) -> str | None:
        return None

    def set_variable(self, key: str, value: str | None) -> None:
        raise AssertionError

    def write_ends(self, *_: Any) -> None:
        raise AssertionError


def release_of(ti: UUID) -> Release | None:
    text = dict(OPEN[0].variables).get(release_key(ti))
    return Release.parse(text) if text is not None else None


JUDGE = Judge(Answers(), DEPLOYMENT, timedelta(0), {})


def first_look() -> tuple[str, ...]:
    """Jobs that a sweep suspects."""
    found = JUDGE.decide(list(SERVICE.claims("queue")))
    return tuple(each.job.id for each in found if each.decision.kind is DecisionKind.SUSPECT)


def second_look(suspects: Collection[str]) -> None:
    """Have those cancelled that a second look finds to be orphans, too."""
    before = [each for each in JUDGE.decide(list(SERVICE.claims("queue"))) if each.job.id in suspects]
    again = JUDGE.decide_again(before, SERVICE.describe([each.job for each in before]))
    if orphans := [each.job for each in again if each.decision.kind is DecisionKind.ORPHAN]:
        SERVICE.cancel(orphans, "reaper")


# How all of them reach the world.


def _read_variable(key: str) -> str | None:
    reach_airflow()
    return dict(OPEN[0].variables).get(key)


def _set_variable(key: str, value: Any, **_: Any) -> None:
    lose_a_write()
    text = json.dumps({**value, "at": None})  # the time is all that would differ
    OPEN[0].variables = tuple(sorted({**dict(OPEN[0].variables), key: text}.items()))


def _delete_variable(key: str) -> None:
    reach_airflow()
    OPEN[0].variables = tuple(each for each in OPEN[0].variables if each[0] != key)


def _releases_of(records: Iterable[TryRecord]) -> dict[UUID, Release]:
    ids = {one.ti_id for record in records for one in (record, *record.earlier)}
    return {each: release for each in ids if (release := release_of(each))}


@contextmanager
def wired() -> Iterator[None]:
    """The package's parts in the model instead of in Airflow."""
    clocked = (cancellation, engine_cancel, label_search, cancel_loop, canceller, inherited, recorder, task)
    with ExitStack() as stack:
        for module in clocked:
            if hasattr(module, "time"):
                stack.enter_context(mock.patch.object(module, "time", CLOCK))
        replaced: list[tuple[Any, str, Any]] = [
            (client_pool, "open_service", lambda *_: SERVICE),
            (task, "open_service", lambda *_: SERVICE),
            (client_pool, "client_over", lambda *_: CLIENT),
            (inherited, "client_over", lambda *_: CLIENT),
            (inherited, "client_of", lambda _: CLIENT),
            (recorder, "client_of", lambda _: CLIENT),
            (releases, "client_of", lambda _: CLIENT),
            (variables, "read_variable", _read_variable),
            (Variable, "set", _set_variable),
            (Variable, "delete", _delete_variable),
            (ownership, "recorded", lambda _: stored(OPEN[0].xcom)),
            (api_server, "_rows", lambda _: {TASK: stored(OPEN[0].xcom)} if OPEN[0].xcom else {}),
            (api_server, "_releases", _releases_of),
            (api_server, "log", QUIET),
            (releases, "Thread", Inline),
            (releases.Releases, "_describe", _describe_at_once),
        ]
        for target, name, value in replaced:
            stack.enter_context(mock.patch.object(target, name, value))
        yield


def _describe_at_once(_: Any, clients: Mapping[RemoteJob, ClientSpec], seen: list[JobStatus]) -> None:
    seen.extend(SERVICE.describe(clients))


class Inline:
    """A thread that has done its work when it is started."""

    def __init__(self, target: Any, args: Any, **_: Any) -> None:
        self._target, self._args = target, args

    def start(self) -> None:
        self._target(*self._args)

    def join(self, _: float) -> None:
        pass
