"""Triggers that are told to end: whose jobs are cancelled."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent

from airflow_cancel_provider.guard import trigger as guard_trigger
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, TaskKey, release_key
from airflow_cancel_provider.record import StoredIntent, TryRecord, TryState
from airflow_cancel_provider.triggers import gathered_cancels
from airflow_cancel_provider.triggers import on_kill as killing
from airflow_cancel_provider.triggers.ownership import USER_ACTION
from airflow_cancel_provider.triggers.recheck import Rechecks
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.watch import Watch
from tests.airflow_fakes import FakeAirflow, airflow, key_of
from tests.airflow_versions import TRIGGERS_HAVE_ON_KILL
from tests.memory_service import Memory
from tests.task_fixtures import TaskInstance
from tests.trigger_fixtures import (
    DEPLOYMENT,
    OURS,
    RESUMED,
    Endless,
    failed_try,
    guarding,
    killed,
    memory,
    recorded,
    sensing,
    story,
    until,
)

__all__ = ["airflow", "memory"]


@pytest.mark.parametrize("make", [guarding, sensing])
@pytest.mark.parametrize("state, asked", [("failed", [("a", False)]), ("deferred", [])])
def test_only_the_jobs_of_the_dead_are_cancelled(
    airflow: FakeAirflow, memory: Memory, make: Any, state: str, asked: list[Any]
) -> None:
    ti = TaskInstance()
    airflow.put(ti, state, recorded(ti, OURS))
    assert story(lambda: killed(make(ti, memory.jobs("a")), ti))
    assert memory.sent == asked


class Ending(Endless):
    """A trigger that ends its task in the triggerer."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Ending", self.kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield {"failed": TaskFailedEvent, "skipped": TaskSkippedEvent, "success": TaskSuccessEvent}[
            str(self.kwargs["name"])
        ]()


@pytest.mark.parametrize("state", ["failed", "skipped", "success"])
def test_a_trigger_that_ends_the_task_itself(airflow: FakeAirflow, memory: Memory, state: str) -> None:
    """No worker is told of that end: the jobs of a task that has failed are cancelled by the trigger."""
    ti = TaskInstance()
    airflow.put(ti, "deferred", recorded(ti, OURS))
    record = TryRecord(ti.id, TryState.DEFERRED, tuple(memory.jobs("a")))
    trigger = GuardTrigger.around(Ending(state), record, "why", DEPLOYMENT)
    trigger.task_instance = ti  # type: ignore[assignment]

    async def tell() -> None:
        async def events() -> None:
            async for event in trigger.run():
                airflow.states[key_of(ti)] = str(event.task_instance_state)  # type: ignore[attr-defined]
                seen.set()

        seen = asyncio.Event()
        task = asyncio.ensure_future(events())
        await seen.wait()
        await asyncio.sleep(0.05)
        assert task.done() is (state == "success")
        task.cancel(USER_ACTION)
        await asyncio.wait([task])

    story(tell)
    assert memory.sent == ([] if state == "success" else [("a", False)])
    left = airflow.variables.get(release_key(ti.id))
    assert (left is not None and left["all"]) is (state == "success")
    assert airflow.xcoms[key_of(ti)].get("state") == ("returned" if state == "success" else "deferred")


def test_a_trigger_that_airflow_runs_in_the_process_of_the_task_has_no_task(
    airflow: FakeAirflow, memory: Memory
) -> None:
    """``dags test`` goes on with the task whatever the event says."""
    record = TryRecord(TaskInstance().id, TryState.DEFERRED, tuple(memory.jobs("a")))
    trigger = GuardTrigger.around(Ending("success"), record, "why", DEPLOYMENT)

    async def first() -> Any:
        return await anext(trigger.run(), None)

    assert isinstance(asyncio.run(first()), TaskSuccessEvent)
    assert not airflow.variables


