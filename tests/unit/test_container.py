"""A container stays open until the sentinels in it have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_cancel_provider import container
from airflow_cancel_provider.guard.sentinel import process as sentinel_process

MODULE = [sys.executable, "-m", "airflow_cancel_provider.container"]
# Starts what looks like a sentinel, which outlives it, and ends as told.
COMMAND = """
import os, signal, subprocess, sys, time
until, end = sys.argv[2:]
signal.signal(signal.SIGTERM, lambda *_: (print("SIGTERM", flush=True), sys.exit(3)))
nowhere = subprocess.DEVNULL
command = [sys.executable, "-S", "-E", sys.argv[1], until]
subprocess.Popen(command, start_new_session=True, stdout=nowhere, stderr=nowhere)
print("up", flush=True)
if end == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(30 if end == "waits" else 0)
"""
SENTINEL = """
import os, sys, time
begun = time.monotonic()
while not os.path.exists(sys.argv[1]) and time.monotonic() < begun + 60: time.sleep(0.02)
"""
Process = subprocess.Popen[str]


@pytest.fixture
def sentinel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A path of this test's own, for what stands for sentinels: others run beside it.

    Each ends when the file that it is given is there, or after 60 seconds.
    """
    path = tmp_path / "main.py"
    path.write_text(SENTINEL)
    monkeypatch.setattr(container, "SENTINEL", str(path))
    yield str(path)
    (tmp_path / "never").touch()


@pytest.fixture
def command(sentinel: str) -> list[str]:
    return [sys.executable, "-c", COMMAND, sentinel]


def started(command: list[str], sentinel: str, *options: str) -> Process:
    """The program, which knows this sentinel only."""
    code = (
        "import os, sys; from airflow_cancel_provider import container as c;"
        "c.SENTINEL = os.environ['SENTINEL']; sys.exit(c.main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *options, "--", *command],
        env=os.environ | {"SENTINEL": sentinel},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_looks_for_the_real_sentinel() -> None:
    assert Path(container.SENTINEL) == sentinel_process.MAIN
    assert sentinel_process.MAIN.is_file()


@pytest.fixture
def never(tmp_path: Path) -> str:
    """For a sentinel that does not end while a test looks."""
    return str(tmp_path / "never")


@pytest.mark.parametrize("end, code", [("returns", 0), ("killed", 137)])
def test_it_ends_when_the_sentinel_has_ended(
    command: list[str], sentinel: str, tmp_path: Path, end: str, code: int
) -> None:
    may_end = tmp_path / "may_end"
    process = started([*command, str(may_end), end], sentinel)
    assert process.stderr is not None
    assert "waiting for sentinel" in process.stderr.readline()
    assert process.poll() is None
    may_end.touch()
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert "has not finished" not in said
    assert container.sentinels() == []


def test_a_sentinel_that_was_just_being_started_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between fork and exec it has no command line of its own; the task may be killed just then."""
    looks: list[list[int]] = [[], [7], [7], [], []]
    monkeypatch.setattr(container, "sentinels", lambda: looks.pop(0))
    monkeypatch.setattr(os, "waitpid", lambda *_: (0, 0))  # children of this process are other tests'
    container.Container(["true"], 30)._wait_for_sentinels(time.monotonic() + 30)
    assert looks == []


def test_it_does_not_wait_for_longer_than_it_may(command: list[str], sentinel: str, never: str) -> None:
    process = started([*command, never, "returns"], sentinel, "--wait", "0.3")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "has not finished; the reaper has to find the jobs" in said
    assert len(container.sentinels()) == 1


def test_a_signal_is_passed_on_once(command: list[str], sentinel: str, never: str) -> None:
    process = started([*command, never, "waits"], sentinel, "--wait", "1")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output, said = process.communicate(timeout=50)
    assert process.returncode == 3
    assert output == "SIGTERM\n"
    assert time.monotonic() - at >= 1
    assert "has not finished" in said


def test_without_a_sentinel_it_ends_with_its_command(sentinel: str) -> None:
    process = started(["sh", "-c", "exit 7"], sentinel)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (7, "")


@pytest.mark.parametrize(
    "command, code, words", [([], 2, "after --"), (["/no/such"], 127, "can't run /no/such")]
)
def test_what_it_can_not_run_is_said(command: list[str], code: int, words: str) -> None:
    done = subprocess.run([*MODULE, "--", *command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_it_loads_the_standard_library_only() -> None:
    code = "import sys, airflow_cancel_provider.container; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("airflow")}
    assert ours == {"airflow_cancel_provider", "airflow_cancel_provider.container"}
