"""The guard can't be installed: what ``fail_closed`` makes of that."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Observe, Play

pytestmark = pytest.mark.slow

SCRIPT = """
def work():
    submit()
run(work)
"""


def test_the_task_runs_on(play: Play, observe: Observe) -> None:
    task = play(SCRIPT, AIRFLOW__CANCEL_PROVIDER__PATIENCE="soon")
    task.until("job")
    assert task.end() == "success None"
    assert "Not guarded: nothing cancels this task's remote jobs" in task.log
    observe(
        "The guard can't be installed",
        "as without us",
        "none by the task",
        "error in the task's log: nothing cancels its remote jobs, and why",
    )


def test_fail_closed(play: Play, observe: Observe) -> None:
    task = play(
        SCRIPT, AIRFLOW__CANCEL_PROVIDER__PATIENCE="soon", AIRFLOW__CANCEL_PROVIDER__FAIL_CLOSED="true"
    )
    end = task.end()
    assert end.startswith("SystemExit [remote jobs] Not guarded, and fail_closed is set.")
    assert "patience" in end
    assert not task.cloud.batch.jobs()
    observe(
        "The guard can't be installed, with fail_closed",
        "fails before it has started anything",
        "nothing to cancel",
        "error of the task: that it is not guarded, and why",
    )
