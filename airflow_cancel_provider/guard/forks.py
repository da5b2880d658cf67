"""What a task shares with its forked children: locks that they can take, and flags that each may set."""

from __future__ import annotations

import os
from mmap import mmap
from threading import RLock
from typing import Any
from weakref import WeakSet


class SharedFlag:
    """A flag of a process and of all that are forked from it."""

    def __init__(self) -> None:
        self._memory = mmap(-1, 1)

    def set(self) -> None:
        """Set it."""
        self._memory[0] = 1

    def __bool__(self) -> bool:
        """Whether it is set."""
        return bool(self._memory[0])


_held: WeakSet[Locked] = WeakSet()


class Locked:
    """Base of a class with a lock; in a forked child each instance has a new one.

    The thread that holds the lock is not in the child: who waits for it there waits for ever.
    """

    def __init__(self) -> None:
        # Re-entrant: a signal handler may read while the code that it interrupted writes.
        self._lock: Any = RLock()
        _held.add(self)

    def renew_lock(self) -> None:
        """Forget who holds it."""
        self._lock = RLock()


def _renew() -> None:
    for each in list(_held):
        each.renew_lock()


os.register_at_fork(after_in_child=_renew)


def is_alive(process: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user by now
        return True
    return True
