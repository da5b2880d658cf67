"""How much memory a process takes, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

SELF = "self"
FORGET_THE_PEAK = "5"


def resident(pid: int | str = SELF) -> float:
    """MiB of physical memory that a process takes now."""
    return _status("VmRSS", pid)


def peak() -> float:
    """MiB of physical memory, at most, since the start or since :func:`forget_peak`."""
    return _status("VmHWM", SELF)


def forget_peak() -> None:
    """Measure the peak anew."""
    Path("/proc/self/clear_refs").write_text(FORGET_THE_PEAK, encoding="ascii")


def _status(name: str, pid: int | str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
