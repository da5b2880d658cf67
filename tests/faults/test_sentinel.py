"""The sentinel is killed, or stands still."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Observe, Play

pytestmark = pytest.mark.slow

SUBMIT_AND_FAIL = """
def work():
    submit()
    wait()
    fail()
run(work)
"""
OWN_ERROR = "ValueError the user's own error"
STOPPED = """
def work():
    submit()
    sentinel().send_signal(signal.SIGSTOP)
    say("stopped", sentinel().pid)
    wait()
    {end}
run(work)
"""


def test_nothing(play: Play, observe: Observe) -> None:
    task = play(SUBMIT_AND_FAIL)
    job = task.until("job")
    task.until("waiting")
    task.go_on()
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    assert "CANCELLED" in task.log
    assert "Not guarded" not in task.log
    observe(
        "None, to compare with",
        "fails with its own error",
        "by the sentinel",
        "what was cancelled, why, and how it ended, in the task's log",
    )


@pytest.mark.parametrize("code", ["submit(); sentinel().kill(); sentinel().wait(); submit()"])
def test_killed_before(play: Play, observe: Observe, code: str) -> None:
    task = play(f"def work():\n    {code}\n    fail()\nrun(work)")
    jobs = [task.until("job"), task.until("job")]
    assert task.end() == OWN_ERROR
    assert all(map(task.is_cancelled, jobs))
    observe(
        "Sentinel killed between two submissions",
        "fails with its own error",
        "a new sentinel, with the next submission, cancels all jobs",
        "nothing is lost, and nothing is reported",
    )


def test_killed_before_the_end(play: Play, observe: Observe) -> None:
    task = play("def work():\n    submit(); sentinel().kill(); sentinel().wait()\n    fail()\nrun(work)")
    job = task.until("job")
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    assert "CANCELLED" in task.log
    observe(
        "Sentinel killed after the last submission",
        "fails with its own error",
        "by a thread of the task's process",
        "how the jobs ended, in the task's log",
    )


def test_killed_during_a_submission(play: Play, observe: Observe) -> None:
    task = play("""
def work():
    submit()
    client = batch()
    client.meta.events.register("before-send.*", lambda **_: (sentinel().kill(), sentinel().wait()) and None)
    submit(client)
    fail()
run(work)""")
    jobs = [task.until("job"), task.until("job")]
    assert task.end() == OWN_ERROR
    assert all(map(task.is_cancelled, jobs))
    assert "Not guarded: a sudden end of this task's process" in task.log
    observe(
        "Sentinel killed while a submission is under way",
        "fails with its own error",
        "by a thread of the task's process",
        "warning in the task's log: a sudden end of the process is not guarded",
    )


def test_killed_during_the_cancel(play: Play, observe: Observe) -> None:
    task = play("""
import threading
def work():
    submit()
    play.LOG.info("sentinel %s", sentinel().pid)
    say("sentinel", sentinel().pid)
    wait()
    fail()
run(work)""")
    job = task.until("job")
    sentinel = int(task.until("sentinel"))
    task.until("waiting")
    task.cloud.faults.add("batch", "*", "server_error", seconds=6)
    task.go_on()
    from tests.faults.ground import until

    until(lambda: "cancelling" in task.sentinel_log, "the begin of the cancel")
    import os
    import signal

    os.kill(sentinel, signal.SIGKILL)
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    assert "The sentinel process exited before the cancel was confirmed" in task.log
    observe(
        "Sentinel killed while it cancels",
        "fails with its own error",
        "by a thread of the task's process",
        "warning in the task's log: the sentinel process exited",
    )


def test_stopped(play: Play, observe: Observe) -> None:
    task = play(STOPPED.format(end="fail()"))
    job = task.until("job")
    task.until("waiting")
    task.go_on()
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    assert task.seconds < 15
    assert "CANCELLED" in task.log
    observe(
        "Sentinel stopped (SIGSTOP) before the task fails",
        "fails with its own error",
        "the task wakes the sentinel (SIGCONT), which cancels",
        "nothing is lost",
    )


def test_stopped_and_killed(play: Play, observe: Observe) -> None:
    import os
    import signal

    task = play(STOPPED.format(end=""))
    job = task.until("job")
    task.until("waiting")
    os.kill(task.process.pid, signal.SIGTERM)
    assert task.end().startswith("Killed")
    task.cancelled(job, 5)
    observe(
        "Sentinel stopped before the task gets SIGTERM",
        "ends as killed",
        "the task wakes the sentinel (SIGCONT), which cancels",
        "nothing is lost",
    )


def test_stopped_and_sigkill(play: Play, observe: Observe) -> None:
    import time

    task = play(STOPPED.format(end=""))
    job = task.until("job")
    task.until("waiting")
    task.process.kill()
    time.sleep(3)
    assert not task.is_cancelled(job)
    observe(
        "Sentinel stopped, then the task gets SIGKILL",
        "ends at once",
        "the reaper's, or the sentinel's once it goes on",
        "by the reaper; nothing of the task is left to report it",
    )


def test_stopped_and_succeeds(play: Play, observe: Observe) -> None:
    import os
    import signal
    import time

    task = play(STOPPED.format(end=""))
    job = task.until("job")
    sentinel = int(task.until("stopped"))
    task.until("waiting")
    task.go_on()
    assert task.end() == "success None"
    os.kill(sentinel, signal.SIGCONT)
    time.sleep(2)
    assert not task.is_cancelled(job)
    observe(
        "Sentinel stopped, then the task succeeds",
        "succeeds, up to 2 s later",
        "none, also once the sentinel goes on",
        "nothing is lost",
    )
