"""A time-out of a task that Python has ignored is raised again."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SOON = 0.05
"""Seconds until the alarm rings again. If that is ignored, too, it rings once more."""


@contextmanager
def raised_again(is_timeout: Callable[[BaseException | None], bool]) -> Iterator[None]:
    """Have the alarm of ``execution_timeout`` ring again where its exception was ignored.

    Airflow raises AirflowTaskTimeout in the handler of a signal, which comes once. Python runs the handler
    wherever the main thread is. In a destructor, or in the callback of a weak reference, it prints the
    exception and goes on: the task, and its remote job, would run without a limit. This is not rare: a signal
    that comes during a garbage collection is handled in the first callback that the collection calls.

    :param is_timeout: whether an exception is Airflow's time-out.
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
