"""A TCP connection between two programs that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class Line:
    """Passes on what comes in on :attr:`port`; while it is cut, connections are closed and refused."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = self._listening(0)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    @staticmethod
    def _listening(port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), reuse_port=False)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """Close and refuse all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            ends, self._open = self._open, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def mend(self) -> None:
        """Take connections again."""
        self._listener = self._listening(self.port)
        self.__enter__()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                one, _ = listener.accept()
                other = socket.create_connection(self._target)
                with self._lock:
                    self._open |= {one, other}
                for pair in ((one, other), (other, one)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