@pytest.mark.parametrize("make", [guarding, sensing])
def test_a_trigger_stays_to_log_how_its_job_has_ended(
    airflow: FakeAirflow,
    memory: Memory,
    make: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From then on, what it logs is not in the log of the try."""
    monkeypatch.setattr(killing, "CONFIRM_SECONDS", 10.0)
    ti = failed_try(airflow)

    async def tell() -> None:
        task = asyncio.ensure_future(killed(make(ti, memory.jobs("a")), ti))
        await until(lambda: memory.sent == [("a", False)])
        await asyncio.sleep(0.3)
        assert not task.done()
        memory.states["a"] = JobState.CANCELLED
        await asyncio.wait_for(task, 5)

    with caplog.at_level("INFO"):
        story(tell)
    words = "Task was ended by Airflow while it was deferred: cancelled memory:///place/a (CANCELLED after "
    assert words in caplog.text


def test_what_comes_when_a_trigger_has_gone_is_added_to_its_log_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti, path = TaskInstance(), tmp_path / "attempt=1[a].log"
    monkeypatch.setattr(killing, "log_file_of", lambda _: str(path))
    monkeypatch.setattr(killing, "CLOSED_AFTER", 0.0)
    file = Path(f"{path}.trigger.7.log")
    file.write_text("before\n")
    trigger = Endless()
    trigger.task_instance = ti  # type: ignore[assignment]
    log = killing.InContext(logging.getLogger("try"), trigger)
    log.info("is in the log of Airflow")
    log.leave()
    time.sleep(0.01)
    log.warning("%s has ended", "it")
    before, line = file.read_text().splitlines()
    assert before == "before"
    found = json.loads(line)
    assert (found["level"], found["event"]) == ("warning", "[remote jobs] it has ended")


@pytest.mark.parametrize("make", [guarding, sensing])
def test_a_trigger_that_is_cancelled_does_not_fail_where_airflow_is_away(
    airflow: FakeAirflow, memory: Memory, make: Any
) -> None:
    """If it did, Airflow would fail the task by it, also where that lives on in another triggerer."""
    ti = failed_try(airflow)
    airflow.down = RuntimeError("The database is away")

    async def tell() -> None:
        assert await killed(make(ti, memory.jobs("a")), ti)
        assert memory.sent == []
        airflow.down = None
        await until(lambda: memory.sent)

    story(tell)
    assert memory.sent == [("a", False)]


@pytest.mark.parametrize("make", [guarding, sensing])
def test_a_second_kill_cancels_once(airflow: FakeAirflow, memory: Memory, make: Any) -> None:
    """Airflow 3.3 calls ``on_kill`` after it has cancelled the trigger."""
    ti = failed_try(airflow)
    trigger = make(ti, memory.jobs("a"))

    async def tell() -> None:
        await killed(trigger, ti)
        await trigger.on_kill()
        await trigger.on_kill()
        await asyncio.sleep(0.2)

    story(tell)
    assert memory.sent == [("a", False)]
    assert Endless.killed == (["own"] if make is guarding and TRIGGERS_HAVE_ON_KILL else [])


def test_one_of_mapped_deferred_tasks_is_not_taken_for_another(airflow: FakeAirflow, memory: Memory) -> None:
    """One was marked, the other only moved, or runs again."""
    tis = [TaskInstance(map_index=index) for index in range(3)]
    for ti, state in zip(tis, ("failed", "deferred", "queued"), strict=True):
        airflow.put(ti, state, recorded(ti, OURS))

    async def tell() -> None:
        for ti in tis:
            await killed(guarding(ti, memory.jobs(f"of_{ti.map_index}"), name=f"own {ti.map_index}"), ti)
        assert memory.sent == [("of_0", False)]
        airflow.put(tis[2], "running", recorded(tis[2], RESUMED))
        await until(lambda: not len(Rechecks.here()))

    story(tell)
    assert memory.sent == [("of_0", False)]
    assert Endless.killed == (["own 0"] if TRIGGERS_HAVE_ON_KILL else [])


def test_a_trigger_that_makes_an_end_of_its_cancellation_is_guarded(
    airflow: FakeAirflow, memory: Memory
) -> None:
    ti = failed_try(airflow)
    story(lambda: killed(guarding(ti, memory.jobs("a"), swallows=True), ti))
    assert memory.sent == [("a", False)]


@pytest.mark.parametrize("own", ["swallows", "is_refused"])
def test_a_triggerer_that_stops_is_asked_nothing_whatever_a_trigger_makes_of_it(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    """Nobody reads the answer: neither the trigger nor the triggerer would end."""
    channel = SimpleNamespace(_reader_task=SimpleNamespace(done=lambda: True))
    monkeypatch.setattr("airflow.sdk.execution_time.task_runner.SUPERVISOR_COMMS", channel, raising=False)
    ti = failed_try(airflow)
    story(lambda: killed(guarding(ti, memory.jobs("a"), **{own: True}), ti))
    assert memory.sent == []


@pytest.mark.parametrize("state, asked", [("failed", [("a", False)]), ("deferred", [])])
def test_a_trigger_whose_own_cancel_fails_is_guarded(
    airflow: FakeAirflow, memory: Memory, state: str, asked: list[Any]
) -> None:
    """``EmrServerlessStartJobTrigger`` raises the service's error: then Airflow calls no ``on_kill``."""
    ti = TaskInstance()
    airflow.put(ti, state, recorded(ti, OURS))
    trigger = guarding(ti, memory.jobs("a"), is_refused=True)
    assert not story(lambda: killed(trigger, ti)), "it ends as it would without the guard"
    assert memory.sent == asked


@pytest.mark.skipif(not TRIGGERS_HAVE_ON_KILL, reason="nobody calls the hook")
def test_an_own_trigger_whose_hook_is_broken_is_said(
    airflow: FakeAirflow, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    ti = failed_try(airflow)
    assert story(lambda: killed(guarding(ti, memory.jobs("a"), is_broken=True), ti))
    assert memory.sent == [("a", False)]
    (said,) = [each for each in caplog.records if "operator's own on_kill" in each.getMessage()]
    assert said.levelname == "INFO", "the jobs were seen to"
    assert said.getMessage().endswith("after the guard has acted: ValueError('broken')")


class Hanging(Endless):
    """Its own hook does not come to an end; its ``__init__`` asks Airflow, over the event loop."""

    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, **own: Any) -> None:
        super().__init__(**own)
        if self.loop and threading.current_thread() is not threading.main_thread():
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.3), self.loop).result(5)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Hanging", self.kwargs

    async def on_kill(self) -> None:
        await asyncio.sleep(3600)


