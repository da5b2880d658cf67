"""Log lines of the sentinel for the task's log: sent to the task, or written to its log file."""

from __future__ import annotations

import json
import logging
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from airflow_cancel_provider.guard.sentinel.notes import lists_of
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import JobEnd
from airflow_cancel_provider.task_log import LONGEST_EVENT, PREFIX, TryLogFile, log_line

if TYPE_CHECKING:
    from airflow_cancel_provider.guard.sentinel.main import TaskWatch

STORY = "airflow_cancel_provider.sentinel.story"
"""Logger whose lines all go to the task's log; of other loggers only warnings and errors do."""
MOST_WAITING = 50
"""Lines that may wait for the confirmation of the task."""
SEND_SECONDS = 1.0
LAST_SECONDS = 5.0
"""Seconds that a task which still runs has to confirm the last lines."""


class TaskLogHandler(logging.Handler):
    """Sends lines to the task, and writes those that the task has not confirmed to the try's log file.

    The task confirms each line that it has logged. When it has ended, the other lines are written to the
    file, so that none is lost.

    :param file: None: lines that the task does not confirm are in the sentinel's own log only.
    """

    def __init__(self, task: TaskWatch, file: TryLogFile | None) -> None:
        super().__init__(logging.INFO)
        self._task, self._file = task, file
        self._waiting: deque[bytes] = deque()
        self._confirmed = 0
        self.addFilter(lambda record: record.levelno >= logging.WARNING or record.name == STORY)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line, or write it."""
        level, text = record.levelname.lower(), self.format(record)[:LONGEST_EVENT]
        line = log_line(level, f"{PREFIX} {text}", record.created)
        self.settle()
        if (
            self._task.is_connected
            and len(self._waiting) < MOST_WAITING
            and send(self._task.channel, json.dumps({"log": [level, text]}))
        ):
            self._waiting.append(line)
        else:
            self._write(line)

    def settle(self) -> None:
        """Drop the lines that the task has confirmed; write the others if the task has ended."""
        while self._waiting and self._confirmed < self._task.logged:
            self._waiting.popleft()
            self._confirmed += 1
        if not self._task.is_connected:
            self._write_waiting()

    def finish(self, listen: Callable[[float], None]) -> bool:
        """Wait until the task has confirmed the last lines, or has ended, or does neither in time.

        :param listen: receives messages of the task, for at most so many seconds.
        :return: whether the task is there, and has confirmed them.
        """
        deadline = time.monotonic() + LAST_SECONDS
        self.settle()
        while self._waiting and time.monotonic() < deadline:
            listen(0.2)
            self.settle()
        is_confirmed = self._task.is_connected and not self._waiting
        self._write_waiting()
        return is_confirmed

    def _write_waiting(self) -> None:
        """Write the lines that wait. A slow task is told not to log them again, if all are written."""
        lines = [*self._waiting]
        self._waiting.clear()
        self._confirmed += len(lines)
        are_written = [self._write(line) for line in lines]
        if lines and all(are_written) and self._task.is_connected:
            send(self._task.channel, json.dumps({"written": self._confirmed}))

    def _write(self, line: bytes) -> bool:
        return self._file is not None and self._file.write(line)


def send(channel: int, message: str) -> bool:
    """Send a message to the task; return whether it was sent. Does not wait for a task that does not read."""
    writable = select.poll()
    writable.register(channel, select.POLLOUT)
    if not writable.poll(SEND_SECONDS * 1000):
        return False
    try:
        with socket.socket(fileno=os.dup(channel)) as duplicate:
            duplicate.send(message.encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


def messages_of(ends: Mapping[RemoteJob, JobEnd]) -> Iterator[str]:
    """How jobs have ended, in messages for the task."""
    texts = (f"{json.dumps(str(job))}: {json.dumps(end.as_json())}" for job, end in ends.items())
    for some in lists_of(texts):
        yield f'{{"ends": {{{", ".join(some)}}}}}'
