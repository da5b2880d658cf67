"""The log of the sentinels: one file of bounded size for each user of a host, shared by their processes."""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

LARGEST = 5 * 1024 * 1024
"""Bytes; the file before it is kept as ``<name>.1``."""


def log_file_in(folder: Path) -> Path:
    """The log of this process's user: tasks of several users (``run_as_user``) may share a folder."""
    return folder / f"remote_jobs_sentinel.{os.getuid()}.log"


class LogFile:
    """A file that many processes append to; a process that finds it too large renames it."""

    def __init__(self, path: str, largest: int = LARGEST) -> None:
        self._path, self._largest = path, largest

    def open(self) -> IO[bytes]:
        """Open for appending, a new file where the old one has become too large.

        :raises OSError: it can't be written.
        """
        self._rotate()
        return open(self._path, "ab")  # noqa: PTH123

    def _rotate(self) -> None:
        with suppress(OSError), open(self._path, "rb") as file:  # noqa: PTH123
            if os.fstat(file.fileno()).st_size < self._largest:
                return
            # One of those who find it too large renames it; the others see that it is another file now.
            # A task must not wait for the process that has the lock, which may be stopped.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):  # noqa: PTH116
                os.replace(self._path, f"{self._path}.1")  # noqa: PTH105


class SharedFileHandler(logging.Handler):
    """Appends each record to a :class:`LogFile`, also after another process has renamed it."""

    def __init__(self, file: LogFile) -> None:
        super().__init__()
        self._file = file
        self._file.open().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. A log that can't be written must not stop the cancel."""
        try:
            with self._file.open() as file:
                file.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except OSError:
            logging.lastResort and logging.lastResort.handle(record)
