"""The guard that is called instead of its task's methods, in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Run = Callable[[Callable[[], Any]], Any]
"""A method of a guard that is given one of its task's."""


@dataclass(frozen=True)
class Attached:
    """The guard of a task, in one process: a forked child is not guarded."""

    task: Any
    run: Run
    on_kill: Run
    pid: int

    def call(self, name: str, method: Callable[[], Any]) -> Any:
        """Have the guard run a method of its task."""
        return self.on_kill(method) if name == "on_kill" else self.run(method)


ATTACHED: list[Attached] = []
"""The guard of this process."""


def call(method: Callable[..., Any], name: str, task: Any, args: Any, kwargs: Any) -> Any:
    """Call a wrapped method: through the guard if it belongs to the task that is guarded in this process."""
    guard = attached_guard()
    if guard is None or guard.task is not task:
        return method(*args, **kwargs)
    return guard.call(name, lambda: method(*args, **kwargs))


def attached_guard() -> Attached | None:
    """The guard of this process, unless it was forked."""
    return next((guard for guard in ATTACHED if guard.pid == os.getpid()), None)
