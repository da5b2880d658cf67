"""How much memory this process takes, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

SELF = Path("/proc/self")
FORGET_THE_PEAK = "5"


def resident() -> float:
    """MiB of physical memory now."""
    return _status("VmRSS")


def peak() -> float:
    """MiB of physical memory, at most, since the start or since :func:`forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Measure the peak anew."""
    (SELF / "clear_refs").write_text(FORGET_THE_PEAK, encoding="ascii")


def _status(name: str) -> float:
    lines = (SELF / "status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
