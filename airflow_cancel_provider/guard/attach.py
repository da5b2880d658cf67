"""Wrap a task's methods for the guard, without a change of the task itself.

Airflow looks up ``execute``, ``resume_execution`` and ``on_kill`` on the task when it calls them. The
wrappers are put on the *class* that defines each: pickling, copying and comparing the instance work as
before. A wrapper refers only to the method it wraps, so a class can be pickled by value.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from airflow_cancel_provider.guard.attached import ATTACHED, Attached, Run, attached_guard
from airflow_cancel_provider.guard.wrapper import wrapped

METHODS = ("execute", "resume_execution", "on_kill")


_undo: list[Callable[[], None]] = []


def attach(task: Any, *, run: Run, on_kill: Run) -> None:
    """Have a guard called instead of its task's methods; the guard of an earlier task is removed."""
    detach()
    for name in METHODS:
        own = getattr(task, "__dict__", {})
        if name in own:  # a method was set on the instance
            _replace_own(own, name)
        else:
            owner = next(cls for cls in type(task).__mro__ if name in vars(cls))
            _replace(owner, name)
    ATTACHED[:] = [Attached(task, run, on_kill, os.getpid())]


def detach() -> None:
    """Restore the classes."""
    ATTACHED.clear()
    while _undo:
        _undo.pop()()


def _replace(owner: type, name: str) -> None:
    original = vars(owner)[name]
    wrapper = wrapped(original, name)
    setattr(owner, name, wrapper)

    def undo() -> None:
        if vars(owner).get(name) is wrapper:
            setattr(owner, name, original)

    _undo.append(undo)


def _replace_own(own: dict[str, Any], name: str) -> None:
    original = own[name]
    own[name] = _OwnMethod(original, name)
    _undo.append(lambda: own.__setitem__(name, original))


class _OwnMethod:
    """A wrapped method of an instance. It refers neither to its task nor to its guard."""

    def __init__(self, original: Callable[..., Any], name: str) -> None:
        self.original, self.name = original, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        guard = attached_guard()
        if guard is None or guard.task.__dict__.get(self.name) is not self:
            return self.original(*args, **kwargs)
        return guard.call(self.name, lambda: self.original(*args, **kwargs))
