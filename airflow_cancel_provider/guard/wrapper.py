"""The wrapper of a task's method, in a module of its own: some picklers take a function's module along by value."""

from __future__ import annotations

from functools import wraps


def wrapped(original, name):  # type: ignore[no-untyped-def]
    """A method that goes through the guard of its task; where this package is not installed, the original.

    Named and typed as the original: pickled by name, it is the method of its class.
    """

    @wraps(original)
    def guarded(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        try:
            from airflow_cancel_provider.guard.attach import call
        except ImportError:  # it was sent, by value, to where only the Dag's own packages are
            return original.__get__(self, type(self))(*args, **kwargs)
        return call(original, name, self, args, kwargs)

    return guarded
