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


def test_baseline(play: Play, observe: Observe) -> None:
    task = play(SUBMIT_AND_FAIL)
    job = task.until("job")
    task.until("waiting")
    task.go_on()
    assert task.end() == "ValueError the user's own error"
    assert task.is_cancelled(job)
    assert "CANCELLED" in task.log
    observe("None, to compare with", "fails with its own error", "by the sentinel", "its end, in the task's log")
