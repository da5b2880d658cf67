"""Run tests in forks of a process that has imported what they need: seconds less for each change."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

OURS = ("airflow_cancel_provider", "tests", "conftest", "__main__")
ARGUMENTS = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-m", "not slow and not airflow"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
PASSED, FAILED, TOO_LONG = 0, 1, -1


def run(tests: Iterable[str], output: Path, *, seconds: float, plugins: tuple[object, ...] = ()) -> int:
    """Run tests in a fork; the exit code, or TOO_LONG."""
    return in_fork(lambda: int(pytest.main([*ARGUMENTS, *tests], plugins=list(plugins))), output, seconds)


def in_fork(work: Callable[[], int], output: Path, seconds: float) -> int:
    """Do it in a process group of its own, which ends with it."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        code = 70
        try:
            os.setpgid(0, 0)
            with output.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            code = work()
        finally:
            sys.stdout.flush()
            os._exit(code)
    try:
        return _waited(pid, time.monotonic() + seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _waited(pid: int, until: float) -> int:
    pause = 0.01
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(pause)
        pause = min(pause * 1.3, 0.2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return TOO_LONG


def preload(modules: Iterable[str]) -> None:
    """Import what does not belong to this repository, with the environment that its tests have."""
    importlib.import_module("tests.conftest")
    for name in modules:
        if name.split(".")[0] not in OURS:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    ours = [name for name in sys.modules if name.split(".")[0] in OURS and name != "__main__"]
    for name in ours:
        if not name.startswith("tests.mutation"):
            del sys.modules[name]
