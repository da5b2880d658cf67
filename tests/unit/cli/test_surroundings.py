"""Commands in real processes that a shell gives less than usual: no input, no reader, a narrow terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.airflow_versions import module
from tests.cli_fixtures import JSON, NOWHERE, TYPO
from tests.forks import COMMAND_LINE, forked
from tests.task_fixtures import connections

__all__ = ["connections"]

COMMAND = (sys.executable, "-m", "airflow_cancel_provider.cli")
COLUMNS = 40


@pytest.fixture
def there(connections: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  they are set
    """A machine without a language."""
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("LANG", "C")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(COLUMNS))


def closed(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does with a stream closed: ``<&-``, ``>&-``, ``2>&-``."""
    script = f'exec "$@" {redirection}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *COMMAND, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("redirection", [">&-", "2>&-"])
def test_a_closed_stream_changes_no_exit_code(there: None, redirection: str) -> None:  # noqa: ARG001
    done = closed(redirection, "describe", NOWHERE)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert ("GONE" in done.stderr) is (redirection == ">&-")
    assert ("GONE" in done.stdout) is (redirection == "2>&-")


NO_INPUT = """
import os, sys
os.close(0)
sys.stdin = None  # as Python has it then
"""
NO_READER = """
import os
reader, writer = os.pipe()
os.close(reader)
os.dup2(writer, 1)
"""
FULL_DISK = """
import os
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
"""
TERMINAL = """
import os
terminal = os.open({name!r}, os.O_RDWR)
os.dup2(terminal, 0)
os.dup2(terminal, 1)
"""


@pytest.mark.usefixtures("there")
def test_commands_without_input_a_reader_or_room(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    from_stdin, a_task, unread, unread_json, full, full_json, narrow = forked(
        COMMAND_LINE,
        [
            (surroundings + module(COMMAND[-1], *arguments), {})
            for surroundings, arguments in (
                (NO_INPUT, ("describe", "-")),
                (NO_INPUT, ("cancel", "--dag-id", "dag")),
                (NO_READER, ("describe", NOWHERE)),
                (NO_READER, ("describe", *JSON, NOWHERE)),
                (FULL_DISK, ("describe", NOWHERE)),
                (FULL_DISK, ("describe", *JSON, NOWHERE)),
                (TERMINAL.format(name=os.ttyname(theirs)), ("describe", TYPO)),
            )
        ],
        tmp_path,
    )
    os.close(theirs)
    for done in (from_stdin, a_task, unread, unread_json, full, full_json, narrow):
        assert "Traceback" not in done.stderr
    assert from_stdin.returncode == 2
    assert from_stdin.stderr.splitlines()[-1] == "No job is named: standard input holds no address."
    for done in (unread, unread_json):
        assert done.returncode == 0
        assert "BrokenPipe" not in done.stderr
    for done in (full, full_json):
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == "The answer could not be written: No space left on device."
    assert narrow.returncode == 1
    check_narrow(read(ours))


def read(terminal: int) -> str:
    """What was written to a terminal."""
    shown = b""
    try:
        while some := os.read(terminal, 65536):
            shown += some
    except OSError:  # the other side is closed
        pass
    os.close(terminal)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())


def check_narrow(text: str) -> None:
    """A line for each value."""
    address, *others = text.splitlines()
    assert address == TYPO  # in one piece: it is copied from there
    assert re.fullmatch(r"  state +UNKNOWN", others[0])
    # A word is not broken either.
    assert all(len(line) <= COLUMNS for line in others if len(line.split()) > 1)
