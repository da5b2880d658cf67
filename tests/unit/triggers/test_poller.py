"""Shared polls at a small quota: whose turn it is, what is logged, and what an error costs."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from airflow_cancel_provider import watch as watching
from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.exceptions import IdentityError, ServiceError
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.services.polls import FULL_EVERY, PollMemory
from airflow_cancel_provider.triggers import shared_service
from airflow_cancel_provider.triggers.event_loop import Schedule
from airflow_cancel_provider.triggers.poller import MOST_REQUESTS, Board
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.triggers.shared_service import Demand, SharedService
from airflow_cancel_provider.watch import Watch
from tests.memory_service import Memory, MemoryService
from tests.task_fixtures import event_of
from tests.trigger_fixtures import memory, polled, story, until

__all__ = ["memory"]


def waiting(jobs: Sequence[RemoteJob] | Watch, delay: float = 0.1) -> RemoteJobsTrigger:
    watch = jobs if isinstance(jobs, Watch) else Watch(jobs)
    return RemoteJobsTrigger(watch.as_json(), Access().as_json(), delay, None, time.time())


class TestQuota:
    def test_clusters_take_turns_and_the_log_says_once_how_long_it_takes(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        memory.quota = (1, 20.0)
        jobs = [memory.job(f"j{index}", scope=f"place{index % 10}") for index in range(100)]
        story(lambda: polled([waiting([job]) for job in jobs], lambda: len(memory.polls) >= 35))
        turns = [poll[0][-1] for poll in memory.polls]
        by_place = Counter(turns)
        assert max(by_place.values()) - min(by_place.values()) <= 1
        # Who waits for a turn takes along all that have come to be due by then.
        assert all(len(poll) == 10 for poll in memory.polls[10:])
        told = [record.getMessage() for record in caplog.records if "quota" in record.getMessage()]
        assert 1 <= len(told) <= 6
        assert "1.2e+03 calls a minute) stretches the poll from 0.1 s to" in told[0]

    def test_how_long_it_takes_is_in_the_log_of_no_task(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A triggerer puts a line into the log of the trigger in whose context it was written."""
        whose, told = ContextVar("whose", default="the triggerer"), []
        monkeypatch.setattr(shared_service.log, "warning", lambda *_: told.append(whose.get()))
        memory.quota = (1, 20.0)
        jobs = [memory.job(f"j{index}", scope=f"place{index}") for index in range(10)]

        async def waits() -> None:
            whose.set("a task")
            await polled([waiting([job]) for job in jobs], lambda: len(memory.polls) >= 15)

        story(waits)
        assert set(told) == {"the triggerer"}

    def test_nobody_waits_for_the_quota_in_a_thread(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        under_way, most = 0, 0
        poll = MemoryService.poll

        def counted(self: Any, *args: Any, **options: Any) -> Any:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            time.sleep(0.01)
            under_way -= 1
            return poll(self, *args, **options)

        monkeypatch.setattr(MemoryService, "poll", counted)
        memory.quota = (1, 20.0)
        jobs = [memory.job(f"j{index}", scope=f"place{index}") for index in range(40)]
        story(lambda: polled([waiting([job]) for job in jobs], lambda: len(memory.polls) >= 10))
        assert most <= 2

    @pytest.mark.parametrize("rate, expected", [(4000.0, False), (5.0, True)])
    def test_polls_leave_something_out_only_where_the_quota_is_small(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch, rate: float, expected: bool
    ) -> None:
        allowed: list[bool] = []
        poll = MemoryService.poll

        def noted(self: Any, jobs: Any, memory: PollMemory, **options: Any) -> Any:
            allowed.append(options["may_leave_out"])
            return poll(self, jobs, memory, **options)

        monkeypatch.setattr(MemoryService, "poll", noted)
        memory.quota = (10, rate)
        story(lambda: polled([waiting(memory.jobs("a"), 0.05)], lambda: len(memory.polls) >= 3))
        assert allowed[-1] is expected

    def test_full_polls_of_clusters_do_not_come_together(self, memory: Memory) -> None:
        """Between them polls are cheap: all full ones together would hold up every cluster."""
        jobs = [memory.job("j", scope=f"place{number}") for number in range(FULL_EVERY)]
        due: list[int] = []

        async def tell() -> None:
            await polled([waiting([job]) for job in jobs], lambda: len(memory.polls) >= len(jobs) and note())

        def note() -> bool:
            demands = [each for one in Board.here()._services.values() for each in one.demands.values()]
            due.extend(each.memory.since_full for each in demands if each.memory.polls == 1)
            return True

        story(tell)
        assert len(set(due)) == len(due) >= FULL_EVERY / 2


class TestErrors:
    def test_a_poll_that_was_refused_does_not_wait_for_the_quota_once_more(self, memory: Memory) -> None:
        # The next token comes after a minute: until then the new credentials may have expired, too.
        memory.quota = (1, 1 / 60)
        memory.errors = [IdentityError("The security token included in the request is expired.")]
        job = memory.job("j", JobState.SUCCEEDED)
        event = story(lambda: asyncio.wait_for(event_of(waiting([job])), 30))
        assert event["error"] is None
        assert len(memory.opened) == 2

    def test_credentials_may_expire_twice_while_a_poll_waits(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job, poll, seen = memory.job("j", JobState.SUCCEEDED), MemoryService.poll, list[Any]()

        def expired_but_for_the_newest(self: Any, *args: Any, **options: Any) -> Any:
            seen.append(self)
            if len(memory.opened) < 3:
                # Another poll was refused meanwhile, has opened the service anew, and that has expired, too.
                shared.opened = MemoryService(memory, None, None)
                memory.opened.append((None, None))
                raise IdentityError("The security token included in the request is expired.")
            return poll(self, *args, **options)

        monkeypatch.setattr(MemoryService, "poll", expired_but_for_the_newest)
        shared = SharedService(Access(), job.service_key)
        demand = shared.demands["place"] = Demand("place")
        (status,) = story(lambda: shared.poll(demand, lambda: ([job], set())))
        assert status.state is JobState.SUCCEEDED
        assert len(seen) == 2

    @pytest.mark.parametrize("refusals, error", [(2, None), (3, None), (4, "IdentityError")])
    def test_credentials_may_expire_while_a_poll_is_made_again(
        self, memory: Memory, refusals: int, error: str | None
    ) -> None:
        """A poll asks twice; where the quota holds up both, new credentials come with the next poll."""
        job = memory.job("j", JobState.SUCCEEDED)
        memory.errors = [IdentityError("The security token is expired.") for _ in range(refusals)]
        event = story(lambda: event_of(waiting([job], 0.05)))
        assert (event["error"] or {}).get("type") == error

    @pytest.mark.parametrize("seconds, error", [(60, None), (0.2, "IdentityError")])
    def test_credentials_that_were_accepted_before_may_be_refused_for_a_while(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch, seconds: float, error: str | None
    ) -> None:
        """Somebody has withdrawn an old key, and is about to enter the new one in the connection."""
        monkeypatch.setattr(watching, "ROTATION", seconds)
        job = memory.job("j", JobState.SUCCEEDED)
        seen = Watch([job])
        seen.observe([JobStatus(job, JobState.RUNNING)])
        memory.errors = [IdentityError("The security token is expired.") for _ in range(30)]
        event = story(lambda: event_of(waiting(seen, 0.05)))
        assert (event["error"] or {}).get("type") == error

    def test_a_cluster_that_is_unknown_costs_one_poll_for_all_its_waits(self, memory: Memory) -> None:
        jobs = [memory.job(f"j{index}", scope="gone") for index in range(50)]
        good = memory.job("good", JobState.SUCCEEDED)
        memory.unknown_scopes.add("gone")

        async def tell() -> list[dict[str, Any]]:
            return await asyncio.gather(*(event_of(waiting([job])) for job in [*jobs, good]))

        *lost, last = story(tell)
        assert {event["error"]["type"] for event in lost} == {"UnknownScope"}
        assert last["error"] is None
        assert len(memory.polls) <= 4

    def test_a_bad_job_among_many_is_found_by_halves(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs = [memory.job(f"j{index}", JobState.SUCCEEDED) for index in range(200)]
        describe = MemoryService.describe

        def refusing(self: Any, asked: Any) -> Any:
            found = describe(self, asked)
            if jobs[77] in list(asked):
                raise ServiceError("This id is malformed.", "Poll", "ClientException")
            return found

        monkeypatch.setattr(MemoryService, "describe", refusing)

        async def tell() -> list[dict[str, Any]]:
            return await asyncio.gather(*(event_of(waiting([job])) for job in jobs))

        events = story(tell)
        assert [index for index, event in enumerate(events) if event["error"]] == [77]
        assert len(memory.polls) <= 20

    def test_a_service_that_refuses_everything_is_not_asked_for_each(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs = [memory.job(f"j{index}") for index in range(500)]

        def refusing(self: Any, asked: Any) -> Any:
            self.memory.polls.append(list(asked))
            raise ServiceError("No.", "Poll", "ClientException")

        monkeypatch.setattr(MemoryService, "describe", refusing)
        story(lambda: polled([waiting([job], 3) for job in jobs], lambda: len(memory.polls) >= MOST_REQUESTS))
        assert len(memory.polls) <= MOST_REQUESTS


def test_connections_that_are_not_answered_keep_no_others_waiting(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region is down in which twenty connections have two clusters each; another region is fine."""
    up_again, poll = threading.Event(), MemoryService.poll

    def silent(self: Any, *args: Any, **options: Any) -> Any:
        if self.conn_id:
            up_again.wait(20)
        return poll(self, *args, **options)

    monkeypatch.setattr(MemoryService, "poll", silent)
    hanging = [
        RemoteJob.of("memory", f"j{number}", scope=f"place{number % 2}", conn_id=f"team{number // 2}")
        for number in range(40)
    ]
    fine = memory.job("fine", JobState.SUCCEEDED)

    async def tell() -> Any:
        waits = asyncio.ensure_future(polled([waiting([job], 0.01) for job in hanging], up_again.is_set))
        await asyncio.sleep(1)
        try:
            return await asyncio.wait_for(event_of(waiting([fine])), 5)
        finally:
            up_again.set()
            await waits

    assert story(tell)["error"] is None


def test_polls_come_soon_after_a_cancel_and_then_as_often_as_asked_for() -> None:
    job = RemoteJob.of("memory", "a", scope="place")
    cancellation = Cancellation([job], "why")
    delays = {}
    for seconds in (0, 10, 60, 3600):
        cancellation.requested_at = time.time() - seconds
        delays[seconds] = round(waiting(cancellation, 30)._delay())
    assert delays == {0: 2, 10: 5, 60: 30, 3600: 30}
    assert waiting([job], 30)._delay() == 30


def test_restarts_of_a_triggerer_do_not_put_off_the_poll(memory: Memory) -> None:
    job = memory.job("j", JobState.SUCCEEDED)
    restarted = RemoteJobsTrigger(
        Watch([job]).as_json(), Access().as_json(), 3600.0, None, time.time() - 3 * 3600 + 0.2
    )
    event = story(lambda: event_of(restarted), 5)
    assert event["error"] is None
    assert len(memory.polls) == 1


def test_a_poll_after_a_restart_does_not_count_as_one_that_is_wanted_often(memory: Memory) -> None:
    job = memory.job("j")
    restarted = RemoteJobsTrigger(
        Watch([job]).as_json(), Access().as_json(), 3600.0, None, time.time() - 3600 + 0.2
    )
    asked: list[float] = []

    async def tell() -> None:
        task = asyncio.ensure_future(event_of(restarted))
        await until(lambda: memory.polls)
        asked.extend(each.delay for each in demands())
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def demands() -> list[Demand]:
        return [each for service in Board.here()._services.values() for each in service.demands.values()]

    story(tell, 5)
    assert asked == [3600.0]


def test_to_add_to_a_schedule_of_thousands_compares_few() -> None:
    """What is counted is comparisons: a list that is searched for each of its items takes millions."""
    compared = itertools.count()

    class Time(float):
        def __lt__(self, other: float) -> bool:
            next(compared)
            return float.__lt__(self, other)

    schedule: Schedule[int] = Schedule()
    for number in range(5000):
        schedule.add(number, Time(number * 7919 % 5000))
    assert len(list(schedule.due(5000))) == 5000
    assert next(compared) < 5000 * 40
