"""An exception as of a signal handler, at any place where Python may call one."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Collection
from types import CodeType, FrameType
from typing import Any

HANDLED_AFTER = ("CALL", "CALL_FUNCTION_EX", "CALL_KW", "RESUME", "JUMP_BACKWARD")
"""Instructions after which Python looks for signals."""


class Strike(BaseException):
    """As a kill."""


class Striker:
    """Strikes at one place of a thread: the n-th of those in some functions.

    :param number: from 1 on.
    :param unless: whether it must not strike at a place; then it does so at the next one where it may.
    """

    def __init__(
        self, number: int, functions: Collection[CodeType], unless: Callable[[], bool] = lambda: False
    ) -> None:
        self._left, self._functions, self._unless = number, functions, unless
        self._last: dict[FrameType, int] = {}
        self.place = ""
        """Where it has struck; empty where there was no such place."""
        self.was_caught = False
        """Whether something else than :meth:`run` has caught the strike."""

    def run(self, work: Callable[[], Any]) -> None:
        """Run something, which may be struck."""
        before = sys.gettrace()
        # From Python 3.12 on, a frame that is to be traced so must be there before.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self._enter)
        try:
            work()
            self.was_caught = bool(self.place)
        except Strike:
            pass
        finally:
            sys.settrace(before)

    @property
    def has_come(self) -> bool:
        """Whether there was such a place."""
        return self._left <= 0

    def _enter(self, frame: FrameType, _: str, __: Any) -> Any:
        if frame.f_code not in self._functions or self.place:
            return None
        frame.f_trace_opcodes = True
        return self._go_on

    def _go_on(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            before = self._last.get(frame, 0)
            self._last[frame] = frame.f_code.co_code[frame.f_lasti]
            self._left -= dis.opname[before] in HANDLED_AFTER
            if self._left <= 0 and not self.place and not self._unless():
                self.place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                raise Strike
        return self._go_on
