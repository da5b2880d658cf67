"""The sentinel and the loop that cancels: what they do with what the task has sent."""

from __future__ import annotations

import json
import os
import socket
from contextlib import ExitStack
from functools import lru_cache
from typing import Any
from unittest import mock

from airflow_cancel_provider.guard import (
    cancel_loop,
)
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel import main
from airflow_cancel_provider.guard.sentinel.notes import event_of
from tests.model.open_world import OPEN, QUIET
from tests.model.world import (
    CLIENT,
    CLOCK,
    World,
    owner,
)


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
        any(intent.is_under_way for intent in ledger.intents) and not is_final
    )
    copy = TryLedger()
    copy._intents, copy._jobs = dict(ledger._intents), dict(ledger._jobs)
    copy._by_id, copy._released = {k: dict(v) for k, v in ledger._by_id.items()}, dict(ledger._released)
    copy._has_unknown_releases = ledger._has_unknown_releases
    with CLOCK.later(1.0 if is_early else 3600.0):
        loop = cancel_loop.CancelLoop(
            copy, QUIET, own=owner(number).label, reason="model", patience=1e9, escalate_after=1e9
        )
        loop._step()
        loop._step()
        return loop._close() if loop.engine.is_done else ""
