"""Many deferred tasks that are ended at once, and what is built before the first of them is."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import IdentityError, ServiceUnavailable
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.triggers import event_loop, gathered_cancels, ownership
from airflow_cancel_provider.triggers.ownership import USER_ACTION
from airflow_cancel_provider.triggers.poller import TOLD_TOGETHER, Board
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.watch import Watch
from tests import memory_service
from tests.airflow_fakes import FakeAirflow, airflow
from tests.cloud.server import LocalCloud
from tests.memory_service import Memory, MemoryHook, MemoryService
from tests.service_fixtures import EmrBench
from tests.task_fixtures import TaskInstance, connections, event_of
from tests.trigger_fixtures import OURS, failed_try, guarding, memory, recorded, sensing, story, until

__all__ = ["airflow", "connections", "memory"]

STORM = 500


async def run(trigger: Any, ti: TaskInstance) -> None:
    trigger.task_instance = ti
    async for _ in trigger.run():
        pass


def begin(triggers: Iterable[Any], tis: Iterable[TaskInstance]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(run(*each)) for each in zip(triggers, tis, strict=True)]


def mapped(airflow: FakeAirflow, count: int, state: str) -> list[TaskInstance]:
    """Mapped tries of one task, each with its mark."""
    tis = [TaskInstance(map_index=index) for index in range(count)]
    for ti in tis:
        airflow.put(ti, state, recorded(ti, OURS))
    return tis


@pytest.mark.usefixtures("connections")
def test_a_storm_of_kills_is_worked_off_in_few_calls_and_none_is_lost(
    cloud: LocalCloud, airflow: FakeAirflow
) -> None:
    bench = EmrBench(cloud)
    jobs = [job for _ in range(2) for job in bench.running(STORM // 2)]
    bench.close()
    tis = mapped(airflow, STORM, "deferred")

    async def tell() -> None:
        tasks = begin([guarding(ti, [job]) for ti, job in zip(tis, jobs, strict=True)], tis)
        await asyncio.sleep(0.1)
        for ti, task in zip(tis, tasks, strict=True):
            airflow.put(ti, "failed", recorded(ti, OURS))
            task.cancel(USER_ACTION)
        await asyncio.wait(tasks, timeout=60)
        assert all(task.cancelled() for task in tasks)

    cloud.journal.clear()
    story(tell, 90)
    bench.let_end()
    assert bench.are_cancelled(jobs)
    requests = cloud.journal.entries("emr", "CancelSteps")
    asked = Counter(step for request in requests for step in request.ids)
    assert asked == dict.fromkeys((job.id for job in jobs), 1)
    # Each batch takes one request a cluster; one by one they would be 500.
    print(f"{STORM} kills: {len(requests)} CancelSteps")
    assert len(requests) <= 40


@pytest.mark.usefixtures("connections")
def test_kills_that_come_while_others_wait_for_the_quota_make_one_request(
    cloud: LocalCloud, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer tells its triggers of kills over a minute or more; each request takes two seconds."""
    monkeypatch.setattr(gathered_cancels, "LONGEST_TURN", 0.2)
    bench = EmrBench(cloud)
    jobs = bench.running(20)
    bench.close()
    tis = mapped(airflow, len(jobs), "failed")

    async def tell() -> None:
        tasks = begin([guarding(ti, [job]) for ti, job in zip(tis, jobs, strict=True)], tis)
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel(USER_ACTION)
            await asyncio.sleep(0.15)
        await until(lambda: bench.are_cancelled(jobs))
        bench.let_end()
        await asyncio.wait(tasks, timeout=60)

    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__QUOTAS", "*=1000000/1000000,emr.CancelSteps=1/0.5")
    cloud.journal.clear()
    story(tell, 90)
    # Kills come for three seconds: the first request, one after two seconds, and one or two for the rest.
    assert len(cloud.journal.entries("emr", "CancelSteps")) <= 4


