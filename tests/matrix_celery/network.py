"""Hosts on one machine: each a network namespace with a name and an address of its own.

The whole program runs in a private network, too. So nothing here can meet what else the machine runs, all
that it started can be found by its network, and interfaces are gone with the last process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.real_airflow.processes import Processes
from tests.real_airflow.world import eventually

INSIDE = "MATRIX_CELERY_NETWORK"
"""Variable in the environment of the program once it runs in its private network."""
HERE = "192.0.2.1"
"""Address of all that is on no host of its own. The range is kept for documents: nobody's network has it."""
BRIDGE = "hosts"


def enter() -> None:
    """Run this program again in a private network, unless it is there already.

    :raises RuntimeError: who runs it may not, or has not the programs for it.
    """
    if INSIDE in os.environ:
        return
    missing = [name for name in ("ip", "nsenter", "unshare") if not shutil.which(name)]
    if missing:
        raise RuntimeError(f"Not found: {', '.join(missing)}; `apt-get install iproute2 util-linux`.")
    if os.geteuid() != 0:
        raise RuntimeError("Hosts are network namespaces, which only root can make.")
    command = ["unshare", "--net", sys.executable, "-m", __package__, *sys.argv[1:]]
    os.execvpe(command[0], command, os.environ | {INSIDE: "1"})


class Host:
    """A network namespace, connected to the others by a cable that can be pulled.

    :param name: also its host name.
    :param holder: a process that does nothing but keep the namespace.
    """

    def __init__(self, name: str, holder: subprocess.Popen[bytes]) -> None:
        self.name, self._holder = name, holder
        self._network = _network_of(holder.pid)
        folder = f"/proc/{holder.pid}/ns"
        self.command = ["nsenter", f"--net={folder}/net", f"--uts={folder}/uts", "--"]
        """What to put before a command to run it on this host."""

    def connect(self, address: str) -> None:
        """Give it an address, and its name."""
        _run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self._pid)
        _run("ip", "link", "set", self.name, "master", BRIDGE, "up")
        _run(*self.command, "hostname", self.name)
        _run(*self.command, "ip", "link", "set", "lo", "up")
        _run(*self.command, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        _run(*self.command, "ip", "link", "set", "eth0", "up")

    def cut(self) -> None:
        """Pull the cable."""
        _run("ip", "link", "set", self.name, "down")

    def mend(self) -> None:
        """Put the cable back."""
        _run("ip", "link", "set", self.name, "up")

    def can_reach(self, port: int) -> bool:
        """Whether a connection to a port of ``HERE`` can be made from this host, within two seconds."""
        code = f"import socket; socket.create_connection(({HERE!r}, {port}), 2)"
        command = [*self.command, sys.executable, "-c", code]
        return not subprocess.run(command, capture_output=True, check=False).returncode

    def kill_all(self) -> None:
        """SIGKILL to each process on this host, until none is left."""
        _kill_all({self._network}, but=self._holder.pid)

    @property
    def _pid(self) -> str:
        return str(self._holder.pid)


@contextlib.contextmanager
def hosts(folder: Path, *names: str) -> Iterator[dict[str, Host]]:
    """Hosts within the ``with`` block; after it, no process is left on them, nor elsewhere in the network."""
    processes = Processes(folder, dict(os.environ))
    ours = _network_of(os.getpid())
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", BRIDGE, "type", "bridge")
    _run("ip", "addr", "add", f"{HERE}/24", "dev", BRIDGE)
    _run("ip", "link", "set", BRIDGE, "up")
    made: dict[str, Host] = {}
    try:
        for number, name in enumerate(names, 11):
            holder = processes.start(name, ["unshare", "--net", "--uts", "sleep", "infinity"])
            eventually(lambda pid=holder.pid: _network_of(pid) != ours, f"host {name}", seconds=10)  # type: ignore[misc]
            made[name] = Host(name, holder)
            made[name].connect(f"192.0.2.{number}")
        yield made
    finally:
        for host in made.values():
            host.kill_all()
        processes.stop_all()
        # Sentinels and others that have nothing else in common with this program.
        _kill_all({ours}, but=os.getpid())
        _run("ip", "link", "del", BRIDGE)


def wait_for_port(port: int) -> None:
    """Wait until somebody listens on a port of ``HERE``."""

    def is_open() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HERE, port)) == 0

    eventually(is_open, f"port {port}", seconds=20)


def _network_of(pid: int) -> int:
    """Number of a process's network namespace; 0 when the process has ended."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116
    except OSError:
        return 0


def _kill_all(networks: set[int], *, but: int) -> None:
    deadline = time.monotonic() + 10
    while left := [pid for pid in _members(networks) if pid != but]:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise RuntimeError(f"Processes that can't be killed: {left}")
        time.sleep(0.05)


def _members(networks: set[int]) -> list[int]:
    """Processes in these networks; one that has ended is in none, also while nobody has read its status."""
    pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if _network_of(pid) in networks]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
