"""Wait for the end of the task, with the memory of a bare interpreter: the script that the sentinel runs.

Run as a script with ``-S -E``, with a socket to the task as standard input and the process ids of the
task and its supervisor as arguments. Imports only built-in modules until there is something to cancel.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

PATHS, NOTE, RETURNED, DONE, CANCEL, LOGGED = b"P", b"N", b"R", b"D", b"C", b"L"
"""First byte of each message of the task."""
ACTING = "acting"
"""Message to the task: the order to cancel has come in."""
TASK_ENDED = "The task's process ended without notice (SIGKILL, out of memory or a crash)"
TEST_ENDED = "The process of dags test or tasks test ended"
SUPERVISOR_ENDED = "The task's supervisor process ended"
"""Why the sentinel cancels, where the task has not sent a reason."""
LARGEST = 1 << 20
LOOK_SECONDS, LOOK_SOON_SECONDS = 1.0, 0.1
"""Seconds between two looks at processes that can't be watched, before and after the channel is closed."""
TASK_GRACE = 5.0
"""Seconds that a task has to end after its supervisor has ended."""


class TaskWatch:
    """Keeps the messages of the task, and decides when to cancel.

    ``why`` is the reason for the cancel, for people; ``since`` is when it came, by the monotonic clock.
    ``logged`` counts the lines that the task has confirmed. ``is_connected`` is False once nothing can be
    sent to the task any more.
    """

    def __init__(self, channel: int, task: int, supervisor: int) -> None:
        self.channel = channel
        self.task, self.supervisor = task, supervisor
        self.task_end = end_of(task)
        self.supervisor_end = end_of(supervisor)
        self.notes: list[bytes] = []
        self.paths: list[str] = []
        self.is_armed = True
        self.ends_at = 0.0
        self.why = ""
        self.since = 0.0
        self.logged = 0
        self.is_connected = True
        self._poll = select.poll()
        for source in (channel, self.task_end, self.supervisor_end):
            if source is not None:
                self._poll.register(source, select.POLLIN)

    def watch(self) -> bytes | None:
        """Wait; return the kind of message to act on, or None when there is nothing to cancel."""
        while True:
            ready: set[int | None] = {source for source, _ in self._poll.poll(self._pause)}
            self.kill_if_late()
            if self.channel in ready:
                kind = self.receive()
                if kind:
                    return kind if kind != DONE else None
            elif self.task_end in ready or self._has_lost_task():
                # The supervisor may have sent SIGTERM to the task before.
                self.why = self.why or (TEST_ENDED if self.supervisor == self.task else TASK_ENDED)
                return CANCEL if self.is_armed else None
            elif self.supervisor_end in ready or self._has_lost_supervisor():
                self.why = SUPERVISOR_ENDED
                self._end_task()
                if self.is_armed:
                    return CANCEL

    @property
    def _pause(self) -> float | None:
        """Longest wait for the next message, in milliseconds; None: no end."""
        if self.task_end is None:
            return 1000 * (LOOK_SECONDS if self.is_connected else LOOK_SOON_SECONDS)
        return 1000 * LOOK_SECONDS if self.ends_at else None

    def _has_lost_task(self) -> bool:
        # The sentinel is a child of the task, and gets another parent when the task ends.
        return self.task_end is None and os.getppid() != self.task

    def _has_lost_supervisor(self) -> bool:
        if self.supervisor_end is not None or self.why == SUPERVISOR_ENDED:
            return False
        try:
            os.kill(self.supervisor, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False  # it is another user's
        return False

    def receive(self) -> bytes | None:
        """Receive one message; return its kind if it ends the wait."""
        try:
            message = os.read(self.channel, LARGEST)
        except ConnectionResetError:
            # The task ended with unread messages. This error comes once; its last messages follow.
            self.is_connected = False
            return None
        except OSError:
            message = b""
        kind, body = message[:1], message[1:]
        if kind == NOTE:
            self.notes.append(body)
        elif kind == PATHS:
            self.paths = os.fsdecode(body).split("\0")
        elif kind == RETURNED:
            self.is_armed = False
        elif kind == LOGGED:
            self.logged = int(body)
        elif not kind:
            # The channel is closed: wait for the end of the task's process, which may come a moment later.
            self.is_connected = False
            self._poll.unregister(self.channel)
        elif kind in (DONE, CANCEL):
            if self.why != SUPERVISOR_ENDED:
                self.why = body.decode() or self.why
            return kind
        return None

    def receive_all(self) -> None:
        """Receive the messages that wait."""
        while self.channel_is_open():
            self.receive()

    def _end_task(self) -> None:
        """End a task whose supervisor has ended: it could not report its state any more.

        It gets SIGTERM and five seconds, while its jobs are being cancelled already. Where the jobs are to
        keep running, it gets SIGKILL: with SIGTERM it would cancel them.
        """
        if self.supervisor_end is not None:
            self._poll.unregister(self.supervisor_end)
        self._signal(signal.SIGTERM if self.is_armed else signal.SIGKILL)
        self.ends_at = time.monotonic() + TASK_GRACE

    def kill_if_late(self) -> None:
        """Kill a task that got SIGTERM and has not ended in time."""
        if self.ends_at and time.monotonic() > self.ends_at:
            self.ends_at = 0.0
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self._has_lost_task() or (self.task_end and select.select([self.task_end], [], [], 0)[0]):
            return
        # contextlib would cost memory in every idle sentinel.
        try:  # noqa: SIM105
            os.kill(self.task, number)
        except ProcessLookupError:
            pass

    def channel_is_open(self) -> bool:
        """Whether a message waits."""
        rest = select.poll()
        rest.register(self.channel, select.POLLIN)
        return bool(rest.poll(0)) and self._is_registered()

    def pause(self, seconds: float) -> None:
        """Pause until a message waits, or for so many seconds."""
        if self._is_registered():
            messages = select.poll()
            messages.register(self.channel, select.POLLIN)
            messages.poll(seconds * 1000)
        else:
            # poll() returns at once for a closed channel.
            time.sleep(seconds)

    def _is_registered(self) -> bool:
        try:
            self._poll.modify(self.channel, select.POLLIN)
        except OSError:
            return False
        return True


def end_of(process: int) -> int | None:
    """A descriptor that can be read from once a process has ended.

    None where there is no such descriptor: on an old kernel, or where a container forbids it.
    """
    try:
        return os.pidfd_open(process)
    except ProcessLookupError:
        ended, other = os.pipe()
        os.close(other)
        return ended
    except (AttributeError, OSError):
        return None


def report(word: str) -> None:
    """Send a message to the task."""
    try:  # noqa: SIM105
        os.write(0, word.encode())
    except OSError:
        pass  # the task has ended meanwhile, which watch() handles


def main() -> None:
    """Wait, and cancel if necessary. SIGTERM, SIGINT and SIGHUP are blocked since before the start."""
    watch = TaskWatch(0, int(sys.argv[1]), int(sys.argv[2]))
    report("watching")
    if watch.watch() is None:
        return
    # Before the imports, which may take a second: a task that gets no answer cancels by itself.
    report(ACTING)
    watch.since = time.monotonic()
    import site

    # The standard library first: a Dag's folder may have an email.py, and be the first of the task's paths.
    # Then the task's paths in their order, for the same version of every package as in the task.
    first = [*sys.path, *(path for path in watch.paths if path not in sys.path)]
    site.main()
    sys.path[:] = [*first, *(path for path in sys.path if path not in first)]
    from importlib import import_module

    # By its name: that module knows this one, and in the package imports run one way.
    import_module("airflow_cancel_provider.guard.sentinel.cancel").act(watch)


if __name__ == "__main__":
    # The script's own folder must not hide modules of the same names.
    del sys.path[0]
    main()
