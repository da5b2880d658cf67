"""The guard of a task: put into a state of the world, used, and read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count
from types import SimpleNamespace
from typing import Any
from unittest import mock

from airflow_cancel_provider.guard import parts
from airflow_cancel_provider.guard.forks import SharedFlag
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel import main
from airflow_cancel_provider.guard.sentinel.client import Sentinel as SentinelClient
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.settings import Settings
from tests.model.open_world import OPEN, QUIET, Ti
from tests.model.sentinels import change, run_loop, step_sentinel
from tests.model.world import (
    DEPLOYMENT,
    Process,
    Sentinel,
    owner,
)


class TaskSide(SentinelClient):
    """The task's side of the channel; the sentinel is in the world."""

    waits = True
    """Whether the sentinel gets its work done while the task waits for it."""

    def _start(self) -> bool:
        if self._channel is not None:
            return False
        world = OPEN[0]
        self._channel, self.at = SimpleNamespace(), len(world.sentinels)  # type: ignore[assignment]
        world.sentinels += (Sentinel(self.number),)
        for message in hello(self._is_armed):
            self._send(message)
        for event in self._ledger.history():
            self._tell(event)
        return True

    number: int
    at: int

    def _send(self, message: bytes) -> bool:
        if self._channel is None:
            return False
        sentinel = OPEN[0].sentinels[self.at]
        if not sentinel.is_alive or sentinel.phase == "done":
            return False
        change(self.at, inbox=(*sentinel.inbox, message))
        return True

    @property
    def can_act(self) -> bool:
        sentinel = OPEN[0].sentinels[self.at] if self._channel is not None else None
        return bool(sentinel and sentinel.is_alive and sentinel.phase != "done" and self.is_usable)

    @property
    def is_stuck(self) -> bool:
        """A sentinel of the model is slow or has ended; it is never stopped."""
        return False

    @property
    def has_finished(self) -> bool:
        return bool(self.last_word)

    def check(self, seconds: float) -> None:
        pass

    def relay(self) -> None:
        pass

    def forget_words(self) -> None:
        pass

    def done(self, *, seconds: float = 0.0) -> None:
        self._send(main.DONE)
        self._is_gone = True

    def wait_for(self, word: str, seconds: float, *, relays: bool = False) -> bool:
        for _ in range(4):
            if not (self.waits and self.can_act):
                break
            step_sentinel(OPEN[0], self.at)
        self.last_word = OPEN[0].sentinels[self.at].word if self._channel is not None else ""
        return self.last_word == "ended"


@cache
def hello(is_armed: bool) -> list[bytes]:
    """What a sentinel is told first, as the package does it."""
    client = SentinelClient(Settings(), owner(0), None, QUIET, TryLedger(), is_armed=is_armed)
    return [each for each in client._introduction() if not each.startswith(main.PATHS)]


class Thread:
    """Cancels in the task's process where there is no sentinel."""

    def __init__(self, ledger: TryLedger, number: int) -> None:
        self.has_failed = False
        self.ends: dict[RemoteJob, Any] = {}
        self._ledger, self._number = ledger, number

    def cancel(self, why: str) -> None:
        run_loop(self._ledger, self._number)

    def wait_for(self, word: str, seconds: float) -> bool:
        return run_loop(self._ledger, self._number) == "ended"


@cache
def guard_of(number: int, is_resumed: bool, goes_on: bool, max_tries: int) -> Any:
    """The guard of a try, once for all worlds."""
    settings = Settings(deployment=DEPLOYMENT, on_retry="keep" if goes_on else "cancel")
    with mock.patch.multiple(parts, log_file_of=str, _log_file=str):
        guard: Any = TaskGuard(Ti(number, max_tries, is_resumed=is_resumed), settings)
    its = guard.parts
    side = TaskSide(settings, its.owner, None, QUIET, its.ledger, is_armed=not its.tries.is_followed)
    side.number = number
    side._clients = SimpleNamespace(name=lambda _: "client", stop=lambda: None)  # type: ignore[assignment]
    its.log = its.store._log = its.recorder._log = its.canceller._log = its.releases._log = QUIET
    its.canceller._sentinel = side
    its.canceller._new_sentinel = lambda: side
    its.canceller._thread = Thread(its.ledger, number)
    its.recorder.readers = [its.canceller.hear, its.store.hear, its.releases.hear]
    guard.born = freeze(guard)
    return guard


PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("parts.ledger", ("_intents", "_jobs", "_released", "_has_unknown_releases")),
    ("parts.recorder", ("is_killed", "is_failed", "is_over", "_tokens")),
    ("parts.store", ("_written", "_changes", "_size", "state", "is_closed")),
    ("parts.releases", ("_before", "_withdrawable", "_released", "_written", "_has_failed")),
    (
        "parts.canceller",
        ("_has_news", "_is_done", "is_told", "_is_late", "_is_with_thread", "_start_again_at"),
    ),
    ("parts.canceller._sentinel", ("_channel", "_is_gone", "last_word", "at")),
    ("at_end", ("care", "why_kept")),
)


class Flag(SharedFlag):
    """A flag in memory of its own: no process of the model forks."""

    def __init__(self, is_set: bool) -> None:
        self._memory = bytearray([is_set])  # type: ignore[assignment]


def part(guard: Any, path: str) -> Any:
    for name in filter(None, path.split(".")):
        guard = getattr(guard, name)
    return guard


def freeze(guard: Any) -> Any:
    """A guard's whole state, as values."""
    return tuple(
        tuple(_plain(getattr(part(guard, path), name, None)) for name in names) for path, names in PARTS
    )


def _plain(value: Any) -> tuple[str, Any]:
    plain: tuple[str, Any]
    match value:
        case dict() if "ti_id" in value:
            plain = ("json", json.dumps(value))
        case dict():
            plain = ("dict", tuple(value.items()))
        case set():
            plain = ("set", tuple(sorted(value)))
        case count():
            plain = ("count", value.__reduce__()[1][0])
        case SimpleNamespace():
            plain = ("channel", True)
        case SharedFlag():
            plain = ("flag", bool(value))
        case _:
            plain = ("", value)
    return plain


LIVING: dict[str, Callable[[Any], Any]] = {
    "json": json.loads,
    "dict": dict,
    "set": set,
    "count": count,
    "channel": lambda _: SimpleNamespace(),
    "flag": Flag,
    "": lambda value: value,
}
"""What makes a value of a guard from a plain one, by its kind."""


def thaw(guard: Any, state: Any) -> None:
    """Put a guard into a state."""
    for (path, names), values in zip(PARTS, state, strict=True):
        for name, value in zip(names, values, strict=True):
            kind, plain = value
            setattr(part(guard, path), name, LIVING[kind](plain))
    ledger = guard.parts.ledger
    ledger._by_id = {}
    for job in ledger._jobs:
        ledger._by_id.setdefault((job.service, job.id), {})[job] = None


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
