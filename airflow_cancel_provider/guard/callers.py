"""Who has called ``on_kill``: Airflow, as the task is to end, or the operator itself."""

from __future__ import annotations

import inspect
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

_OURS = "airflow_cancel_provider.guard"


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
