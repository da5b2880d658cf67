"""How the jobs of killed deferred tasks have ended: on record as each kill is over, and counted once."""

from __future__ import annotations

import asyncio

import pytest

from airflow_cancel_provider.ends_on_record import ends_from_json
from airflow_cancel_provider.engine.cancel import CancelEngine
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.triggers import gathered_cancels
from airflow_cancel_provider.triggers import on_kill as killing
from tests.airflow_fakes import FakeAirflow, airflow, key_of
from tests.memory_service import Memory
from tests.real_airflow.statsd import Statsd
from tests.trigger_fixtures import failed_try, guarding, killed, memory, story, until

__all__ = ["airflow", "memory"]


def test_who_has_ended_the_jobs_is_on_record_and_counted(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti = failed_try(airflow)
    job, other = memory.jobs("a", "b")

    async def tell(statsd: Statsd) -> None:
        assert await killed(guarding(ti, [job, other]), ti)
        memory.states |= {"a": JobState.CANCELLED, "b": JobState.SUCCEEDED}
        await until(lambda: len(airflow.ends) == 1)
        ends = ends_from_json(airflow.ends[key_of(ti)])
        assert {job: (end.by, end.reason) for job, end in ends.items()} == {
            job: ("trigger", "Task was ended by Airflow while it was deferred"),
            other: ("service", ""),
        }
        await until(lambda: statsd.counters["airflow.remote_jobs.cancel.confirmed.trigger.memory"] == 2)
        assert {"time_to_request", "time_to_confirm"} == {name.split(".")[3] for name in statsd.timings}

    with Statsd() as statsd:
        monkeypatch.setattr(gathered_cancels, "stats_of_server", statsd.client)
        story(lambda: tell(statsd))


def test_a_job_that_ends_soon_is_on_record_before_a_slow_one_of_a_task_killed_with_it(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kill is written once, and both are counted together."""
    tis = [failed_try(airflow, map_index=index) for index in range(2)]
    soon, late = memory.jobs("soon", "late")

    async def tell(statsd: Statsd) -> None:
        kills = [killed(guarding(ti, [job]), ti) for ti, job in zip(tis, (soon, late), strict=True)]
        await asyncio.gather(*kills)
        memory.states["soon"] = JobState.CANCELLED
        await until(lambda: airflow.ends)
        assert list(airflow.ends) == [key_of(tis[0])]
        polls = len(memory.polls)
        await until(lambda: len(memory.polls) > polls + 2)
        memory.states["late"] = JobState.CANCELLED
        await until(lambda: len(airflow.ends) == 2)
        await until(lambda: statsd.counters["airflow.remote_jobs.cancel.confirmed.trigger.memory"])
        assert airflow.asked["ends"] == 2

    with Statsd() as statsd:
        monkeypatch.setattr(gathered_cancels, "stats_of_server", statsd.client)
        story(lambda: tell(statsd))
    assert statsd.counters["airflow.remote_jobs.cancel.confirmed.trigger.memory"] == 2
    for ti, job in zip(tis, (soon, late), strict=True):
        assert [end.by for end in ends_from_json(airflow.ends[key_of(ti)]).values()] == ["trigger"]
        assert list(airflow.ends[key_of(ti)]) == [job]


def test_jobs_over_two_connections_are_all_on_record(airflow: FakeAirflow, memory: Memory) -> None:
    """Both are of one service, and so in one XCom."""
    ti = failed_try(airflow)
    jobs = [RemoteJob.of("memory", each, scope="place", conn_id=each) for each in ("one", "two")]
    memory.states |= {"one": JobState.RUNNING, "two": JobState.RUNNING}

    async def tell() -> None:
        await killed(guarding(ti, jobs), ti)
        for ended, each in enumerate(jobs, start=1):
            memory.states[each.id] = JobState.CANCELLED
            await until(lambda: len(airflow.ends.get(key_of(ti), ())) >= ended)  # noqa: B023

    story(tell, 10)
    assert set(airflow.ends[key_of(ti)]) == set(jobs)


def test_what_a_person_has_cancelled_before_is_not_taken_for_its_own(
    airflow: FakeAirflow, memory: Memory
) -> None:
    ti = failed_try(airflow)
    (job,) = memory.jobs("a")
    memory.states["a"] = JobState.CANCELLED

    async def tell() -> None:
        assert await killed(guarding(ti, [job]), ti)
        await until(lambda: len(airflow.ends) == 1)

    story(tell)
    (end,) = ends_from_json(airflow.ends[key_of(ti)]).values()
    assert (end.state, end.by, end.reason) == (JobState.CANCELLED, "service", "")


def test_a_fault_of_ours_does_not_hold_up_a_trigger(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits any more for ends that nobody will see."""
    ti = failed_try(airflow)
    trigger = guarding(ti, memory.jobs("a"))

    def broken(_: CancelEngine) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(CancelEngine, "step", broken)
    monkeypatch.setattr(killing, "CONFIRM_SECONDS", 60)

    async def tell() -> None:
        await killed(trigger, ti)
        await until(lambda: len(asyncio.all_tasks()) <= 2)

    story(tell, 10)
