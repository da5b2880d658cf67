"""Start the sentinel's process, and say what it is started with."""

from __future__ import annotations

import _socket
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

MAIN = Path(__file__).with_name("main.py")
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Environment that the sentinel is started with; everybody on the host may be able to read it."""


def start(channel: _socket.socket, trouble: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start it.

    :param channel: its end of the socket pair, which becomes its standard input.
    :param trouble: for what it writes to standard error.
    :raises OSError, TypeError, ValueError, RuntimeError, subprocess.SubprocessError: it could not be started.
    """
    command = [sys.executable, "-S", "-E", str(MAIN), str(os.getpid()), str(_supervisor())]
    with _signals_blocked():
        return subprocess.Popen(  # noqa: S603  our own script, this interpreter
            command,
            stdin=channel.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=trouble,
            start_new_session=True,
            env={name: os.environ[name] for name in KEPT if name in os.environ},
            cwd="/",
        )


def import_paths() -> bytes:
    """The ``sys.path`` of this process, joined by NUL; absolute, as the sentinel runs in another folder."""
    paths: list[Any] = sys.path  # texts, and whatever tasks have put there
    return b"\0".join(os.fsencode(_absolute(path)) for path in paths if isinstance(path, str))


def network_environment() -> dict[str, str]:
    """Proxies and certificates. Sent over the socket, as a proxy's address may hold a password."""
    wanted = ("_PROXY", "_CA_BUNDLE")
    return {name: value for name, value in os.environ.items() if name.upper().endswith(wanted)}


def _absolute(path: str) -> str:
    try:
        return str(Path(path).absolute())
    except OSError:  # the task's folder is gone
        return path


def is_in_process() -> bool:
    """Whether this process has no supervisor, and runs triggers too, as ``dags test`` and ``tasks test``."""
    from airflow.sdk.execution_time import task_runner

    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return "InProcess" in type(comms).__name__


def _supervisor() -> int:
    """Id of the process that supervises this task; without one, of this process."""
    if is_in_process():
        return os.getpid()
    if os.environ.get("_AIRFLOW__REEXECUTED_PROCESS") == "1":  # with ``run_as_user`` sudo is the parent
        return _other_end_of_channel() or os.getppid()
    return os.getppid()


def _other_end_of_channel() -> int:
    """Id of the process that has made the channel to Airflow; 0 where that can't be told."""
    from airflow.sdk.execution_time import task_runner

    channel: Any = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "socket", None)
    try:
        credentials = channel.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, struct.calcsize("3i"))
    except (AttributeError, OSError):  # Airflow before 3.2 has another
        return 0
    process: int = struct.unpack("3i", credentials)[0]
    return process


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals. For a process that is started meanwhile they stay blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
