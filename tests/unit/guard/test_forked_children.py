"""A forked child goes on when its task has ended: Airflow ends the task's process alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.kill_fixtures import names
from tests.try_fixtures import Try, _guarded, submit, variables

__all__ = ["_guarded", "variables"]
REFUSED, STARTED = 7, 8


class Child:
    """A forked child that submits a job when it is told to."""

    def __init__(self) -> None:
        self._wait, self._tell = os.pipe()
        if (pid := os.fork()) == 0:
            os.read(self._wait, 1)
            try:
                submit("late")
                os._exit(STARTED)
            except SubmissionRefused:
                os._exit(REFUSED)
            finally:
                os._exit(1)
        self._pid = pid

    def go_on(self) -> int:
        """Let it submit; its exit code."""
        os.write(self._tell, b"!")
        code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        os.close(self._wait)
        os.close(self._tell)
        return code


def kill(ti: Try) -> None:
    ti.task.on_kill()


def fail(_: Try) -> None:
    raise ValueError("of another job")


def run(end: Callable[[Try], None]) -> tuple[Any, Child]:
    def work() -> None:
        submit("own")
        children.append(Child())
        end(ti)

    children: list[Child] = []
    ti = Try(work=work)
    guard = ti.guarded(Settings(confirm_seconds=20, patience=30))
    try:
        ti.task.execute()
    except (Killed, ValueError):
        return guard, children[0]
    guard.succeeded()
    return guard, children[0]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("end", [kill, fail])
def test_it_starts_no_more_jobs_of_a_task_that_has_not_succeeded(
    cloud: LocalCloud, end: Callable[[Try], None]
) -> None:
    guard, child = run(end)
    until(lambda: names(cloud) == {"own": True})
    assert guard.parts.canceller.wait_for("ended", 20)
    assert child.go_on() == REFUSED
    assert names(cloud) == {"own": True}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_success_it_is_not_refused(cloud: LocalCloud) -> None:
    _, child = run(lambda _: None)
    assert child.go_on() == STARTED
    assert names(cloud) == {"own": False, "late": False}
