"""What a task may still submit after it was told to end, and what its clean-up may."""

from __future__ import annotations

import threading

import pytest

from airflow_cancel_provider.exceptions import Killed, SubmissionRefused
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from tests.cloud.server import LocalCloud
from tests.kill_fixtures import _alarm, guarded, names, submit
from tests.try_fixtures import Task, _guarded, variables

__all__ = ["_alarm", "_guarded", "variables"]


class TestFence:
    """After a kill nothing new is started, inside of ``execute``."""

    def test_execute_can_submit_no_more(self, cloud: LocalCloud) -> None:
        def work() -> None:
            submit("before")
            with pytest.raises(Killed):
                ti.task.on_kill()
            with pytest.raises(SubmissionRefused):
                submit("after")
            raise ValueError

        ti, _ = guarded(work)
        with pytest.raises(ValueError, match=r"^$"):
            ti.task.execute()
        assert names(cloud) == {"before": True}

    @pytest.mark.parametrize("has_jobs", [False, True])
    @pytest.mark.parametrize("thread", [False, True])
    def test_the_operators_own_on_kill_may_clean_up(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, thread: bool, has_jobs: bool
    ) -> None:
        def clean_up(_: Task) -> None:
            if thread:
                (worker := threading.Thread(target=submit, args=("cleanup",))).start()
                worker.join()
            else:
                submit("cleanup")

        def work() -> None:
            if has_jobs:
                submit("work")
            ti.task.on_kill()
            raise ValueError("it was not ended by the kill")

        monkeypatch.setattr(Task, "on_kill", clean_up)
        ti, guard = guarded(work)
        with pytest.raises(Killed if has_jobs else ValueError):
            ti.task.execute()
        assert names(cloud) == ({"work": True} if has_jobs else {}) | {"cleanup": False}
        clean = next(job for job in cloud.batch.jobs() if job["name"] == "cleanup")
        assert LABEL_PARAMETER not in clean["labels"]["parameters"]
        assert len(guard.parts.ledger.jobs) == has_jobs

    def test_other_threads_of_the_task_are_refused_while_it_cleans_up(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        is_cleaning, ends = threading.Event(), []

        def beside() -> None:
            is_cleaning.wait(20)
            try:
                submit("beside")
            except SubmissionRefused as refused:
                ends.append(refused)

        def clean_up(_: Task) -> None:
            is_cleaning.set()
            worker.join(20)

        def work() -> None:
            submit("work")
            worker.start()
            ti.task.on_kill()

        worker = threading.Thread(target=beside)
        monkeypatch.setattr(Task, "on_kill", clean_up)
        ti, _ = guarded(work)
        with pytest.raises(Killed):
            ti.task.execute()
        assert len(ends) == 1
        assert names(cloud) == {"work": True}

    def test_a_callback_after_a_kill_may_submit(self, cloud: LocalCloud) -> None:
        def work() -> None:
            submit("work")
            ti.task.on_kill()

        ti, guard = guarded(work)
        with pytest.raises(Killed):
            ti.task.execute()
        submit("callback")
        ti.state = "failed"
        guard.failed()
        assert names(cloud) == {"work": True, "callback": False}
