"""Whether a deferred task is dead, and how often Airflow is asked until that is clear."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from airflow_cancel_provider.engine.recorded import cancel_requests
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.record import TryRecord, TryState
from airflow_cancel_provider.triggers import ownership
from airflow_cancel_provider.triggers.ownership import (
    USER_ACTION,
    DeferredTry,
    Verdict,
    ask,
    judged,
    may_be_killed,
    undisturbed,
    without_released,
)
from tests.airflow_fakes import FakeAirflow, airflow
from tests.task_fixtures import TaskInstance
from tests.trigger_fixtures import (
    ANOTHERS,
    DEAD,
    DONE,
    GARBAGE,
    LIVES,
    OURS,
    RESUMED,
    UNCLEAR,
    asked,
    failed_try,
    recorded,
    with_neighbours,
)

__all__ = ["airflow"]


@pytest.mark.parametrize("map_index", [-1, 0, 3])
@pytest.mark.parametrize(
    "whose, state, verdict",
    [
        # Marked, failed, timed out, or deleted with its run.
        (OURS, "failed", DEAD),
        (OURS, "success", DEAD),
        (OURS, "skipped", DEAD),
        (OURS, "upstream_failed", DEAD),
        (OURS, "up_for_retry", DEAD),
        (None, "removed", DEAD),
        # Only moved to another triggerer.
        (OURS, "deferred", LIVES),
        # A later try is at work.
        (ANOTHERS, "deferred", DEAD),
        (ANOTHERS, "running", DEAD),
        (ANOTHERS, "queued", DEAD),
        (ANOTHERS, "success", DEAD),
        (None, "running", DEAD),
        # A later try that has no jobs, or its XCom was deleted by hand.
        (None, "deferred", UNCLEAR),
        (None, "queued", UNCLEAR),
        # It was resumed: its own process sees to the jobs, however it ends.
        (RESUMED, "running", LIVES),
        (RESUMED, "deferred", LIVES),
        (RESUMED, "failed", LIVES),
        (RESUMED, "up_for_retry", LIVES),
        # Its work is done: what lives on is meant to, also when it is cleared then.
        (DONE, "success", LIVES),
        (DONE, "running", LIVES),
        (DONE, None, LIVES),
        # It was cleared, or its own trigger has fired elsewhere, or timed out.
        (OURS, None, UNCLEAR),
        (OURS, "scheduled", UNCLEAR),
        (OURS, "queued", UNCLEAR),
        (OURS, "running", UNCLEAR),
        (OURS, "restarting", UNCLEAR),
        (OURS, "awaiting_input", UNCLEAR),
        # Somebody has written over its record: then only the state counts.
        (GARBAGE, "failed", DEAD),
        (GARBAGE, "deferred", UNCLEAR),
        (GARBAGE, "running", UNCLEAR),
        (GARBAGE, "queued", UNCLEAR),
    ],
)
def test_how_a_try_stands(
    airflow: FakeAirflow, whose: str | None, state: str | None, verdict: Verdict, map_index: int
) -> None:
    ti = TaskInstance(map_index=map_index)
    with_neighbours(airflow, ti, state, whose)
    assert asked(ti) is verdict


@pytest.mark.parametrize(
    "seen, verdict",
    [
        ("running", LIVES),
        ("restarting", DEAD),
        ("scheduled", DEAD),
        ("queued", DEAD),
        ("up_for_reschedule", DEAD),
    ],
)
def test_a_try_that_was_seen_running_has_seen_to_its_jobs_itself(seen: str, verdict: Verdict) -> None:
    deferred = DeferredTry.of(TaskInstance())
    record = TryRecord(deferred.ti_id, TryState.DEFERRED)
    assert judged(deferred, seen, record).verdict is UNCLEAR
    assert judged(deferred, "failed", record).verdict is verdict


def test_many_tries_of_one_task_are_asked_about_at_once(airflow: FakeAirflow) -> None:
    tis = [TaskInstance(map_index=index, run_id=run) for index in range(20) for run in ("a", "b")]
    for ti in tis:
        airflow.put(ti, "failed" if ti.map_index % 3 else "deferred", recorded(ti, OURS))
    standings = asyncio.run(ask([DeferredTry.of(ti) for ti in tis]))
    assert [standing.verdict for standing in standings.values()] == [
        DEAD if ti.map_index % 3 else LIVES for ti in tis
    ]
    assert airflow.asked["states"] == 1


def test_where_airflow_does_not_answer_it_is_unclear_why_is_said(airflow: FakeAirflow) -> None:
    airflow.down = RuntimeError("The database is away")
    deferred = DeferredTry.of(TaskInstance())
    standing = asyncio.run(ask([deferred]))[deferred]
    assert standing.verdict is UNCLEAR
    assert "The database is away" in standing.trouble


@pytest.mark.parametrize("whose", [GARBAGE, None, ANOTHERS])
def test_what_a_try_has_released_lives_whatever_became_of_its_record(
    airflow: FakeAirflow, whose: str | None
) -> None:
    ti = TaskInstance()
    airflow.put(ti, "success", recorded(ti, whose))
    airflow.variables[f"remote_jobs_released_{ti.id}"] = {"all": True, "jobs": []}
    assert asked(ti) is LIVES


@pytest.mark.parametrize("broken", [{"jobs": []}, "1", ["a"], {"all": False, "jobs": ["no address"]}])
def test_a_release_that_cant_be_read_keeps_all_jobs_alive(airflow: FakeAirflow, broken: Any) -> None:
    ti = failed_try(airflow)
    assert asked(ti) is DEAD
    airflow.variables[f"remote_jobs_released_{ti.id}"] = broken
    assert asked(ti) is UNCLEAR


def test_work_goes_on_undisturbed() -> None:
    async def work() -> str:
        await asyncio.sleep(0.2)
        return "done"

    async def story() -> str:
        task = asyncio.ensure_future(undisturbed(work()))
        for _ in range(5):
            await asyncio.sleep(0.02)
            task.cancel()
        return await task

    assert asyncio.run(story()) == "done"


def test_an_error_of_undisturbed_work_is_raised() -> None:
    async def work() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(undisturbed(work()))


def test_ids_are_compared_as_what_they_are(airflow: FakeAirflow) -> None:
    """A triggerer has a task instance's id as a uuid or a text, as its version likes."""
    ti: Any = TaskInstance()
    airflow.put(ti, "deferred", recorded(ti, OURS))
    ti.id = str(ti.id)
    assert DeferredTry.of(ti).ti_id == UUID(ti.id)
    assert asked(ti) is LIVES


