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

import pytest

from tests.cli_fixtures import JSON, NOWHERE, TYPO
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


@pytest.mark.parametrize("command", [("describe", "-"), ("cancel", "--dag-id", "dag")], ids=" ".join)
def test_closed_input_is_no_input(there: None, command: tuple[str, ...]) -> None:  # noqa: ARG001
    done = closed("<&-", *command)
    assert "Traceback" not in done.stderr
    if command[-1] == "-":
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1] == "No job is named: standard input holds no address."


@pytest.mark.parametrize("redirection", [">&-", "2>&-"])
def test_a_closed_stream_changes_no_exit_code(there: None, redirection: str) -> None:  # noqa: ARG001
    done = closed(redirection, "describe", NOWHERE)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert ("GONE" in done.stderr) is (redirection == ">&-")
    assert ("GONE" in done.stdout) is (redirection == "2>&-")


@pytest.mark.parametrize("command", [("describe", NOWHERE), ("describe", *JSON, NOWHERE)], ids=" ".join)
def test_a_reader_that_has_gone_is_no_error(there: None, command: tuple[str, ...]) -> None:  # noqa: ARG001
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as stdout:
        done = subprocess.run(
            [*COMMAND, *command], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_a_narrow_terminal_has_a_line_for_each_value(there: None) -> None:  # noqa: ARG001
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, "describe", TYPO], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
    )
    os.close(theirs)
    shown = b""
    try:
        while read := os.read(ours, 65536):
            shown += read
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    _, errors = process.communicate()
    assert (process.returncode, b"Traceback" in errors) == (1, False)
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    address, *others = text.splitlines()
    assert address == TYPO  # in one piece: it is copied from there
    assert re.fullmatch(r"  state +UNKNOWN", others[0])
    # A word is not broken either.
    assert all(len(line) <= COLUMNS for line in others if len(line.split()) > 1)
