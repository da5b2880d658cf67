"""The guard that is called instead of its task's methods, in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol


class Guard(Protocol):
    """What is called instead of the task's methods."""

    task: Any

    def run(self, method: Callable[[], Any]) -> Any:
        """Run ``execute`` or ``resume_execution``."""
        ...

    def on_kill(self, original: Callable[[], Any]) -> Any:
        """Run instead of the task's ``on_kill``."""
        ...


ATTACHED: list[tuple[int, Guard]] = []
"""The guard of the task in this process, with the process id: a forked child is not guarded."""


def call(method: Callable[..., Any], name: str, task: Any, args: Any, kwargs: Any) -> Any:
    """Call a wrapped method: through the guard if it belongs to the task that is guarded in this process."""
    guard = attached_guard()
    if guard is None or guard.task is not task:
        return method(*args, **kwargs)
    return ask(guard, name, lambda: method(*args, **kwargs))


def attached_guard() -> Guard | None:
    """The guard of this process, unless it was forked."""
    return next((guard for process, guard in ATTACHED if process == os.getpid()), None)


def ask(guard: Guard, name: str, method: Callable[[], Any]) -> Any:
    """Have the guard run a method of its task."""
    return guard.on_kill(method) if name == "on_kill" else guard.run(method)
