"""Where Airflow keeps what tasks leave: XCom and the task state store."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Observe, Play

pytestmark = pytest.mark.slow

OWN_ERROR = "ValueError the user's own error"
FAILING = """
def trouble():
    raise StoreError("PutObject: 503 Slow Down")
"""
SLOW = """
def trouble():
    time.sleep(2)
"""
END = """
def work():
    submit()
    wait()
    {end}
run(work, Backend(trouble=trouble))
"""


@pytest.mark.parametrize("end", ["", "fail()"])
def test_backend_raises(play: Play, observe: Observe, end: str) -> None:
    task = play(FAILING + END.format(end=end))
    job = task.until("job")
    task.until("waiting")
    task.go_on()
    assert task.end() == (OWN_ERROR if end else "success None")
    assert task.is_cancelled(job) is bool(end)
    assert "could not be written: PutObject: 503 Slow Down" in task.log
    observe(
        f"XCom backend raises; the task {'fails' if end else 'succeeds'}",
        "as without us",
        "by the sentinel" if end else "none",
        "warning in the task's log: the record could not be written",
    )


def test_backend_raises_and_sigkill(play: Play, observe: Observe) -> None:
    task = play(FAILING + END.format(end=""))
    job = task.until("job")
    task.until("waiting")
    task.kill()
    task.cancelled(job)
    observe(
        "XCom backend raises, SIGKILL of the task",
        "ends at once",
        "by the sentinel; the reaper finds the jobs by label, too",
        "warning in the task's log: the record could not be written",
    )


def test_backend_is_slow(play: Play, observe: Observe) -> None:
    task = play(SLOW + END.format(end="fail()"))
    job = task.until("job")
    task.until("waiting")
    task.go_on()
    assert task.end() == OWN_ERROR
    assert task.is_cancelled(job)
    observe(
        "XCom backend takes 2 s for each write",
        "fails with its own error, later by these writes",
        "by the sentinel, which is told before anything is written",
        "nothing is lost",
    )
