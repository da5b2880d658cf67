"""Airflow is asked again until it is clear how a deferred try stands."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from airflow_cancel_provider.task_log import PrefixedLog
from airflow_cancel_provider.triggers import recheck as waiting
from airflow_cancel_provider.triggers.ownership import DeferredStanding, DeferredTry
from airflow_cancel_provider.triggers.recheck import Rechecks
from tests.airflow_fakes import FakeAirflow, airflow, key_of
from tests.airflow_versions import TRIGGERS_HAVE_ON_KILL
from tests.memory_service import Memory
from tests.task_fixtures import TaskInstance
from tests.trigger_fixtures import (
    OURS,
    RESUMED,
    Endless,
    guarding,
    killed,
    memory,
    recorded,
    sensing,
    story,
    until,
)

__all__ = ["airflow", "memory"]


class TestUnclear:
    """A task that was cleared stays in the queue, for as long as its pool is full."""

    @pytest.mark.parametrize("make", [guarding, sensing])
    def test_its_jobs_end_when_the_next_try_begins(
        self, airflow: FakeAirflow, memory: Memory, make: Any
    ) -> None:
        ti = TaskInstance(map_index=2)
        airflow.put(ti, "queued", recorded(ti, OURS))

        async def tell() -> None:
            assert await killed(make(ti, memory.jobs("a")), ti)
            before = airflow.asked["states"]
            await until(lambda: airflow.asked["states"] > before + 5)
            assert memory.sent == []
            assert Endless.killed == []
            airflow.put(ti, "running", None)
            await until(lambda: memory.sent)
            await until(lambda: make is sensing or not TRIGGERS_HAVE_ON_KILL or Endless.killed)
            assert len(Rechecks.here()) == 0

        story(tell)
        assert memory.sent == [("a", False)]

    def test_they_live_if_the_same_try_is_resumed(self, airflow: FakeAirflow, memory: Memory) -> None:
        """Its trigger timed out, or has fired in another triggerer."""
        ti = TaskInstance()
        airflow.put(ti, "queued", recorded(ti, OURS))

        async def tell() -> None:
            await killed(guarding(ti, memory.jobs("a")), ti)
            assert len(Rechecks.here()) == 1
            airflow.states[key_of(ti)] = "running"
            before = airflow.asked["xcom"]
            await until(lambda: airflow.asked["xcom"] > before + 2)
            airflow.put(ti, "running", recorded(ti, RESUMED))
            await until(lambda: not len(Rechecks.here()))
            await asyncio.sleep(0.2)

        story(tell)
        assert (memory.sent, Endless.killed) == ([], [])

    def test_they_live_if_it_succeeds_though_nobody_guarded_it_any_more(
        self, airflow: FakeAirflow, memory: Memory
    ) -> None:
        """A next try would have deleted the record before it ran."""
        ti = TaskInstance()
        airflow.put(ti, "running", recorded(ti, OURS))

        async def tell() -> None:
            await killed(guarding(ti, memory.jobs("a")), ti)
            airflow.states[key_of(ti)] = "success"
            await until(lambda: not len(Rechecks.here()))
            await asyncio.sleep(0.2)

        story(tell)
        assert memory.sent == []

    @pytest.mark.parametrize("end", ["failed", "success"])
    @pytest.mark.parametrize("state", ["deferred", "queued"])
    def test_they_live_if_the_record_was_gone_before_a_try_could_have_deleted_it(
        self, airflow: FakeAirflow, memory: Memory, state: str, end: str
    ) -> None:
        """XCom was tidied up, the trigger was moved, and the same try is resumed elsewhere.

        If it succeeds, its jobs may go on; if it fails, they may not.
        """
        ti = TaskInstance()
        airflow.put(ti, state, None)

        async def tell() -> None:
            await killed(guarding(ti, memory.jobs("a")), ti)
            assert len(Rechecks.here()) == 1
            airflow.put(ti, "running", None)
            before = airflow.asked["xcom"]
            await until(lambda: airflow.asked["xcom"] > before + 2)
            assert memory.sent == []
            airflow.put(ti, end, None)
            await until(lambda: not len(Rechecks.here()))
            await asyncio.sleep(0.2)

        story(tell)
        assert memory.sent == ([("a", False)] if end == "failed" else [])

    def test_after_a_day_it_is_said(
        self,
        airflow: FakeAirflow,
        memory: Memory,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(waiting, "PATIENCE", 0.2)
        ti = TaskInstance()
        airflow.put(ti, "queued", recorded(ti, OURS))

        async def tell() -> None:
            await killed(guarding(ti, memory.jobs("a")), ti)
            await until(lambda: not len(Rechecks.here()))

        story(tell)
        assert memory.sent == []
        assert "nightly / manual__2026 / stop is over was not clear for a day" in caplog.text
        assert "memory:///place/a" in caplog.text

    def test_a_thousand_are_one_task_a_few_requests_and_nothing_when_they_are_over(
        self, airflow: FakeAirflow, memory: Memory
    ) -> None:
        tis = [TaskInstance(map_index=index) for index in range(1000)]
        for ti in tis:
            airflow.put(ti, "queued", recorded(ti, OURS))

        async def tell() -> None:
            await asyncio.gather(*(killed(guarding(ti, memory.jobs(f"j{ti.map_index}")), ti) for ti in tis))
            assert len(Rechecks.here()) == 1000
            await asyncio.sleep(0.3)
            airflow.asked.clear()
            tasks = len(asyncio.all_tasks())
            await asyncio.sleep(1)
            # Each would be asked about ten times a second.
            assert 1 <= airflow.asked["states"] < 200
            assert airflow.asked["xcom"] == 0
            assert tasks < 10
            for ti in tis:
                airflow.put(ti, "running", None if ti.map_index < 500 else recorded(ti, RESUMED))
            await until(lambda: not len(Rechecks.here()) and len(memory.sent) == 500)
            await until(lambda: not Rechecks.here()._begun)

        story(tell, 120)
        assert {job for job, _ in memory.sent} == {f"j{index}" for index in range(500)}
        # Few calls for many jobs.
        assert len(memory.polls) < 100


@pytest.mark.usefixtures("airflow")
def test_what_is_more_than_a_triggerer_holds_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "MOST", 1000)
    deferred = DeferredTry.of(TaskInstance())

    async def settle(_: DeferredStanding) -> None: ...

    async def tell() -> None:
        for number in range(1001):
            Rechecks.here().add(deferred, settle, f"job {number}", PrefixedLog(logging.getLogger("task")))
        assert len(Rechecks.here()) == 1000

    story(tell)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.endswith("may run on: job 1000")
