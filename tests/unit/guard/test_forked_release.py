"""What forked children of a task have started is released, too, when the task succeeds."""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest

from airflow_cancel_provider.guard import release
from airflow_cancel_provider.guard.events import JobsEnded
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.try_fixtures import Try, _guarded, cancelled, submit, submit_once, variables  # noqa: F401  fixtures


def test_a_release_in_a_forked_child_is_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    """The task itself does not hear of it, so it is on no record."""

    def work() -> None:
        job = submit_once()
        if (child := os.fork()) == 0:
            logging.getLogger("task").addHandler(logging.StreamHandler(os.fdopen(2, "w")))
            release(job)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        release(job)

    Try(work=work).run(Settings(confirm_seconds=20, patience=30))
    assert capfd.readouterr().err.count("is released in a forked child, so its release is on no record") == 1


def test_jobs_of_a_forked_child_are_released(cloud: LocalCloud, variables: dict[str, Any]) -> None:  # noqa: F811
    """The run may be deleted while they run: then only the release tells the reaper to leave them alone."""

    def work() -> None:
        submit("own")
        guard.parts.ledger.apply(JobsEnded(tuple(guard.parts.ledger.jobs)))
        if (child := os.fork()) == 0:
            try:
                submit("childs")
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    ti = Try(work=work)
    guard = ti.guarded(Settings(confirm_seconds=20, patience=30))
    ti.task.execute()
    guard.succeeded()
    assert len(cloud.batch.jobs()) == 2
    assert [release["all"] for release in variables.values()] == [True]
    assert cancelled(cloud) == [False, False]
