"""A forked child goes on when its task has ended: Airflow ends the task's process alone."""

from __future__ import annotations

import logging
import os
import signal
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
REFUSED, STARTED = b"R", b"S"


class Child:
    """A forked child that submits a job when it is told to, and says what has come of it."""

    def __init__(self) -> None:
        self._wait, self._tell = os.pipe()
        self._hear, self._say = os.pipe()

    def fork(self) -> None:
        """Begin."""
        if os.fork() == 0:
            os.read(self._wait, 1)
            try:
                submit("late")
                os.write(self._say, STARTED)
            except SubmissionRefused:
                os.write(self._say, REFUSED)
            finally:
                os._exit(0)

    def go_on(self) -> bytes:
        """Let it submit; what has come of it."""
        os.write(self._tell, b"!")
        heard = os.read(self._hear, 1)
        for end in (self._wait, self._tell, self._hear, self._say):
            os.close(end)
        return heard


def kill(ti: Try) -> None:
    ti.task.on_kill()


def fail(_: Try) -> None:
    raise ValueError("of another job")


def run(end: Callable[[Try], None]) -> tuple[Any, Child]:
    def work() -> None:
        submit("own")
        child.fork()
        end(ti)

    child = Child()
    ti = Try(work=work)
    guard = ti.guarded(Settings(confirm_seconds=20, patience=30))
    try:
        ti.task.execute()
    except (Killed, ValueError):
        return guard, child
    guard.succeeded()
    return guard, child


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
def test_it_starts_no_more_jobs_of_a_task_that_was_killed_without_notice(cloud: LocalCloud) -> None:
    def work() -> None:
        submit("own")
        child.fork()
        os.kill(os.getpid(), signal.SIGKILL)

    child = Child()
    if (task := os.fork()) == 0:
        Try(work=work).run(Settings(confirm_seconds=20, patience=30))
    os.waitpid(task, 0)
    until(lambda: names(cloud) == {"own": True})
    assert child.go_on() == REFUSED
    assert names(cloud) == {"own": True}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_success_it_is_not_refused(cloud: LocalCloud) -> None:
    _, child = run(lambda _: None)
    assert child.go_on() == STARTED
    assert names(cloud) == {"own": False, "late": False}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("settings", [Settings(), Settings(sentinel=False)], ids=["sentinel", "none"])
def test_the_log_promises_no_cancel_of_a_first_job_that_it_starts(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """As of a process pool: nobody who can cancel hears of the job."""

    def work() -> None:
        if (child := os.fork()) == 0:
            logger = logging.getLogger("task")
            logger.addHandler(logging.StreamHandler(os.fdopen(2, "w")))
            logger.setLevel("INFO")
            submit("one")
            submit("two")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    Try(work=work).run(settings)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("[remote jobs]")]
    warning, *started = lines
    assert warning.startswith(
        "[remote jobs] Not guarded: jobs that are started in a forked child of the task:"
    )
    assert ("Start the first job in the task itself." in warning) is settings.sentinel
    assert [line.partition(" job ")[0] for line in started] == ["[remote jobs] Started AWS Batch"] * 2
    assert not any("will be cancelled" in line for line in started)
