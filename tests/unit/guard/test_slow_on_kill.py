"""An operator's own ``on_kill`` that takes longer than the sentinel needs to answer, or to cancel."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard.sentinel import client as sentinel_client
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.kill_fixtures import _alarm, kill_after, submit
from tests.service_fixtures import TERMINATE
from tests.try_fixtures import Task, Try, _guarded, cancelled, variables

__all__ = ["_alarm", "_guarded", "variables"]

SENTINEL = Settings(confirm_seconds=20, patience=30)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sentinel_client, "ANSWER_SECONDS", 0.1)
    caplog.set_level("INFO")


def killed(on_kill: Callable[[], None]) -> None:
    """A task with this ``on_kill`` is told to end while its job runs."""

    def work() -> None:
        submit()
        kill_after(0.5)
        time.sleep(30)

    ti = Try(work=work)
    ti.task = type("Slow", (Task,), {"on_kill": lambda _: on_kill()})(work)
    guard = ti.guarded(SENTINEL)
    signal.signal(signal.SIGALRM, lambda *_: ti.task.on_kill())
    with pytest.raises(Killed):
        ti.task.execute()
    ti.state = "failed"
    guard.failed()


def until_ended(cloud: LocalCloud) -> None:
    """As long as the sentinel needs to cancel, to see the end, and to end."""
    until(lambda: cancelled(cloud) == [True])
    time.sleep(2)


def test_the_sentinel_is_heard_after_it(cloud: LocalCloud, caplog: pytest.LogCaptureFixture) -> None:
    killed(lambda: until_ended(cloud))
    assert "does not answer" not in caplog.text
    assert "Not guarded" not in caplog.text
    assert "(CANCELLED after" in caplog.text
    assert cloud.journal.count("batch", TERMINATE) == 1


def test_a_task_that_ends_after_its_jobs_cancels_them_once(
    cloud: LocalCloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an event loop that waits for its threads before it ends."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "none")

    def work() -> None:
        submit()
        kill_after(0.5)
        try:
            time.sleep(30)
        finally:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)  # until the sentinel has ended

    ti = Try(work=work)
    ti.guarded(SENTINEL)
    signal.signal(signal.SIGALRM, lambda *_: ti.task.on_kill())
    with pytest.raises(Killed):
        ti.task.execute()
    assert caplog.text.count(": cancelling batch://") == 1
    assert caplog.text.count("(CANCELLED after") == 1
    assert cloud.journal.count("batch", TERMINATE) == 1
