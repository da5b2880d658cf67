"""The wrapper of a task's method. A module of its own, as some picklers send a whole module by value."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any


def wrapped(original: Any, name: str) -> Callable[..., Any]:
    """A method that calls the guard of its task; where this package is not installed, the original.

    It has the name of the original: pickled by name, it is the method of its class.
    """

    @wraps(original)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = bound(original, self)
        try:
            from airflow_cancel_provider.guard.attached import call
        except ImportError:  # it was pickled by value, and this package is not installed here
            return method(*args, **kwargs)
        return call(method, name, self, args, kwargs)

    return guarded


def bound(original: Any, task: Any) -> Callable[..., Any]:
    """What a class has under a method's name, as an instance has it: what is no descriptor stays as it is."""
    bind = getattr(original, "__get__", None)
    method: Callable[..., Any] = bind(task, type(task)) if bind else original
    return method
