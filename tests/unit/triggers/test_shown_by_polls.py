"""Kills of deferred tasks whose jobs are polled: what a poll has shown is not asked for once more."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from airflow_cancel_provider.exceptions import ServiceUnavailable
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.triggers import gathered_cancels
from airflow_cancel_provider.triggers.ownership import USER_ACTION
from airflow_cancel_provider.triggers.poller import Board
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.triggers.shared_service import POLLS_AT_ONCE
from airflow_cancel_provider.watch import Watch
from tests.airflow_fakes import FakeAirflow, airflow
from tests.memory_service import Memory
from tests.task_fixtures import TaskInstance, event_of
from tests.trigger_fixtures import DEPLOYMENT, failed_try, memory, story, until

__all__ = ["airflow", "memory"]

DELAY = 0.3


def waiting(ti: TaskInstance, job: RemoteJob) -> GuardTrigger:
    """The guard's trigger around one of this package, of a try that has started the job."""
    own = RemoteJobsTrigger(Watch([job]).as_json(), Access().as_json(), DELAY, None, 0, "why")
    record = TryRecord(ti.id, TryState.DEFERRED, (job,))
    trigger = GuardTrigger.around(own, record, "why", DEPLOYMENT)
    trigger.task_instance = ti  # type: ignore[assignment]
    return trigger


async def killed_when_seen(memory: Memory, *triggers: GuardTrigger) -> list[asyncio.Future[Any]]:
    """Kill triggers once a poll has shown their jobs."""
    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(event_of(trigger)) for trigger in triggers]
    waits: list[RemoteJobsTrigger] = [trigger.inner for trigger in triggers]  # type: ignore[misc]
    await until(lambda: all(wait.watch.statuses for wait in waits))
    memory.polls.clear()
    for task in tasks:
        task.cancel(USER_ACTION)
    return tasks


def test_a_job_whose_label_was_seen_is_cancelled_without_a_look(airflow: FakeAirflow, memory: Memory) -> None:
    ti = failed_try(airflow)
    memory.labels["a"] = Label(DEPLOYMENT, ti.id)
    trigger = waiting(ti, memory.job("a"))

    async def tell() -> None:
        tasks = await killed_when_seen(memory, trigger)
        await until(lambda: memory.sent)
        assert memory.polls == []
        memory.states["a"] = JobState.CANCELLED
        await asyncio.wait(tasks)

    story(tell)
    assert memory.sent == [("a", False)]


@pytest.mark.parametrize("label", [None, Label(DEPLOYMENT, uuid4())])
def test_without_its_own_label_it_is_looked_at_or_left_alone(
    airflow: FakeAirflow, memory: Memory, label: Label | None
) -> None:
    ti = failed_try(airflow)
    memory.labels |= {"a": label} if label else {}
    trigger = waiting(ti, memory.job("a"))

    async def tell() -> None:
        tasks = await killed_when_seen(memory, trigger)
        await asyncio.wait(tasks)

    story(tell)
    assert ["a"] in memory.polls if label is None else memory.sent == []


@pytest.mark.parametrize("outcome", [CancelOutcome.GONE, CancelOutcome.REFUSED])
def test_what_the_service_does_not_know_any_more_is_looked_at(
    airflow: FakeAirflow, memory: Memory, outcome: CancelOutcome
) -> None:
    """The connection may lead to another account since: nothing says that the job has ended.

    Of a cluster that is not there, a service refuses to cancel anything.
    """
    ti = failed_try(airflow)
    memory.labels["a"] = Label(DEPLOYMENT, ti.id)
    memory.outcomes["a"] = outcome
    trigger = waiting(ti, memory.job("a"))

    async def tell() -> None:
        tasks = await killed_when_seen(memory, trigger)
        await until(partial(memory.sent.__contains__, ("a", False)))
        memory.outcomes.clear()
        await until(lambda: memory.sent.count(("a", False)) == 2)
        memory.states["a"] = JobState.CANCELLED
        await asyncio.wait(tasks)

    story(tell)
    assert memory.polls


def test_what_is_refused_after_a_look_is_not_requested_again(airflow: FakeAirflow, memory: Memory) -> None:
    ti = failed_try(airflow)
    memory.labels["a"] = Label(DEPLOYMENT, ti.id)
    memory.outcomes["a"] = CancelOutcome.REFUSED
    trigger = waiting(ti, memory.job("a"))

    async def tell() -> None:
        tasks = await killed_when_seen(memory, trigger)
        await until(lambda: len(memory.sent) > 1)
        assert memory.polls
        await asyncio.wait(tasks)
        await asyncio.sleep(3 * DELAY)

    story(tell)
    assert memory.sent == [("a", False)] * 2


