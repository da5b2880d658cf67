"""The task's view of its sentinel: it starts it, sends it events and orders, and takes its answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from threading import Lock, RLock
from typing import IO, Any

from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.guard.end_reports import EndReports
from airflow_cancel_provider.guard.events import Event
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel import process
from airflow_cancel_provider.guard.sentinel.channel import Channel
from airflow_cancel_provider.guard.sentinel.known_clients import KnownClients
from airflow_cancel_provider.guard.sentinel.log_file import LogFile
from airflow_cancel_provider.guard.sentinel.main import (
    CANCEL,
    DONE,
    LOGGED,
    NOTE,
    PATHS,
    RETURNED,
)
from airflow_cancel_provider.guard.sentinel.notes import Note, notes_of
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.metrics import statsd_target
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.record import JobEnd
from airflow_cancel_provider.services.ratelimit import PACES
from airflow_cancel_provider.settings import Settings

END_SECONDS = 2.0
"""Longest wait for its end once it is told that its work is done."""
ANSWER_SECONDS = 1.5
"""Longest wait until it confirms an order to cancel; then the task cancels, too."""
WATCHING = "watching"
"""The first message of a sentinel that was started."""
LAST_WORDS = frozenset({"ended", "failed"})
"""What a cancel says last."""


class SentinelError(CancelProviderError):
    """The sentinel can't be started, or has ended."""