class TestMayBeKilled:
    """Airflow 3.3 gives a cancellation by a person a message."""

    @pytest.mark.parametrize("message, killed", [(USER_ACTION, True), ("", False)])
    def test_in_a_thread_that_waits_for_the_triggerer(
        self, monkeypatch: pytest.MonkeyPatch, message: str, killed: bool
    ) -> None:
        """As a hook does that asks for its connection: asgiref raises an error without the message."""
        monkeypatch.setattr(ownership, "HAS_ON_KILL", True)

        async def trigger(asks: asyncio.Event) -> bool:
            async def answer() -> None:
                asks.set()
                await asyncio.sleep(60)

            try:
                await sync_to_async(async_to_sync(answer), thread_sensitive=False)()
            except asyncio.CancelledError as error:
                return may_be_killed(error)
            return False

        async def cancelled() -> bool:
            asks = asyncio.Event()
            task = asyncio.create_task(trigger(asks))
            await asks.wait()
            task.cancel(message)
            return await task

        assert asyncio.run(cancelled()) is killed

    @pytest.mark.parametrize("message, killed", [(USER_ACTION, True), ("", False)])
    def test_elsewhere(self, monkeypatch: pytest.MonkeyPatch, message: str, killed: bool) -> None:
        monkeypatch.setattr(ownership, "HAS_ON_KILL", True)
        assert may_be_killed(asyncio.CancelledError(message)) is killed

    @pytest.mark.parametrize("is_stopping", [True, False])
    def test_in_a_triggerer_of_airflow_3_2(self, monkeypatch: pytest.MonkeyPatch, is_stopping: bool) -> None:
        """It gives no message, and as it stops nobody reads what Airflow answers: to ask would never end."""
        from airflow.sdk.execution_time import task_runner

        channel = SimpleNamespace(_reader_task=SimpleNamespace(done=lambda: is_stopping))
        monkeypatch.setattr(ownership, "HAS_ON_KILL", False)
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
        assert may_be_killed(asyncio.CancelledError()) is not is_stopping


@pytest.mark.parametrize("trouble", ["Airflow is away", "the release can't be read"])
def test_where_nobody_can_say_what_a_try_has_released_nothing_of_it_is_cancelled(
    airflow: FakeAirflow, trouble: str
) -> None:
    ti = TaskInstance()
    record = TryRecord(ti.id, TryState.DEFERRED, (RemoteJob("batch://aws_default@us-east-1/queue/1"),))
    (request,) = cancel_requests(record, "why", logging.getLogger(), TaskKey.of(ti))
    assert without_released(request).jobs == record.jobs
    if trouble == "Airflow is away":
        airflow.down = AirflowUnavailable(trouble)
    else:
        airflow.variables[f"remote_jobs_released_{ti.id}"] = "1"
    assert without_released(request).jobs == ()
