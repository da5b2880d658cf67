"""Processes that are started together and surely ended together."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


MARK = "PROCESSES_OF"
"""Variable in the environment of all that is started here, by which grandchildren are found too."""


class Processes:
    """Named processes, each leading a session of its own, with its output in a file."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        # Without SPT_NOENV, setproctitle writes the titles of Airflow's processes over the mark.
        self.environment = environment | {MARK: str(folder), "SPT_NOENV": "1"}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Start one; its output goes to ``<name>.log``."""
        with (self.folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=self.folder,
            )
        self._running[name] = process
        return process

    def run(self, command: list[str], *, timeout: float = 300) -> str:
        """Run a command to its end and return what it printed."""
        done = self.complete(command, timeout=timeout)
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def complete(self, command: list[str], *, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, however it ends."""
        return subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder,
            check=False,
        )

    def process(self, name: str) -> subprocess.Popen[bytes]:
        """A process by its name."""
        return self._running[name]

    def is_there(self, name: str) -> bool:
        """Whether one was started, and not stopped from here."""
        return name in self._running

    def check(self) -> None:
        """Raise if one has ended by itself."""
        for name, process in self._running.items():
            if process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{log}")

    def stop(self, name: str, *, kill: bool = False, wait: float = 15) -> None:
        """End one: its whole session is told to end, and killed when it does not."""
        process = self._running.pop(name)
        _signal_group(process.pid, signal.SIGKILL if kill else signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(wait)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()

    def stop_all(self, wait: float = 3) -> None:
        """End all of them, at the same time. A scheduler would wait for its tasks, however long they take."""
        for process in self._running.values():
            _signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + wait
        for process in self._running.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
        # A task leads a process group of its own, and so outlives the scheduler that is killed.
        for pid in marked(f"{MARK}={self.folder}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    """Processes with this ``NAME=value`` in their environment (Linux only), but not this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{mark}\0".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def parent(pid: int) -> int:
    """The process that started another."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children(pid: int) -> list[int]:
    """Processes that another has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]
