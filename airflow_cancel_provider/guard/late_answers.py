"""Drop the answers of Airflow's supervisor that nobody waits for any more."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import CoroutineType, FrameType
from typing import Any
from uuid import UUID

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
    """Hold the lock of the channel, if it has one. Coroutines that nobody goes on with let it go."""
    lock = getattr(channel, "_thread_lock", None)
    if lock is None:
        yield
        return
    _end_abandoned(channel)
    while not lock.acquire(timeout=TRIED_SECONDS):
        _end_abandoned(channel)
    try:
        yield
    finally:
        lock.release()


def _end_abandoned(channel: Any) -> None:
    """End the coroutine that holds the channel in an event loop that was interrupted, and runs no more.

    The loop may live on, as Airflow's own does, or be in the traceback of a time-out: both keep it.
    """
    if not channel._async_lock.locked():  # noqa: SLF001  as above
        return
    code = type(channel).asend.__code__
    for each in gc.get_objects():
        if isinstance(each, CoroutineType) and each.cr_code is code and each.cr_frame is not None:
            variables = each.cr_frame.f_locals
            loop = variables.get("loop")  # not yet in one that waits for its turn
            if variables["self"] is channel and loop is not None and not loop.is_running():
                taking = _taking(each.cr_await)
                # Where the loop is closed, what waits for its turn can't be told.
                with suppress(RuntimeError):
                    each.close()
                if taking is not None and not taking.cancel():
                    taking.result()
                    channel._thread_lock.release()  # noqa: SLF001  as above


def _taking(awaited: Any) -> Future[Any] | None:
    """What a thread of the loop's pool does for a coroutine that awaits it: it takes the channel's lock.

    Nobody would release that. Asyncio keeps it in a callback of its own future; None where the coroutine has
    the lock already.
    """
    for waiting in gc.get_referents(awaited):
        for callback, _ in getattr(waiting, "_callbacks", None) or ():
            for cell in getattr(callback, "__closure__", None) or ():
                if isinstance(cell.cell_contents, Future):
                    return cell.cell_contents
    return None


def _is_read_elsewhere(channel: Any) -> bool:
    """Whether another thread waits for an answer."""
    here, reads = threading.get_ident(), type(channel)._read_frame.__code__  # noqa: SLF001  as above

    def is_reading(frame: FrameType | None) -> bool:
        while frame is not None and frame.f_code is not reads:
            frame = frame.f_back
        return frame is not None

    frames = sys._current_frames()  # noqa: SLF001  its documented name
    return any(is_reading(frame) for thread, frame in frames.items() if thread != here)
