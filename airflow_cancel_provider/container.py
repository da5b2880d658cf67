"""``python -m airflow_cancel_provider.container``: keep a container open until its sentinel has cancelled.

A container ends with its first process, and takes the sentinel along. This runs the container's command,
passes signals on to it, and when it has ended waits for sentinels that are still at work. It may be process 1
of the container, or run below ``dumb-init``. Needs ``/proc``, and nothing but the standard library.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

WAIT_SECONDS = 30.0
"""As long as Kubernetes gives a pod to end (``terminationGracePeriodSeconds``), which it ends in any case."""
SENTINEL = str(Path(__file__).with_name("guard") / "sentinel" / "main.py")
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
STEP = 0.1
"""Seconds from one look for sentinels to the next."""
LOOKS = 2
"""Looks in a row that have to find none."""


class Container:
    """One command, and the time in which its sentinels have to end.

    :param wait: seconds, from the end of the command.
    """

    def __init__(self, command: Sequence[str], wait: float) -> None:
        self._command, self._wait = command, wait
        self._child: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []

    def run(self) -> int:
        """Run the command to its end, then wait for sentinels; the command's exit code, as a shell has it."""
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)
        # In a session of its own: dumb-init signals the whole group of its child, and the second SIGTERM
        # would cut the time short that the task gives the cancel.
        self._child = subprocess.Popen(self._command, start_new_session=True)  # noqa: S603  the container's own
        for early in self._early:
            self._child.send_signal(early)
        code = self._wait_for_child(self._child.pid)
        self._wait_for_sentinels(time.monotonic() + self._wait)
        return code if code >= 0 else 128 - code

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if self._child is None:
            self._early.append(number)
            return
        with suppress(ProcessLookupError):
            os.kill(self._child.pid, number)

    def _wait_for_child(self, pid: int) -> int:
        """Process 1 inherits the container's orphans, and has to collect them."""
        while True:
            ended, status = os.wait()
            if ended == pid:
                return os.waitstatus_to_exitcode(status)

    def _wait_for_sentinels(self, deadline: float) -> None:
        is_told, seen_none = False, 0
        # A process that is just being started has no command line yet: one look is not enough.
        while seen_none < LOOKS:
            pids = sentinels()
            seen_none = 0 if pids else seen_none + 1
            if pids and not is_told:
                _say(f"waiting for sentinel {_listed(pids)} to cancel, at most {self._wait:g} s.")
                is_told = True
            if pids and time.monotonic() > deadline:
                _say(f"sentinel {_listed(pids)} has not finished; the reaper has to find the jobs.")
                return
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            time.sleep(STEP)


def sentinels() -> list[int]:
    """Sentinels in this container."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            # Its script, not an argument of something else.
            if SENTINEL.encode() in (entry / "cmdline").read_bytes().split(b"\0")[1:4]:
                found.append(int(entry.name))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_cancel_provider.container",
        description="Run a command, and keep its container open until the sentinels of its tasks have ended.",
    )
    parser.add_argument(
        "--wait", type=float, default=WAIT_SECONDS, metavar="SECONDS", help="default: %(default)g"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    options = parser.parse_args(arguments)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("name the command that the container runs, after --")
    try:
        return Container(command, options.wait).run()
    except OSError as error:
        _say(f"can't run {command[0]}: {error}")
        return 127


def _listed(pids: list[int]) -> str:
    return ", ".join(map(str, sorted(pids)))


def _say(text: str) -> None:
    print(f"[remote jobs] {text}", file=sys.stderr, flush=True)  # noqa: T201  the container's log


if __name__ == "__main__":
    sys.exit(main())
