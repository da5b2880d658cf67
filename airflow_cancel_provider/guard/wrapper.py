"""The wrapper of a task's method; alone here, as some picklers take a function's module along by value."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any


def wrapped(original: Any, name: str) -> Callable[..., Any]:
    """A method that goes through the guard of its task; where this package is not installed, the original.

    Named as the original: pickled by name, it is the method of its class.
    """

    @wraps(original)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            from airflow_cancel_provider.guard.attached import call
        except ImportError:  # it was sent, by value, to where only the Dag's own packages are
            return original.__get__(self, type(self))(*args, **kwargs)
        return call(original, name, self, args, kwargs)

    return guarded
