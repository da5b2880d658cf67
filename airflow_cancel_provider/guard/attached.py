"""The guard that is called instead of its task's methods, in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

ATTACHED: list[tuple[int, Any]] = []
"""The :class:`TaskGuard` of this process, with the process id: a forked child is not guarded."""


def call(method: Callable[..., Any], name: str, task: Any, args: Any, kwargs: Any) -> Any:
    """Call a wrapped method: through the guard if it belongs to the task that is guarded in this process."""
    guard = attached_guard()
    if guard is None or guard.task is not task:
        return method(*args, **kwargs)
    return ask(guard, name, lambda: method(*args, **kwargs))


def attached_guard() -> Any:
    """The guard of this process, unless it was forked."""
    return next((guard for process, guard in ATTACHED if process == os.getpid()), None)


def ask(guard: Any, name: str, method: Callable[[], Any]) -> Any:
    """Have the guard run a method of its task."""
    return guard.on_kill(method) if name == "on_kill" else guard.run(method)