def test_kills_and_those_who_wait_on_share_the_polls(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathered_cancels, "TOGETHER", 0.001)
    monkeypatch.setattr(gathered_cancels, "FIRST_PAUSE", DELAY)
    monkeypatch.setattr(gathered_cancels, "LONGEST_PAUSE", DELAY)
    tis = {name: failed_try(airflow, task_id=name) for name in ("a", "b", "c", "d", "e")}
    memory.labels |= {name: Label(DEPLOYMENT, ti.id) for name, ti in tis.items()}
    triggers = [waiting(ti, memory.job(name)) for name, ti in tis.items()]

    async def tell() -> None:
        other = asyncio.ensure_future(event_of(waiting(TaskInstance(), memory.job("other"))))
        tasks = await killed_when_seen(memory, *triggers)
        await until(lambda: len(memory.sent) == len(tis))
        await asyncio.sleep(3 * DELAY)
        # Each poll is for all of them; each kill with polls of its own would make ten.
        assert 2 <= len(memory.polls) <= 5
        memory.states |= dict.fromkeys(memory.states, JobState.CANCELLED)
        await asyncio.wait([*tasks, other])

    story(tell)


def test_a_poll_that_does_not_come_holds_up_no_escalation(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it, those of hundreds of clusters have their turns."""
    monkeypatch.setattr(gathered_cancels, "ESCALATE_AFTER", 0.5)
    ti = failed_try(airflow)
    memory.labels["a"] = Label(DEPLOYMENT, ti.id)
    trigger = waiting(ti, memory.job("a"))

    async def tell() -> None:
        tasks = await killed_when_seen(memory, trigger)
        (shared,) = Board.here()._services.values()
        for _ in range(POLLS_AT_ONCE):
            await shared._turns.acquire()
        await until(partial(memory.sent.__contains__, ("a", True)))
        # A poll of its own would make the others wait still longer.
        assert memory.polls == []
        memory.states["a"] = JobState.CANCELLED
        await asyncio.wait(tasks)

    story(tell, 10)


def test_while_a_request_is_repeated_what_was_requested_takes_part_in_the_shared_polls(
    airflow: FakeAirflow, memory: Memory
) -> None:
    tis = {name: failed_try(airflow, task_id=name) for name in ("a", "b")}
    memory.labels |= {name: Label(DEPLOYMENT, ti.id) for name, ti in tis.items()}
    memory.outcomes["b"] = CancelOutcome.UNANSWERED
    triggers = [waiting(ti, memory.job(name)) for name, ti in tis.items()]

    async def tell() -> None:
        tasks = await killed_when_seen(memory, *triggers)
        (shared,) = Board.here()._services.values()
        for _ in range(POLLS_AT_ONCE):
            await shared._turns.acquire()
        await until(lambda: memory.sent.count(("b", False)) == 3)
        assert memory.polls == []
        memory.states["a"] = JobState.CANCELLED
        for _ in range(POLLS_AT_ONCE):
            shared._turns.release()
        await asyncio.wait(tasks[:1])
        assert memory.sent.count(("a", False)) == 1
        memory.outcomes.clear()
        memory.states["b"] = JobState.CANCELLED
        await asyncio.wait(tasks)

    story(tell, 10)


@pytest.mark.parametrize("failures", [1, 2])
def test_after_a_failed_poll_the_next_shared_one_is_waited_for(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """More polls would only take from the quota, while the service is in trouble."""
    monkeypatch.setattr(gathered_cancels, "FIRST_PAUSE", DELAY)
    monkeypatch.setattr(gathered_cancels, "LONGEST_PAUSE", DELAY)
    ti = failed_try(airflow)
    memory.labels["a"] = Label(DEPLOYMENT, ti.id)
    trigger = waiting(ti, memory.job("a"))

    async def tell() -> None:
        other = asyncio.ensure_future(event_of(waiting(TaskInstance(), memory.job("other"))))
        tasks = await killed_when_seen(memory, trigger)
        await until(lambda: memory.sent)
        memory.errors += [ServiceUnavailable("Slow down.", "ListJobs")] * failures
        await until(lambda: not memory.errors)
        await asyncio.sleep(1.5 * DELAY)
        alone = [jobs for jobs in memory.polls if "other" not in jobs]
        assert len(alone) == (failures > 1)
        memory.states |= dict.fromkeys(memory.states, JobState.CANCELLED)
        await asyncio.wait([*tasks, other])

    story(tell, 10)
