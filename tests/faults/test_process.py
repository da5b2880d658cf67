"""Limits and habits of the task's process and its container."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Observe, Play
from tests.faults.ground import Played

pytestmark = pytest.mark.slow

OWN_ERROR = "ValueError the user's own error"
NO_PROC = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
SUBMIT_AND_FAIL = "def work():\n    submit()\n    wait()\n    fail()\nrun(work)"
NO_PIDFD = """
import ctypes, errno, os, struct
def forbid(number):
    # A classic BPF filter: load the number of the call, compare, answer ENOSYS, or allow.
    def code(op, jt, jf, k):
        return struct.pack("HBBI", op, jt, jf, k)
    program = code(0x20, 0, 0, 0) + code(0x15, 0, 1, number) + code(0x06, 0, 0, 0x50000 | errno.ENOSYS)
    program += code(0x06, 0, 0, 0x7FFF0000)
    kept = ctypes.create_string_buffer(program)
    fprog = struct.pack("HxxxxxxP", 4, ctypes.addressof(kept))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
    assert libc.prctl(22, 2, fprog, 0, 0) == 0, "PR_SET_SECCOMP"
    try:
        os.pidfd_open(os.getpid())
    except OSError as error:
        assert error.errno == errno.ENOSYS
    else:
        raise AssertionError("pidfd_open is allowed")
forbid(434)
"""
needs_root = pytest.mark.skipif(
    not shutil.which("unshare") or not Path("/proc/self").exists(), reason="needs unshare"
)


@needs_root
def test_no_proc(play: Play, observe: Observe) -> None:
    task = play(SUBMIT_AND_FAIL, before=NO_PROC)
    job = task.until("job")
    task.until("waiting")
    task.go_on()
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    assert "Not guarded" not in task.log
    observe("No /proc", "fails with its own error", "by the sentinel", "nothing is lost")


@needs_root
def test_no_proc_and_sigkill(play: Play, observe: Observe) -> None:
    task = play(SUBMIT_AND_FAIL, before=NO_PROC)
    job = task.until("job")
    task.until("waiting")
    task.kill()
    task.cancelled(job)
    observe("No /proc, SIGKILL of the task", "ends at once", "by the sentinel", "in the sentinel's log")


def test_no_pidfd(play: Play, observe: Observe) -> None:
    task = play(SUBMIT_AND_FAIL, first=NO_PIDFD)
    job = task.until("job")
    task.until("waiting")
    task.go_on()
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    assert "Not guarded" not in task.log
    observe(
        "pidfd_open is forbidden (seccomp)", "fails with its own error", "by the sentinel", "nothing is lost"
    )


def test_no_pidfd_and_sigkill(play: Play, observe: Observe) -> None:
    task = play(SUBMIT_AND_FAIL, first=NO_PIDFD)
    job = task.until("job")
    task.until("waiting")
    task.kill()
    task.cancelled(job)
    observe(
        "pidfd_open is forbidden, SIGKILL of the task",
        "ends at once",
        "by the sentinel, which looks for its parent instead",
        "in the sentinel's log",
    )


def test_no_descriptors(play: Play, observe: Observe) -> None:
    task = play("""
import resource
def work():
    client = batch()
    client.describe_jobs(jobs=["none"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
    files = []
    try:
        while True:
            files.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        os.close(files.pop())  # one, for the connection to the service
    submit(client)
    fail()
run(work)""")
    job = task.until("job")
    assert task.end() == OWN_ERROR
    assert "Not guarded: a sudden end of this task's process" in task.log
    assert "Too many open files" in task.log
    task.cancelled(job)
    observe(
        "No descriptor left (RLIMIT_NOFILE) at the submission",
        "fails with its own error",
        "by a thread of the task's process",
        "warning in the task's log: there is no sentinel, and why",
    )


def test_no_descriptors_left_for_the_cancel(play: Play, observe: Observe) -> None:
    task = play("""
import resource
os.environ["AIRFLOW__CANCEL_PROVIDER__CONFIRM_SECONDS"] = "3"
def work():
    submit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        pass
    fail()
run(work)""")
    job = task.until("job")
    assert task.end() == OWN_ERROR
    task.cancelled(job)
    observe(
        "No descriptor left when the task fails",
        "fails with its own error",
        "by the sentinel, which has its own descriptors",
        "in the sentinel's log, and the task's",
    )


def test_no_processes(play: Play, observe: Observe, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o555)
    task = play("""
import resource, shutil
import boto3
logs = os.environ["AIRFLOW__LOGGING__BASE_LOG_FOLDER"]
client = batch()
client.describe_jobs(jobs=["none"])
def work():
    os.chmod(logs, 0o777)
    # Root is above the limit; processes and threads of this user are counted together.
    os.setgid(65534); os.setuid(54322)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    submit(client)
    fail()
run(work)""")
    job = task.until("job")
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    assert "Not guarded: a sudden end of this task's process" in task.log
    assert "Cancelling in this thread" in task.log
    observe(
        "No process and no thread left (RLIMIT_NPROC)",
        "fails with its own error",
        "by the task itself, before it ends",
        "warnings in the task's log: there is no sentinel, and no thread",
    )


PATCHES = {
    "gevent": "from gevent import monkey; monkey.patch_all()\n",
    "eventlet": "import eventlet; eventlet.monkey_patch()\n",
}
Patched = tuple[str, Callable[[str], Played]]


@pytest.fixture(params=PATCHES)
def patched(request: pytest.FixtureRequest, play: Play) -> Patched:
    """What has patched a task's process, and what starts one."""
    pytest.importorskip(request.param)
    return request.param, lambda script: play(script, first=PATCHES[request.param])


def test_patched(patched: Patched, observe: Observe) -> None:
    name, start = patched
    task = start(SUBMIT_AND_FAIL)
    job = task.until("job")
    task.until("waiting")
    task.go_on()
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    assert "CANCELLED" in task.log
    assert "Not guarded" not in task.log
    assert task.seconds < 15
    observe(
        f"{name} has patched the task's process",
        "fails with its own error",
        "by the sentinel",
        "nothing is lost",
    )


@pytest.mark.parametrize("work", ["time.sleep(60)", "while True: pass"])
def test_patched_and_sigterm(patched: Patched, observe: Observe, work: str) -> None:
    name, start = patched
    task = start(f"def work():\n    submit()\n    say('waiting')\n    {work}\nrun(work)")
    job = task.until("job")
    task.until("waiting")
    os.kill(task.process.pid, signal.SIGTERM)
    assert task.end().startswith("Killed")
    task.cancelled(job, 5)
    observe(f"{name}, SIGTERM to the task", "ends as killed", "by the sentinel", "nothing is lost")


def test_patched_and_sigkill(patched: Patched, observe: Observe) -> None:
    name, start = patched
    task = start(SUBMIT_AND_FAIL)
    job = task.until("job")
    task.until("waiting")
    task.kill()
    task.cancelled(job)
    observe(f"{name}, SIGKILL of the task", "ends at once", "by the sentinel", "in the sentinel's log")


def test_patched_and_success(patched: Patched) -> None:
    _, start = patched
    task = start("def work():\n    submit()\nrun(work)")
    job = task.until("job")
    assert task.end() == "success None"
    assert not task.is_cancelled(job)
    assert "Not guarded" not in task.log
