"""The task's end of the line to its sentinel."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.guard.sentinel.idle import CANCEL, DONE, KILLED, NOTE, PATHS, RETURNED
from airflow_cancel_provider.guard.sentinel.lines import ToldLines
from airflow_cancel_provider.guard.settings import Settings
from airflow_cancel_provider.services.submissions import Intent

IDLE = Path(__file__).with_name("idle.py")
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Environment that the sentinel is started with; everybody on the host may be able to read it."""


class Sentinel:
    """Starts with the first submission; hears of every one; acts when the task can't.

    Messages are whole or not at all (a sequenced-packet socket), so any thread and a signal handler may
    send without a lock.

    :param log_file: where it writes what it does; None: nowhere.
    :param log: the task's.
    :param is_armed: whether it acts when the task dies untold.
    """

    def __init__(
        self, settings: Settings, reason: str, log_file: str | None, log: Any, *, is_armed: bool = True
    ) -> None:
        self._settings, self._reason, self._log_file = settings, reason, log_file
        self._is_armed = is_armed
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log = log
        self._starting = Lock()
        self._lines = ToldLines(lambda name, line: self._note(line=line, key=name), log)
        self._pid = os.getpid()
        self._last_word = ""
        self._is_gone = False

    @property
    def is_running(self) -> bool:
        """Whether there is a sentinel, or one that has said its last word."""
        if self._socket is not None and not self._last_word:
            self._is_gone = self._is_gone or self._peek() == b""
        return self._socket is not None and not self._is_gone

    def read(self, what: str, whom: Any) -> None:
        """Take an entry of the ledger."""
        if os.getpid() != self._pid and self._socket is None:
            raise InvalidInput(
                "a forked child of the task started the first job; start it in the task itself"
            )
        self._start()
        if what in ("intent", "placed"):
            self._note(intent=_intent(whom, self._lines.name(whom.line)))
        elif what == "started":
            intent, jobs = whom
            line = self._lines.name(intent.line)
            self._note(started=[*map(str, jobs)], intent=intent.token, line=line, at=intent.at)
        elif what == "refused":
            self._note(refused=whom.token)
        else:
            self._note(**{what: [*map(str, whom)]})

    def killed(self) -> None:
        """The task was told to end: cancel now. Safe in a signal handler."""
        self._send(KILLED)

    def cancel(self) -> None:
        """The task is failing: cancel now."""
        self._send(CANCEL)

    def returned(self) -> None:
        """The task's work is done; if it dies from here on, it may have succeeded."""
        self._send(RETURNED)

    def done(self) -> None:
        """The task has succeeded, or has handed its jobs on: nothing is left to do."""
        self._lines.stop()
        self._send(DONE)
        self._is_gone = True
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)  # so that it leaves no zombie

    def wait_for(self, word: str, seconds: float) -> bool:
        """Wait until the sentinel says this word, or its last one; whether it said this one or ``ended``."""
        deadline = time.monotonic() + seconds
        while self.is_running and not self._last_word and (left := deadline - time.monotonic()) > 0:
            heard = self._hear(left)
            if heard in ("ended", "failed"):
                self._last_word = heard
            if heard == word:
                return True
        return self._last_word == "ended"

    def _hear(self, seconds: float) -> str:
        """The next word; empty if none comes in time, or none will come."""
        if self._socket is None:
            return ""
        ear = select.poll()  # select() knows no descriptors above 1023
        ear.register(self._socket, select.POLLIN)
        word = self._peek() if ear.poll(seconds * 1000) else None
        return self._socket.recv(64).decode() if word else ""

    def _peek(self) -> bytes | None:
        """The next word, which stays; None if there is none yet, empty if there will be none."""
        for _ in range(2):
            try:
                return self._socket.recv(64, socket.MSG_PEEK | socket.MSG_DONTWAIT) if self._socket else None
            except BlockingIOError:
                return None
            except OSError:
                # It ended before it had heard everything. This is said once; then comes what it has said.
                continue
        return b""

    def _start(self) -> None:
        with self._starting:
            if self._socket is not None:
                return
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            command = [sys.executable, "-S", "-E", str(IDLE), str(os.getpid()), str(_supervisor())]
            with theirs, _deaf_to_signals(), self._open_log() as trouble:
                self._process = subprocess.Popen(  # noqa: S603  our own script, this interpreter
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=trouble,
                    start_new_session=True,
                    env={name: os.environ[name] for name in KEPT if name in os.environ},
                    cwd="/",
                )
            # Before anybody else can say a word: it can't act without these.
            for message in self._introduction():
                _send(ours, message)
            self._socket = ours

    def _introduction(self) -> Iterator[bytes]:
        paths: list[Any] = sys.path  # of texts, but for what tasks put there
        yield PATHS + b"\0".join(os.fsencode(path) for path in paths if isinstance(path, str))
        hello = {
            "reason": self._reason,
            "patience": self._settings.patience,
            "escalate_after": self._settings.escalate_after,
            "log_file": self._log_file,
            "environment": _network_environment(),
        }
        yield NOTE + json.dumps({"hello": hello}).encode()
        if not self._is_armed:
            yield RETURNED

    def _open_log(self) -> IO[bytes]:
        try:
            return open(self._log_file or os.devnull, "ab")  # noqa: PTH123
        except OSError as error:
            self._log.warning("What the sentinel does will be in no log: %s", error)
            return open(os.devnull, "ab")  # noqa: PTH123

    def _note(self, **note: Any) -> None:
        if not self._send(NOTE + json.dumps(note).encode()) and not self._is_gone:
            self._is_gone = True
            self._log.warning(
                "The sentinel is gone (its log: %s); this process cancels instead, for as long as it lives.",
                self._log_file,
            )

    def _send(self, message: bytes) -> bool:
        return self._socket is not None and _send(self._socket, message)


def _send(channel: socket.socket, message: bytes) -> bool:
    """Send; whether it was sent. A dead sentinel must not end the task, whatever SIGPIPE does here."""
    try:
        channel.send(message, socket.MSG_NOSIGNAL)
    except OSError:
        return False
    return True


@contextmanager
def _deaf_to_signals() -> Iterator[None]:
    """What is started meanwhile never hears them; what arrives here meanwhile is heard afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _supervisor() -> int:
    """Process that runs this task, or this process where it runs the task by itself (``dags test``)."""
    from airflow.sdk.execution_time import task_runner

    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return os.getpid() if "InProcess" in type(comms).__name__ else os.getppid()


def _intent(intent: Intent, line: str) -> dict[str, Any]:
    return {"token": intent.token, "line": line, "scope": intent.scope, "label": str(intent.label or "")}


def _network_environment() -> dict[str, str]:
    """Proxies and certificates; a proxy's address may hold a password, so it does not go the open way."""
    wanted = ("_PROXY", "_CA_BUNDLE")
    return {name: value for name, value in os.environ.items() if name.upper().endswith(wanted)}
