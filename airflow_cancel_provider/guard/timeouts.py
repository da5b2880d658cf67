"""The time-out of a task: raised again where Python has ignored it, and at an end with ``execute``."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SOON = 0.05
"""Seconds until the alarm rings again. If that is ignored, too, it rings once more."""


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
