"""Drop the answers of Airflow's supervisor that nobody waits for any more.

The exception of a signal handler may leave a request under way, and nobody to read its answer. After it:

1. Wait until no other thread sends a request or reads an answer, and take the lock of the channel. Who does
   so is seen in the frames of threads; the lock does not tell, as event loops that run no more keep it.
2. A thread of a pool that waits for the lock for such a loop gives it back when it gets it. Where such a loop
   has the lock itself, the task's code goes on with a copy of the channel, whose locks nobody has.
3. Ask one more question, and read answers up to the one with its id. Then all are read.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.thread import _WorkItem
from copy import copy
from dis import get_instructions
from functools import partial
from traceback import walk_stack
from types import BuiltinMethodType, FrameType, MethodType
from typing import Any
from uuid import UUID

from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.task_log import Log

LOOK_SECONDS, LOOK_AGAIN_SECONDS = 0.3, 0.05
"""How often it is checked whether somebody uses the channel, while its lock is taken and after."""
LOOKS = 2
"""Looks in a row by which nobody does: a thread that is about to has perhaps not begun yet."""


class LateAnswers:
    """Answers to requests that an exception of a signal handler has interrupted.

    Airflow takes the next answer for that to its next request, and does not compare their ids. After a kill
    or a time-out, a connection or a Variable could be another than the one that was asked for. Remove this
    when Airflow compares ids.

    :param may_ask: tells whether the channel to Airflow may be used here.
    """

    def __init__(self, ti_id: UUID, may_ask: Callable[[], bool], log: Log) -> None:
        self._ti_id, self._may_ask, self._log = ti_id, may_ask, log
        self.may_come = False
        """Whether a signal may have interrupted a request."""

    def drop(self) -> None:
        """Have Airflow's answers in order again. May take as long as Airflow does."""
        if not self.may_come or not self._may_ask():
            return
        self.may_come = False
        try:
            _drop(self._ti_id)
        except Exception as error:  # noqa: BLE001  reported; the jobs are cancelled all the same
            self._log.warning("Airflow's answers to this task may be mixed up: %r", error)


def _drop(ti_id: UUID) -> None:
    """Ask one more question (what the try has released), and read answers up to the one to it.

    :raises Exception: the channel is closed, or not as in the versions that are known.
    """
    task_runner: Any = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel: Any = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if not hasattr(channel, "_read_frame"):
        return  # there is none, or it has no queue (``dags test``)
    lock = getattr(channel, "_thread_lock", None) or threading.Lock()  # before Airflow 3.2 there is none
    if is_taken := _wait_for(lock, channel):
        _pass_on(lock)
    else:
        # Whoever has the old lock keeps it. From now on the task's code has a channel with another one.
        task_runner.SUPERVISOR_COMMS = _renewed(channel)
    try:
        _ask_and_read(channel, ti_id)
    finally:
        if is_taken:
            lock.release()


def _ask_and_read(channel: Any, ti_id: UUID) -> None:
    from airflow.sdk.execution_time.comms import GetVariable, _RequestFrame

    question = GetVariable(key=release_key(ti_id))
    frame = _RequestFrame(id=next(channel.id_counter), body=question.model_dump())
    channel.socket.sendall(frame.as_bytes())
    while channel._read_frame().id != frame.id:  # noqa: SLF001  there is no public way
        pass


def _wait_for(lock: threading.Lock, channel: Any) -> bool:
    """Wait until no thread uses the channel, and take its lock; False if that is abandoned.

    Nobody gives it back where an event loop was interrupted that has it, or for which a thread of its pool
    takes it, or where a signal's exception came right after it was taken.
    """
    is_taken, unused = False, 0
    while unused < LOOKS:
        if is_taken:
            time.sleep(LOOK_AGAIN_SECONDS)
        else:
            is_taken = lock.acquire(timeout=LOOK_SECONDS)
        unused = 0 if _is_used_elsewhere(channel) else unused + 1
    return is_taken


def _renewed(channel: Any) -> Any:
    """The same channel with locks that nobody holds, for an event loop that has not asked before."""
    import asyncio

    renewed = copy(channel)
    renewed._thread_lock, renewed._async_lock = threading.Lock(), asyncio.Lock()  # noqa: SLF001  as above
    if hasattr(renewed, "_loop_thread_id"):
        renewed._loop_thread_id = None  # noqa: SLF001  as above
    return renewed


def _pass_on(lock: threading.Lock) -> None:
    """Have threads of pools that wait for the lock give it back at once, if their event loop runs no more."""
    for work in _works(_frames_of_others()):
        takes_it = type(work.fn) is BuiltinMethodType and work.fn == lock.acquire
        if takes_it and not _is_awaited(work.future):
            work.future.add_done_callback(lambda _: lock.release())


def _is_awaited(future: Future[Any]) -> bool:
    """Whether an event loop that runs waits for it: what asyncio has it call knows the loop."""
    from asyncio import AbstractEventLoop

    calls = future._done_callbacks  # type: ignore[attr-defined]  # noqa: SLF001  there is no public way
    cells = [cell.cell_contents for call in calls for cell in getattr(call, "__closure__", None) or ()]
    return any(isinstance(each, AbstractEventLoop) and each.is_running() for each in cells)


def _is_used_elsewhere(channel: Any) -> bool:
    """Whether another thread sends a request, reads an answer, or is about to read one."""
    sends, reads = type(channel).send, channel._read_frame  # noqa: SLF001  as above
    frames = list(_frames_of_others())
    # No isinstance(): that evaluates proxies, as those of a task's context, which ask Airflow.
    parts = [part for work in _works(frames) if type(work.fn) is partial for part in work.fn.args]
    is_about_to = any(type(part) is MethodType and part == reads for part in parts)
    waits_in = _line_of_lock(sends)
    is_sent = any(frame.f_code is sends.__code__ and frame.f_lineno > waits_in for frame in frames)
    return is_about_to or is_sent or any(frame.f_code is reads.__code__ for frame in frames)


def _line_of_lock(sends: Any) -> int:
    """In which line it waits for the lock of the channel; 0 before Airflow 3.2."""
    lines = (each.positions for each in get_instructions(sends) if each.argval == "_thread_lock")
    return next((line.lineno for line in lines if line and line.lineno), 0)


def _works(frames: Iterable[FrameType]) -> Iterator[_WorkItem[Any]]:
    """What threads of pools are doing."""
    return (frame.f_locals["self"] for frame in frames if frame.f_code is _WorkItem.run.__code__)


def _frames_of_others() -> Iterator[FrameType]:
    """The frames of all other threads."""
    tops = sys._current_frames()  # noqa: SLF001  its documented name
    del tops[threading.get_ident()]
    return (frame for top in tops.values() for frame, _ in walk_stack(top))
