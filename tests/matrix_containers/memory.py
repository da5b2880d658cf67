"""Out of memory: a cgroup with a limit, and the kernel that kills in it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

CGROUP_1 = Path("/sys/fs/cgroup/memory")
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
        group = _make("airflow-cancel-probe")
    except OSError:
        return False
    found = (group / "memory.oom_control").exists()
    group.rmdir()
    return found


def run_out(name: str, processes: Iterable[int], victim: int, strike: Callable[[], None]) -> None:
    """Have the kernel kill a process, because its cgroup is out of memory.

    :param processes: all of the container.
    :param victim: the one that the kernel is to choose; elsewhere it is the one that takes most.
    :param strike: called right before.
    """
    group = _make(f"airflow-cancel-{name}")
    # What they have counts for the cgroup, as it does where they were started in it: without that the kernel
    # frees nothing by killing the one that takes most, and goes on killing.
    (group / "memory.move_charge_at_immigrate").write_text("3")
    for pid in processes:
        (group / "cgroup.procs").write_text(str(pid))
    Path(f"/proc/{victim}/oom_score_adj").write_text("1000")
    used = int((group / "memory.usage_in_bytes").read_text())
    (group / "memory.limit_in_bytes").write_text(str(used + ROOM))
    strike()
    subprocess.run([sys.executable, "-S", "-E", "-c", EATER, str(group)], check=False, timeout=60)
    (group / "memory.limit_in_bytes").write_text("-1")
    if Path(f"/proc/{victim}").exists() and _is_alive(victim):
        raise RuntimeError(f"the kernel did not kill process {victim}")


def tidy() -> None:
    """Remove the cgroups whose processes have ended."""
    for group in CGROUP_1.glob("airflow-cancel-*"):
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
    return " Z " not in Path(f"/proc/{pid}/stat").read_text()