def hanging(ti: TaskInstance, jobs: Sequence[RemoteJob] = ()) -> GuardTrigger:
    return GuardTrigger.around(Hanging(), TryRecord(ti.id, TryState.DEFERRED, tuple(jobs)), "why", DEPLOYMENT)


def test_an_own_hook_that_hangs_is_left_after_a_while(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_trigger, "OWN_SECONDS", 0.2)
    ti = failed_try(airflow)
    assert story(lambda: killed(hanging(ti, memory.jobs("a")), ti))
    assert memory.sent == [("a", False)]


def test_a_trigger_that_a_thread_makes_holds_up_no_other(
    airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (hanging(failed_try(airflow)) for _ in range(2))

    async def tell() -> None:
        monkeypatch.setattr(Hanging, "loop", asyncio.get_running_loop())
        making = asyncio.ensure_future(asyncio.to_thread(lambda: first.inner))
        await asyncio.sleep(0.1)
        assert isinstance(second.inner, Hanging)
        await making

    story(tell, 10)


def test_a_trigger_that_the_triggerer_has_not_fails_alone() -> None:
    """Airflow's triggerer ends on an error of a trigger's ``__init__``, with all its triggers."""
    trigger = GuardTrigger("no.such.module.Trigger", {}, {"of": "another version"}, "why", DEPLOYMENT)

    async def run() -> None:
        async for _ in trigger.run():
            pass

    with pytest.raises(ModuleNotFoundError, match="no"):
        asyncio.run(run())
    whole = Watch([RemoteJob("memory:///place/a")]).as_json()
    for watch in ({"jobs": whole["jobs"]}, {**whole, "missing": []}):
        with pytest.raises(TypeError, match="Another version"):
            RemoteJobsTrigger(watch, {}, 1, None, 0)


def test_a_job_that_never_ends_is_given_up_and_named(
    airflow: FakeAirflow, memory: Memory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gathered_cancels, "PATIENCE", 0.2)
    ti = TaskInstance()
    jobs = memory.jobs("endless")
    airflow.put(ti, "failed", TryRecord(ti.id, TryState.DEFERRED, tuple(jobs)))

    async def tell() -> None:
        await killed(guarding(ti, jobs), ti)
        await until(lambda: "may still be running" in caplog.text)

    story(tell)
    assert memory.sent == [("endless", False)]
    assert f"Not seen to end, and may still be running: {jobs[0]}" in caplog.text


class TestNextTry:
    """What a next try goes on with is not for the trigger of the last one."""

    @pytest.mark.parametrize("reconnects", [True, False])
    @pytest.mark.parametrize("state, whose", [("up_for_retry", OURS), ("running", None)])
    def test_what_it_reconnects_to_lives(
        self, airflow: FakeAirflow, memory: Memory, state: str, whose: str | None, reconnects: bool
    ) -> None:
        ti = TaskInstance()
        airflow.put(ti, state, recorded(ti, whose))
        memory.labels["a"] = Label(DEPLOYMENT, ti.id, reconnects=reconnects)
        story(lambda: killed(guarding(ti, memory.jobs("a", "b")), ti))
        assert [job for job, _ in memory.sent] == (["b"] if reconnects else ["a", "b"])

    def test_what_it_has_on_record_lives(self, airflow: FakeAirflow, memory: Memory) -> None:
        ti = TaskInstance()
        jobs = memory.jobs("a", "b")
        airflow.put(ti, "running", TryRecord(uuid4(), jobs=(jobs[0],)))
        story(lambda: killed(guarding(ti, jobs), ti))
        assert memory.sent == [("b", False)]

    @pytest.mark.parametrize("all_of_them", [True, False])
    def test_what_was_released_lives(self, airflow: FakeAirflow, memory: Memory, all_of_them: bool) -> None:
        ti = TaskInstance()
        jobs = memory.jobs("a", "b")
        airflow.put(ti, "running", None)
        release = {"all": all_of_them, "jobs": [str(jobs[0])], "at": "", "task": ""}
        airflow.variables[f"remote_jobs_released_{ti.id}"] = release
        airflow.variables[f"remote_jobs_released_{uuid4()}"] = {**release, "all": True}
        story(lambda: killed(guarding(ti, jobs), ti))
        assert memory.sent == ([] if all_of_them else [("b", False)])

    @pytest.mark.parametrize("first", [UUID(int=1), UUID(int=(1 << 128) - 1)], ids=["before", "after"])
    def test_what_an_earlier_try_has_released_lives_though_it_is_searched_by_its_label(
        self, airflow: FakeAirflow, memory: Memory, first: UUID
    ) -> None:
        ti = TaskInstance()
        label = Label(DEPLOYMENT, first, task=TaskKey.of(ti).digest)
        released, own = memory.jobs("released", "own")
        memory.claims = [JobStatus(job, JobState.RUNNING, label=label) for job in (released, own)]
        memory.labels = {"released": label, "own": label}
        earlier = TryRecord(first, intents=(StoredIntent("memory", None, None, "place", label, 1.0),))
        record = TryRecord(ti.id, TryState.DEFERRED, earlier=(earlier,))
        airflow.put(ti, "failed", record)
        airflow.variables[f"remote_jobs_released_{first}"] = {"all": False, "jobs": [str(released)]}
        trigger = GuardTrigger.around(Endless(), record, "why", DEPLOYMENT)
        story(lambda: killed(trigger, ti))
        assert memory.sent == [("own", False)]
