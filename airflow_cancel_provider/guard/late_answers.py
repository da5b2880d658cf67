"""Drop the answers of Airflow's supervisor that nobody waits for any more."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.thread import _WorkItem
from contextlib import contextmanager, suppress
from dis import get_instructions
from functools import partial
from traceback import walk_stack
from types import BuiltinMethodType, CoroutineType, FrameType, MethodType
from typing import Any
from uuid import UUID
from weakref import WeakSet

from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.task_log import Log

TRIED_SECONDS = 1.0
"""How often it is checked whether a coroutine has lost its loop while the channel is in use."""


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
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel: Any = getattr(task_runner, "SUPERVISOR_COMMS", None)
    if not hasattr(channel, "_read_frame"):
        return  # there is none, or it has no queue (``dags test``)
    from airflow.sdk.execution_time.comms import GetVariable, _RequestFrame

    question = GetVariable(key=release_key(ti_id))
    frame = _RequestFrame(id=next(channel.id_counter), body=question.model_dump())
    with _taken(channel):
        # A thread of a loop's pool may still wait for an answer: it would take that of the question.
        while _is_read_elsewhere(channel):
            time.sleep(0.05)
        channel.socket.sendall(frame.as_bytes())
        while channel._read_frame().id != frame.id:  # noqa: SLF001  there is no public way
            pass


@contextmanager
def _taken(channel: Any) -> Iterator[None]:
    """Hold the lock of the channel, if it has one. Those that nobody goes on with let it go."""
    lock = getattr(channel, "_thread_lock", None)
    if lock is None:
        yield
        return
    _end_abandoned(channel)
    is_held = True
    while not lock.acquire(timeout=TRIED_SECONDS):
        was_held, is_held = is_held, _end_abandoned(channel) or _is_used_elsewhere(channel)
        # Whoever has just got it may not have gone on yet.
        if not (was_held or is_held):
            with suppress(RuntimeError):
                lock.release()
    try:
        yield
    finally:
        lock.release()


def _end_abandoned(channel: Any) -> bool:
    """End what event loops that were interrupted, and run no more, have begun with the channel.

    A loop may live on, as Airflow's own does, or be in the traceback of a time-out: both keep its coroutine.
    What it has given to a thread of its pool goes on also without it: that takes the lock, for nobody.

    :return: whether a coroutine of a loop that runs uses the channel.
    """
    if getattr(channel, "_loop_thread_id", 0) is None:
        return False  # no loop has used it
    # No isinstance(): that evaluates proxies, as those of a task's context, which ask Airflow.
    objects = gc.get_objects()
    asking = [each for each in objects if type(each) is CoroutineType and _asks(each, channel)]
    if any(_loop_of(each).is_running() for each in asking):
        return True
    for each in asking:
        # Where the loop is closed, what waits for its turn can't be told.
        with suppress(RuntimeError):
            each.close()
    for each in objects:
        if type(each) is _WorkItem and _takes(each, channel):
            _pass_on(each.future, channel._thread_lock)  # noqa: SLF001  as above
        elif type(each) is _WorkItem and _reads(each, channel):
            each.future.cancel()
    return False


def _asks(coroutine: CoroutineType[Any, Any, Any], channel: Any) -> bool:
    """Whether a coroutine uses the channel; not yet one that waits for its turn."""
    if coroutine.cr_code is not type(channel).asend.__code__ or coroutine.cr_frame is None:
        return False
    return coroutine.cr_frame.f_locals["self"] is channel and _loop_of(coroutine) is not None


def _loop_of(coroutine: CoroutineType[Any, Any, Any]) -> Any:
    return coroutine.cr_frame.f_locals.get("loop") if coroutine.cr_frame else None


def _takes(work: _WorkItem[Any], channel: Any) -> bool:
    """Whether a thread of a loop's pool is to take the channel's lock."""
    return type(work.fn) is BuiltinMethodType and work.fn == channel._thread_lock.acquire  # noqa: SLF001  as above


def _reads(work: _WorkItem[Any], channel: Any) -> bool:
    """Whether a thread of a loop's pool is to read an answer."""
    parts = work.fn.args if type(work.fn) is partial else ()
    return any(type(each) is MethodType and each == channel._read_frame for each in parts)  # noqa: SLF001  as above


def _pass_on(taking: Future[Any], lock: threading.Lock) -> None:
    """Have a lock that a thread of a pool takes for nobody released at once."""
    if not (taking.done() or taking.cancel() or taking in _passed_on):
        _passed_on.add(taking)
        taking.add_done_callback(lambda _: lock.release())


_passed_on: WeakSet[Future[Any]] = WeakSet()


def _is_used_elsewhere(channel: Any) -> bool:
    """Whether another thread has the lock: it has asked, or reads an answer."""
    asks = type(channel).send
    names_lock = next(each for each in get_instructions(asks) if each.argval == "_thread_lock")
    waits_in = names_lock.positions.lineno if names_lock.positions else None

    def is_asking(frame: FrameType) -> bool:
        return frame.f_code is asks.__code__ and frame.f_lineno != waits_in

    return _is_any_frame(is_asking) or _is_read_elsewhere(channel)


def _is_read_elsewhere(channel: Any) -> bool:
    """Whether another thread reads an answer, or is about to."""
    reads, runs = type(channel)._read_frame.__code__, _WorkItem.run.__code__  # noqa: SLF001  as above

    def is_reading(frame: FrameType) -> bool:
        work = frame.f_locals.get("self") if frame.f_code is runs else None
        return frame.f_code is reads or (work is not None and _reads(work, channel))

    return _is_any_frame(is_reading)


def _is_any_frame(is_so: Callable[[FrameType], bool]) -> bool:
    """Whether another thread runs a frame that is so."""
    frames = sys._current_frames()  # noqa: SLF001  its documented name
    del frames[threading.get_ident()]
    return any(is_so(frame) for top in frames.values() for frame, _ in walk_stack(top))
