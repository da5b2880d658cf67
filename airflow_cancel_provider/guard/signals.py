"""The signals of a task: who has called ``on_kill`` after SIGTERM, and the alarm of its time-out."""

from __future__ import annotations

import inspect
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_OURS = "airflow_cancel_provider.guard"
SOON = 0.05
"""Seconds until the alarm rings again. If that is ignored, too, it rings once more."""


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

    :param is_timeout: whether an exception is Airflow's time-out.
    :param has_limit: whether the task has a limit: then the alarm is Airflow's.
    """
    before = sys.unraisablehook

    def hook(ignored: Any) -> None:
        # Logs nothing: this may run in the middle of a log call. Airflow logs each time that the alarm rings.
        if is_timeout(ignored.exc_value):
            signal.setitimer(signal.ITIMER_REAL, SOON)
        else:
            before(ignored)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        if has_limit and threading.current_thread() is threading.main_thread():
            signal.setitimer(signal.ITIMER_REAL, 0)
