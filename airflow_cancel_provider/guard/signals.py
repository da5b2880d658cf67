"""The signals of a task: who has called ``on_kill`` after SIGTERM, and when an exception may end the task."""

from __future__ import annotations

import inspect
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_OURS = "airflow_cancel_provider.guard"
SOON = 0.01
"""Seconds until an alarm rings again. If that is ignored, or too early, too, it rings once more."""
LONGEST_WAIT = 60.0
"""Seconds for which the exception of a signal waits."""


class Interruption:
    """An exception that the handler of a signal is to raise, and that ends the task.

    It has to wait in two places. In the middle of a request to Airflow, whose answer would come later:
    Airflow takes the next answer for that to its next request, and does not compare their ids. A connection
    or a Variable could be another than the one that was asked for, and an event loop would keep the lock of
    the channel. (Remove this when Airflow reads such an answer.) And in a callback of an event loop, which
    catches what that raises, and goes on.
    """

    def __init__(self) -> None:
        self._until: float | None = None

    def must_wait(self) -> bool:
        """Whether it has to wait, where the main thread is; asked by the handler."""
        if self._until is None:
            self._until = time.monotonic() + LONGEST_WAIT
        return time.monotonic() < self._until and (_is_asking() or _is_in_callback())


def _is_asking() -> bool:
    task_runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel: Any = getattr(task_runner, "SUPERVISOR_COMMS", None)
    code = getattr(getattr(channel, "send", None), "__code__", None)
    # An event loop has it from before its request until after the answer. Before Airflow 3.2 there is none.
    lock = getattr(channel, "_async_lock", None)
    return (lock is not None and lock.locked()) or any(frame.f_code is code for frame in _stack())


def _is_in_callback() -> bool:
    """Whether an event loop runs something else than a coroutine."""
    handle = getattr(sys.modules.get("asyncio.events"), "Handle", None)
    code, called = getattr(getattr(handle, "_run", None), "__code__", None), 0
    for frame in _stack():
        if frame.f_code is code:
            return not called & inspect.CO_COROUTINE
        called = frame.f_code.co_flags
    return False


def alarm_soon(handler: Callable[[], None]) -> None:
    """Have the main thread interrupted again, soon. The alarm of a time-out does not ring any more.

    By the kernel: a thread would get its turn while the main thread waits for the next answer, and only then.
    """
    signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, SOON)


def is_called_by(task: Any) -> bool:
    """Whether a method of the task itself has called its ``on_kill``, and no handler of SIGTERM that method.

    Operators do so to clean up after an error, or at their end, or have a thread do it when it gets late.
    """
    handler = signal.getsignal(signal.SIGTERM)
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    callers = [frame for frame in _stack() if not frame.f_globals.get("__name__", "").startswith(_OURS)]
    # First: with gevent the handler runs in a greenlet, which counts as a thread of its own.
    if any(frame.f_code is code for frame in callers):
        return False
    if threading.current_thread() is not threading.main_thread():
        return True
    return bool(callers) and _first_argument(callers[0]) is task


def _stack() -> Iterator[FrameType]:
    """The frames that led here, the last one first."""
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _first_argument(frame: FrameType) -> Any:
    """Of a method: whose it is."""
    return frame.f_locals.get(frame.f_code.co_varnames[0]) if frame.f_code.co_argcount else None


@contextmanager
def timed(is_timeout: Callable[[BaseException | None], bool], *, has_limit: bool) -> Iterator[None]:
    """Have the alarm of ``execution_timeout`` ring again where its exception was ignored, and not after this.

    Airflow raises AirflowTaskTimeout in the handler of a signal, which comes once. Python runs the handler
    wherever the main thread is. In a destructor, or in the callback of a weak reference, it prints the
    exception and goes on: the task, and its remote job, would run without a limit. This is not rare: a signal
    that comes during a garbage collection is handled in the first callback that the collection calls.

    Airflow turns the alarm off when the guard has returned to it. What the guard does before must be done to
    its end: a task that has just deferred would be deferred without the guard's trigger.

    An alarm whose exception has to wait rings again: see :class:`Interruption`.

    :param is_timeout: whether an exception is Airflow's time-out.
    :param has_limit: whether the task has a limit: then the alarm is Airflow's.
    """
    before, alarm, interruption = sys.unraisablehook, signal.getsignal(signal.SIGALRM), Interruption()
    is_alarmed = has_limit and threading.current_thread() is threading.main_thread() and callable(alarm)

    def hook(ignored: Any) -> None:
        # Logs nothing: this may run in the middle of a log call. Airflow logs each time that the alarm rings.
        if is_timeout(ignored.exc_value):
            signal.setitimer(signal.ITIMER_REAL, SOON)
        else:
            before(ignored)

    def ring(number: int, frame: FrameType | None) -> None:
        if interruption.must_wait():
            signal.setitimer(signal.ITIMER_REAL, SOON)
        elif callable(alarm):
            alarm(number, frame)

    sys.unraisablehook = hook
    if is_alarmed:
        signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        sys.unraisablehook = before
        if is_alarmed:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