def test_a_storm_leaves_the_way_to_airflow_to_others(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A triggerer answers one request after the other, and its own events wait in the same queue."""
    tis = [failed_try(airflow, map_index=index) for index in range(100)]
    under_way: list[str] = []
    most: list[int] = []
    answer = airflow._answer

    def slowly(what: str) -> None:
        under_way.append(what)
        most.append(len(under_way))
        time.sleep(0.005)
        under_way.pop()
        answer(what)

    monkeypatch.setattr(airflow, "_answer", slowly)

    async def tell() -> None:
        tasks = begin([guarding(ti, memory.jobs(f"j{ti.map_index}")) for ti in tis], tis)
        await asyncio.sleep(0.1)
        airflow.asked.clear()
        for task in tasks:
            task.cancel(USER_ACTION)
        await until(lambda: len(memory.sent) == len(tis))
        memory.states |= {f"j{ti.map_index}": JobState.CANCELLED for ti in tis}
        await asyncio.wait(tasks)
        await until(lambda: airflow.asked["ends"] == len(tis))

    story(tell, 60)
    assert max(most) <= 2
    # The tries are of one task: those that are told while Airflow is asked are asked about together.
    assert airflow.asked["states"] <= 10


def test_a_request_without_an_answer_holds_up_no_other_task(airflow: FakeAirflow, memory: Memory) -> None:
    tis = {name: failed_try(airflow, task_id=name) for name in ("held", "next", "third")}
    for name in tis:
        memory.job(name)
    memory.held["held"] = threading.Event()

    async def tell() -> None:
        tasks = []
        for name, ti in tis.items():
            task = asyncio.ensure_future(run(guarding(ti, [memory.job(name)]), ti))
            tasks.append(task)
            await asyncio.sleep(0.1)
            task.cancel(USER_ACTION)
            await until(partial(memory.sent.__contains__, (name, False)))
        assert not tasks[0].done()
        memory.held["held"].set()
        memory.states |= dict.fromkeys(tis, JobState.CANCELLED)
        await asyncio.wait(tasks)

    story(tell, 60)


def test_records_that_are_slow_to_read_hold_up_no_other_task(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An XCom backend may keep them in an object storage that does not answer."""
    monkeypatch.setattr(event_loop, "LONGEST_TURN", 0.2)
    tis = {name: failed_try(airflow, task_id=name) for name in ("slow1", "slow2", "slow3", "other")}
    for name in tis:
        memory.job(name)
    answered, read = threading.Event(), ownership._record

    def slowly(deferred: Any) -> Any:
        if deferred.task.task_id != "other":
            answered.wait(30)
        return read(deferred)

    monkeypatch.setattr(ownership, "_record", slowly)

    async def tell() -> None:
        tasks = [asyncio.ensure_future(run(guarding(ti, [memory.job(name)]), ti)) for name, ti in tis.items()]
        await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel(USER_ACTION)
        await until(lambda: memory.sent == [("other", False)])
        answered.set()
        await until(lambda: len(memory.sent) == len(tis))
        memory.states |= dict.fromkeys(tis, JobState.CANCELLED)
        await asyncio.wait(tasks)

    story(tell, 60)


def test_kills_after_credentials_have_expired_share_the_new_ones(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tis = [failed_try(airflow, task_id=f"t{number}") for number in range(5)]
    expired, refused, describe = list[Any](), list[Any](), MemoryService.describe

    def described(self: Any, jobs: Any) -> Any:
        if self.meter in expired:  # copies of a service have one together
            refused.append(jobs)
            self.identity_refused = True
            raise IdentityError("The security token included in the request is expired.")
        return describe(self, jobs)

    monkeypatch.setattr(MemoryService, "describe", described)

    async def tell() -> None:
        tasks = [asyncio.ensure_future(run(guarding(ti, memory.jobs(ti.task_id)), ti)) for ti in tis]
        key = (Access().key, "memory", None, None)
        await until(lambda: Board.here().is_open(key))
        expired.append(Board.here()._services[key].opened.meter)  # type: ignore[union-attr]
        for ti, task in zip(tis, tasks, strict=True):
            task.cancel(USER_ACTION)
            await until(partial(memory.sent.__contains__, (ti.task_id, False)))
        memory.states |= {ti.task_id: JobState.CANCELLED for ti in tis}
        await asyncio.wait(tasks)

    story(tell)
    assert len(memory.opened) == 2
    assert len(refused) == 1


class TestReadiness:
    """A kill finds what it needs: the first request to Airflow and the first client take seconds."""

    @pytest.mark.parametrize("make", [guarding, sensing])
    def test_services_are_open_and_airflow_was_asked_before_a_kill(
        self, airflow: FakeAirflow, memory: Memory, make: Any
    ) -> None:
        tis = [TaskInstance(map_index=index) for index in range(3)]
        for ti in tis:
            airflow.put(ti, "deferred", recorded(ti, OURS))

        async def tell() -> None:
            tasks = begin([make(ti, memory.jobs(f"j{ti.map_index}")) for ti in tis], tis)
            await until(lambda: memory.opened)
            await asyncio.sleep(0.05)
            assert memory.opened == [(None, None)]
            assert airflow.asked["states"] == 1
            airflow.put(tis[0], "failed", recorded(tis[0], OURS))
            tasks[0].cancel(USER_ACTION)
            await until(lambda: memory.sent)
            assert memory.opened == [(None, None)]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            # Only the one that sees to the end of the cancelled job.
            assert Board.here()._services
            memory.states["j0"] = JobState.CANCELLED
            await until(lambda: not Board.here()._services)

        story(tell)
        assert memory.sent == [("j0", False)]

    def test_a_service_that_takes_long_to_open_holds_up_no_other(
        self, airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has a role, and who gives its credentials does not answer."""
        monkeypatch.setattr(event_loop, "LONGEST_TURN", 0.2)
        ti, memory.held["slow"] = failed_try(airflow), threading.Event()
        jobs = [RemoteJob.of("memory", "a", scope="place", conn_id=conn_id) for conn_id in ("slow", None)]

        async def tell() -> None:
            task = asyncio.ensure_future(run(guarding(ti, jobs), ti))
            await until(lambda: memory.opened == [("slow", None), (None, None)] and airflow.asked["states"])
            memory.held["slow"].set()
            task.cancel()
            await asyncio.wait([task])

        story(tell, 20)

    def test_a_service_that_can_not_be_opened_disturbs_nobody(
        self, airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ti = failed_try(airflow)
        airflow.down = RuntimeError("away")
        monkeypatch.setattr(MemoryHook, "for_address", _broken)

        async def tell() -> None:
            task = asyncio.ensure_future(run(guarding(ti, memory.jobs("a")), ti))
            await asyncio.sleep(0.1)
            assert not task.done()
            monkeypatch.undo()
            monkeypatch.setitem(SERVICES, "memory", memory_service.ROW)
            task.cancel()
            await asyncio.wait([task])

        story(tell)


def _broken(*_: Any) -> Any:
    raise RuntimeError("no connection")


def test_thousands_of_waits_are_told_a_few_in_each_turn_of_the_loop(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    """What is counted is work between two turns, which is what blocks others."""
    jobs = [memory.job(f"j{index}") for index in range(1000)]
    done: list[RemoteJob] = []
    most = 0

    async def wait(job: RemoteJob) -> None:
        watch = Watch([job])
        # An operator or a sensor polls once before it defers.
        watch.observe([JobStatus(job, JobState.PENDING)])
        trigger = RemoteJobsTrigger(watch.as_json(), Access().as_json(), 0.3, None, time.time())
        await event_of(trigger)
        done.append(job)

    async def count_turns() -> None:
        nonlocal most
        while len(done) < len(jobs):
            before = len(done)
            await asyncio.sleep(0)
            most = max(most, len(done) - before)

    async def tell() -> None:
        waits = [asyncio.ensure_future(wait(job)) for job in jobs]
        await until(lambda: memory.polls)
        for job in jobs:
            memory.states[job.id] = JobState.SUCCEEDED
        await asyncio.gather(count_turns(), *waits)

    with caplog.at_level(logging.INFO):
        story(tell, 60)
    # What a first poll shows: Airflow's supervisor takes no lines while it starts triggers.
    assert not [record for record in caplog.records if "RUNNING" in record.getMessage()]
    assert sum("SUCCEEDED" in record.getMessage() for record in caplog.records) == len(jobs)
    assert most <= 3 * TOLD_TOGETHER
    assert len(memory.polls) <= 8


def test_a_first_state_after_an_outage_makes_no_line_either(
    memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    memory.errors.append(ServiceUnavailable("away"))
    (job,) = memory.jobs("a")

    async def tell() -> None:
        trigger = RemoteJobsTrigger(Watch([job]).as_json(), Access().as_json(), 0.3, None, time.time())
        wait = asyncio.ensure_future(event_of(trigger))
        await until(lambda: trigger.watch.statuses)
        memory.states[job.id] = JobState.SUCCEEDED
        await wait

    with caplog.at_level(logging.INFO):
        story(tell, 60)
    told = [record.getMessage() for record in caplog.records]
    assert [words for words in told if "away" in words]
    assert not [words for words in told if "is RUNNING" in words]
