"""The task's end of the socket pair between a task and its sentinel."""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

LONGEST_MESSAGE = 1 << 16
"""Bytes."""
_KIND = (socket.AF_UNIX, socket.SOCK_SEQPACKET)
SEND_SECONDS = 2.0
"""Longest wait for a sentinel that does not read: a task must not hang with it."""


class Channel:
    """Sends and receives messages, each whole or not at all (a sequenced-packet socket).

    Any thread and a signal handler may use it without a lock.
    """

    def __init__(self, end: _socket.socket) -> None:
        micros = int(SEND_SECONDS * 1_000_000)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *divmod(micros, 1_000_000)))
        self._end = end
        self._stat = os.fstat(end.fileno())
        """Recognises the descriptor: once the task has closed it, it may be another file."""

    @classmethod
    def pair(cls) -> tuple[Channel, _socket.socket]:
        """Make one; return it and the sentinel's end.

        The sockets are of the class that gevent does not replace: its sockets wait despite MSG_DONTWAIT. So
        do those with a timeout, as all new ones have after ``socket.setdefaulttimeout``.

        :raises OSError: no descriptor is left.
        """
        ours, theirs = map(_above_standard, _socket.socketpair(*_KIND))
        for end in (ours, theirs):
            end.settimeout(None)
        return cls(ours), theirs

    def close(self) -> None:
        """Close this end."""
        if end := self._open():
            end.close()

    def send(self, message: bytes) -> bool:
        """Send; return whether it was sent. A sentinel that has ended must not end the task by SIGPIPE."""
        end = self._open()
        if end is None:
            return False
        try:
            end.send(message, socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def receive(self, seconds: float) -> str:
        """The next message; empty if none comes in time, or none will come."""
        end = self._open()
        if end is None:
            return ""
        messages = _poll()  # select() knows no descriptors above 1023
        messages.register(end, select.POLLIN)
        if not messages.poll(seconds * 1000) or not self.peek():
            return ""
        try:  # a signal handler may have taken it meanwhile
            return end.recv(LONGEST_MESSAGE, socket.MSG_DONTWAIT).decode()
        except OSError:
            return ""

    def peek(self) -> bytes | None:
        """The next message, without taking it; None: none yet; empty: none will come."""
        end = self._open()
        if end is None:
            return b""
        for _ in range(2):
            try:
                return end.recv(LONGEST_MESSAGE, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return None
            except OSError:
                # The sentinel ended with unread messages. This error comes once; its last messages follow.
                continue
        return b""

    def _open(self) -> _socket.socket | None:
        """The socket, unless the task has closed it."""
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._end.fileno()), self._stat):
                return self._end
        self._end.detach()
        return None


def _above_standard(end: _socket.socket) -> _socket.socket:
    """The same socket, with none of the descriptors of standard input and output.

    A task may have closed these: what it prints all the same would be messages to the sentinel.
    """
    if end.fileno() > 2:
        return end
    other = fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, 3)
    end.close()
    return _socket.socket(*_KIND, fileno=other)


def _poll() -> Any:
    """A ``select.poll`` that a signal handler may use: gevent's waits for its loop, eventlet has none."""
    if monkey := sys.modules.get("gevent.monkey"):
        return monkey.get_original("select", "poll")()
    patcher = None if hasattr(select, "poll") else sys.modules.get("eventlet.patcher")
    return (patcher.original("select") if patcher else select).poll()