class Sentinel:
    """Starts the sentinel with the first submission, and sends it every event.

    Any thread and a signal handler may send without a lock.

    :param log_file: path of its log; None: it writes none.
    :param task_log: log file of the try, for lines that it can't send to the task; None: there is none.
    :param log: the task's.
    :param ledger: has the events so far, as it may be started late.
    :param reports: with which it puts ends on record when the task has ended; None: it does not.
    :param is_armed: whether it cancels when the task's process ends without notice.
    """

    def __init__(
        self,
        settings: Settings,
        owner: Owner,
        log_file: str | None,
        log: Any,
        ledger: TryLedger,
        *,
        is_armed: bool = True,
        task_log: str | None = None,
        reports: EndReports | None = None,
    ) -> None:
        self._settings, self._owner, self._log_file = settings, owner, log_file
        self._task_log, self._reports = task_log, reports
        self._ledger = ledger
        self._is_armed = is_armed
        self._is_running = False
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log = log
        self._starting, self._checking = Lock(), RLock()
        self._clients = KnownClients(lambda name, client: self._note({"key": name, "client": client}), log)
        self._pid = os.getpid()
        self._words: set[str] = set()
        """What it has said."""
        self.last_word = ""
        """``ended`` or ``failed``, once received."""
        self._lines: list[tuple[str, str]] = []
        self._taken = 0
        self.ends: dict[RemoteJob, JobEnd] = {}
        """How jobs have ended, as far as the sentinel has reported it."""
        self._is_gone = False
        self._ordered_at: float | None = None
        """When it was told to cancel, by the monotonic clock."""
        self._has_answered = False
        """Whether it has confirmed that."""

    @property
    def is_started(self) -> bool:
        """Whether it was started; it may have ended since."""
        return self._channel is not None

    @property
    def is_usable(self) -> bool:
        """Whether it can receive events, or is not started yet."""
        return not self._is_gone and not self.last_word

    @property
    def can_act(self) -> bool:
        """Whether it runs, and has not finished."""
        if self._channel is not None and not self.last_word:
            self._is_gone = self._is_gone or self._channel.peek() == b""
        return self._channel is not None and self.is_usable

    @property
    def is_stuck(self) -> bool:
        """Whether it was told to cancel, and has not confirmed that in time."""
        at = self._ordered_at
        if at is None or self._has_answered or time.monotonic() < at + ANSWER_SECONDS:
            return False
        self._receive_all()  # nobody has read while an operator's own ``on_kill`` took its time
        return not self._has_answered

    @property
    def has_finished(self) -> bool:
        """Whether it has said its last word, also if nobody has read that yet."""
        self._receive_all()
        self._has_said("")
        return bool(self.last_word)

    def hear(self, event: Event) -> None:
        """Send an event; the first one starts the process.

        :raises SentinelError: it can't be started, or has ended.
        """
        try:
            if not self._start():
                self._tell(event)
        except SentinelError:
            self._end()
            raise

    def check(self, seconds: float) -> None:
        """Check that it has started; if it is only slow to start, a later call checks again.

        :raises SentinelError: it could not start.
        """
        if self._is_running or self._channel is None or os.getpid() != self._pid:
            return
        with self._checking:
            self._check(self._channel, seconds)

    def _check(self, channel: Channel, seconds: float) -> None:
        # Another thread, or a signal handler, may have received its first message.
        if not self._is_running and not self._receive(seconds) and channel.peek() == b"":
            self._is_gone = True
            raise SentinelError(f"it ended at once (its log: {self._log_file})")

    def cancel(self, why: str) -> None:
        """Tell it to cancel. Safe in a signal handler.

        :param why: why the task ends, as the beginning of a sentence.
        """
        self._wake()
        if self._send(CANCEL + why.encode()) and self._ordered_at is None:
            self._ordered_at = time.monotonic()

    def _wake(self) -> None:
        """Let it go on, in case that it was stopped (SIGSTOP): it cancels for longer than the task can."""
        if self._process is not None and os.getpid() == self._pid and self._process.returncode is None:
            with suppress(OSError):
                os.kill(self._process.pid, signal.SIGCONT)

    def relay(self) -> None:
        """Log the lines that it has sent for the task's log. Not in a signal handler: a log has locks."""
        self._receive_all()  # it may have written them to the log's file meanwhile
        lines, self._lines = self._lines, []
        for level, text in lines:
            getattr(self._log, level if level in ("warning", "error") else "info")("%s", text)
        self._taken += len(lines)
        if lines:
            self._send(LOGGED + str(self._taken).encode())

    def returned(self) -> None:
        """Disarm it: if the task's process ends from here on, the task may have succeeded."""
        if not self._send(RETURNED):
            self._end()

    def done(self, *, seconds: float = END_SECONDS) -> None:
        """End it: the task has succeeded, or has handed its jobs over.

        :param seconds: longest wait for its end, so that it leaves no zombie.
        """
        self._clients.stop()
        if not self._send(DONE):
            self._end()
        self._is_gone = True
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)

    def wait_for(self, word: str, seconds: float, *, relays: bool = False) -> bool:
        """Wait for this message, or the last one; return whether this one came, or ``ended``.

        Gives up once it :attr:`is_stuck`.

        :param relays: whether to :meth:`relay` each line that comes meanwhile.
        """
        deadline = time.monotonic() + seconds
        while not self._has_said(word) and self.can_act and not self.is_stuck:
            if (left := deadline - time.monotonic()) <= 0:
                break
            self._receive(left if self._has_answered else min(left, ANSWER_SECONDS))
            if relays:
                self.relay()
        return self._has_said(word) or self.last_word == "ended"

    def _has_said(self, word: str) -> bool:
        self.last_word = max(self._words & LAST_WORDS, default=self.last_word)
        return word in self._words

    def forget_words(self) -> None:
        """Drop the words that have come in; lines and ends are kept."""
        self._receive_all()
        self._words.clear()

    def _receive_all(self) -> None:
        while self._receive(0):
            pass

    def _take(self, message: dict[str, Any]) -> None:
        """Keep a line for the task's log, or how jobs have ended; drop lines that it has written itself."""
        if "log" in message:
            level, text = message["log"]
            self._lines.append((level, text))
        if (written := message.get("written", 0) - self._taken) > 0:
            del self._lines[:written]
            self._taken += written
        for job, end in message.get("ends", {}).items():
            self.ends[RemoteJob(job)] = JobEnd.from_json(end)

    def _end(self) -> None:
        """Kill a sentinel that receives no messages: it would cancel the jobs of a task that succeeds.

        One that was told to cancel goes on.
        """
        self._is_gone = True
        if self._process is not None and os.getpid() == self._pid and self._ordered_at is None:
            self._process.kill()

    def _start(self) -> bool:
        """Start it and send it the events so far; return False if it was started before."""
        if self.is_started:
            return False
        with self._starting:
            if self._channel is not None:
                return False
            introduction = list(self._introduction())
            channel = self._started()
            # Before any other message: it can't cancel without these.
            for message in introduction:
                channel.send(message)
            self._channel = channel
        for event in self._ledger.history():
            self._tell(event)
        return True

    def _started(self) -> Channel:
        """Start its process; return the channel to it."""
        try:
            channel, theirs = Channel.pair()
        except OSError as error:
            raise SentinelError(f"{error!r}") from error
        try:
            with self._open_log() as trouble:
                self._process = process.start(theirs, trouble)
        except (OSError, TypeError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
            channel.close()
            raise SentinelError(f"{error!r}") from error
        finally:
            theirs.close()
        return channel

    def _introduction(self) -> Iterator[bytes]:
        yield PATHS + process.import_paths()
        hello = {
            "label": str(self._owner.label),
            "reason": self._owner.reason,
            "patience": self._settings.patience,
            "escalate_after": self._settings.escalate_after,
            "log_file": self._log_file,
            "task_log": self._task_log,
            "reports": asdict(self._reports) if self._reports else None,
            "environment": process.network_environment(),
            "quotas": PACES.configured,
            "statsd": statsd_target(),
            "clock": self._ledger.clock.offset,
        }
        yield NOTE + json.dumps({"hello": hello}).encode()
        if not self._is_armed:
            yield RETURNED

    def _open_log(self) -> IO[bytes]:
        try:
            return LogFile(self._log_file).open() if self._log_file else open(os.devnull, "ab")  # noqa: PTH123
        except OSError as error:
            self._log.warning("The sentinel writes no log: %s", error)
            return open(os.devnull, "ab")  # noqa: PTH123

    def _tell(self, event: Event) -> None:
        for note in notes_of(event, self._clients.name):
            self._note(note)

    def _note(self, note: Note) -> None:
        if not self._send(NOTE + json.dumps(note).encode()):
            raise SentinelError(f"it has ended, or does not read (its log: {self._log_file})")

    def _send(self, message: bytes) -> bool:
        return self._channel is not None and self._channel.send(message)

    def _receive(self, seconds: float) -> bool:
        """Take in the next message; return whether there was one."""
        received = self._channel.receive(seconds) if self._channel is not None else ""
        self._is_running |= bool(received)
        self._has_answered |= bool(received) and received != WATCHING
        if received.startswith("{"):
            self._take(json.loads(received))
        elif received:
            self._words.add(received)
        return bool(received)
