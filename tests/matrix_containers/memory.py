"""Out of memory: a cgroup with a limit, and the kernel that kills in it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.real_airflow.world import eventually

CGROUP_1 = Path("/sys/fs/cgroup/memory")
PREFIX = "airflow-cancel-"
ROOM = 24 << 20
"""Bytes that are left when the limit is set."""
# Takes memory until the kernel has killed somebody, then gives it back.
EATER = """
import sys, time
group, pid = sys.argv[1], __import__("os").getpid()
open(f"{group}/cgroup.procs", "w").write(str(pid))
killed = lambda: int(open(f"{group}/memory.oom_control").read().rpartition("oom_kill ")[2])
before, eaten = killed(), []
while killed() == before:
    eaten.append(bytearray(1 << 20))
    time.sleep(0.002)
"""


def can_limit() -> bool:
    """Whether memory can be limited here: root, with the cgroups' first version."""
    try:
        group = _make(f"{PREFIX}probe")
    except OSError:
        return False
    found = (group / "memory.oom_control").exists()
    group.rmdir()
    return found


def inside(name: str) -> list[str]:
    """What to put before a command to run it in a memory cgroup; nothing where there are none.

    Memory counts for the cgroup in which it was taken: a process must be in it from the start.
    """
    if not can_limit():
        return []
    return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(_make(f"{PREFIX}{name}") / "cgroup.procs")]


def run_out(name: str, victim: int, strike: Callable[[], None]) -> None:
    """Have the kernel kill a process, because its cgroup is out of memory.

    :param name: as for :func:`inside`.
    :param victim: the one that the kernel is to choose; elsewhere it is the one that takes most.
    :param strike: called right before.
    """
    group = CGROUP_1 / f"{PREFIX}{name}"
    Path(f"/proc/{victim}/oom_score_adj").write_text("1000")
    used = int((group / "memory.usage_in_bytes").read_text())
    (group / "memory.limit_in_bytes").write_text(str(used + ROOM))
    strike()
    subprocess.run([sys.executable, "-S", "-E", "-c", EATER, str(group)], check=False, timeout=60)
    eventually(lambda: not _is_alive(victim), f"the end of process {victim}", seconds=20)


def tidy() -> None:
    """Remove the cgroups whose processes have ended."""
    for group in CGROUP_1.glob(f"{PREFIX}*"):
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.2)


def _make(name: str) -> Path:
    group = CGROUP_1 / name
    group.mkdir(exist_ok=True)
    return group


def _is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
