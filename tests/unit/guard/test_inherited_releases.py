"""What a try has released stays released, whoever writes to its Variable after it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.guard.api import release
from airflow_cancel_provider.hooks import variables as airflow_variables
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.record import RECORD_KEY, TryRecord
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.earlier_fixtures import earlier, recorded
from tests.service_fixtures import Bench, asked
from tests.task_fixtures import bench, connections
from tests.try_fixtures import (
    CANCEL,
    KEEP,
    Store,
    Try,
    _guarded,
    cancelled,
    fail,
    resumed,
    submit,
    submit_and_fail,
    variables,
)

__all__ = ["_guarded", "bench", "connections", "variables"]
pytestmark = pytest.mark.wide


def unavailable(key: str) -> str:
    raise AirflowUnavailable(f"Airflow did not say what Variable {key} holds.")


class TestReleases:
    """What a try has released stays released, whoever writes to its Variable after it."""

    def release(self, *jobs: str, is_all: bool = False) -> dict[str, Any]:
        return {"all": is_all, "jobs": list(jobs), "at": "2026-01-01T00:00:00+00:00", "task": "first"}

    @pytest.mark.parametrize("is_all", [False, True])
    def test_a_success_adds_to_what_an_earlier_try_has_released(
        self, variables: dict[str, Any], is_all: bool
    ) -> None:
        store = Store()
        first = Try(work=submit_and_fail, store=store)
        first.run(KEEP)
        key, own = release_key(first.id), "batch://@us-east-1/by-its-own-word"
        variables[key] = self.release(own, is_all=is_all)
        Try(store=store, try_number=2).run(KEEP)
        assert variables[key]["all"] is is_all
        jobs = {str(job) for job in TryRecord.from_json(first.pushed[RECORD_KEY]).jobs}
        assert set(variables[key]["jobs"]) == {own} | (set() if is_all else jobs)

    def test_a_failure_after_all_leaves_what_an_earlier_try_has_released(
        self, variables: dict[str, Any]
    ) -> None:
        store = Store()
        first = Try(work=submit_and_fail, store=store)
        first.run(KEEP)
        key = release_key(first.id)
        variables[key] = self.release("batch://@us-east-1/by-its-own-word")
        last = Try(store=store, try_number=2)
        guard = last.guarded(KEEP)
        last.task.execute()
        assert len(variables[key]["jobs"]) == 2
        last.state = "failed"
        guard.failed()
        assert variables[key]["jobs"] == ["batch://@us-east-1/by-its-own-word"]

    def test_a_resumed_try_adds_to_what_it_has_released_before_it_was_deferred(
        self, variables: dict[str, Any]
    ) -> None:
        ti = resumed(work=lambda: release("batch://@us-east-1/second"))
        variables[release_key(ti.id)] = self.release("batch://@us-east-1/first")
        ti.run(CANCEL)
        assert variables[release_key(ti.id)]["jobs"] == [
            "batch://@us-east-1/first",
            "batch://@us-east-1/second",
        ]

    @pytest.mark.parametrize("settings", [KEEP, CANCEL], ids=["keep", "cancel"])
    @pytest.mark.parametrize("found", ["unavailable", "text"])
    def test_what_an_earlier_try_left_is_left_alone_where_its_release_cant_be_read(
        self,
        cloud: LocalCloud,
        variables: dict[str, Any],
        found: str,
        settings: Settings,
        monkeypatch: pytest.MonkeyPatch,
        caplog: Any,
    ) -> None:
        store = Store()
        first = Try(work=submit_and_fail, store=store)
        first.run(KEEP)
        if found == "unavailable":
            monkeypatch.setattr(airflow_variables, "read_variable", unavailable)
        else:
            variables[release_key(first.id)] = "what no guard writes"
        Try(work=fail, store=store, try_number=2).run(settings)
        assert cancelled(cloud) == [False]
        assert f"Jobs of try {first.id} are left alone: " in caplog.text

    @pytest.mark.parametrize("found", ["unavailable", "text"])
    def test_one_that_cant_be_read_is_said_and_not_written_over(
        self, variables: dict[str, Any], found: str, monkeypatch: pytest.MonkeyPatch, caplog: Any
    ) -> None:
        store = Store()
        first = Try(work=submit_and_fail, store=store)
        first.run(KEEP)
        key = release_key(first.id)
        before = "what no guard writes" if found == "text" else self.release()

        def work() -> None:
            variables[key] = before
            if found == "unavailable":
                monkeypatch.setattr(airflow_variables, "read_variable", unavailable)

        Try(work=work, store=store, try_number=2).run(KEEP)
        assert variables == {key: before}
        assert f"The release of 1 remote jobs (Variable {key}) could not be written: " in caplog.text

    def test_a_submission_of_an_earlier_try_that_was_not_answered_is_released_in_its_name(
        self, bench: Bench, variables: dict[str, Any]
    ) -> None:
        owner = earlier()
        record, _ = recorded(bench, owner, "intent")
        ti = Try(store=Store({RECORD_KEY: record.as_json()}), try_number=2, max_tries=2)
        ti.run(KEEP)
        assert variables[release_key(owner.ti_id)]["all"]
        assert release_key(ti.id) not in variables


class TestReleasedInAThread:
    """``release()`` from a thread of the task, which is killed by SIGKILL right after."""

    def in_thread(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    @pytest.mark.parametrize("is_safe", [True, False])
    def test_it_is_on_record_at_once_where_the_channel_to_airflow_takes_threads(
        self, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch, is_safe: bool
    ) -> None:
        comms = SimpleNamespace(**({"_async_lock": asyncio.Lock()} if is_safe else {}))
        task_runner = sys.modules["airflow.sdk.execution_time.task_runner"]
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
        seen: list[tuple[Any, ...]] = []

        def work() -> None:
            job = f"batch://@us-east-1/{submit()}"
            self.in_thread(lambda: release(job))
            seen.append((dict(variables), ti.store[RECORD_KEY]["jobs"], job))

        ti = Try(work=work)
        ti.run(CANCEL)
        ((kept, jobs, job),) = seen
        assert [each["jobs"] for each in kept.values()] == ([[job]] if is_safe else [])
        assert jobs == ([] if is_safe else [job])

    def test_the_next_try_leaves_it_alone_by_its_release_where_the_record_still_names_it(
        self, bench: Bench, variables: dict[str, Any]
    ) -> None:
        owner = earlier()
        record, job = recorded(bench, owner, "job")
        variables[release_key(owner.ti_id)] = {"all": False, "jobs": [str(job)], "at": "", "task": ""}
        Try(store=Store({RECORD_KEY: record.as_json()}), try_number=2).run(CANCEL)
        assert asked(bench) == set()
