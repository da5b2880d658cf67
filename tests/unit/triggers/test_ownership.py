"""Whether a deferred task is dead, and how often Airflow is asked until that is clear."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_cancel_provider.cancellation import Watch
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label, TaskKey
from airflow_cancel_provider.record import StoredIntent, TryRecord, TryState
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.triggers import on_kill as killing
from airflow_cancel_provider.triggers import recheck as waiting
from airflow_cancel_provider.triggers.ownership import USER_ACTION, DeferredTry, Verdict, ask, undisturbed
from airflow_cancel_provider.triggers.recheck import Rechecks
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from tests import memory_service
from tests.airflow_fakes import FakeAirflow, airflow, key_of
from tests.memory_service import Memory, MemoryHook
from tests.task_fixtures import TaskInstance, through_serde

__all__ = ["airflow"]

DEPLOYMENT = "00000000"
OURS, RESUMED, DONE, ANOTHERS, GARBAGE = "ours", "resumed", "done", "another's", "garbage"
STATES = {OURS: TryState.DEFERRED, RESUMED: TryState.RUNNING, DONE: TryState.RETURNED}
DEAD, LIVES, UNCLEAR = Verdict.DEAD, Verdict.LIVES, Verdict.UNCLEAR


def recorded(ti: TaskInstance, whose: str | None) -> Any:
    """What stands in XCom."""
    if whose == GARBAGE:
        return {"ti_id": str(ti.id), "state": "asleep", "jobs": "all"}
    if whose is None:
        return None
    return TryRecord(uuid4() if whose == ANOTHERS else ti.id, STATES.get(whose, TryState.RUNNING))


def with_neighbours(airflow: FakeAirflow, ti: TaskInstance, state: str | None, whose: str | None) -> None:
    """Put a task instance among others of which the contrary is true."""
    contrary = "failed" if state in ("deferred", "queued") else "deferred"
    others = [
        replace(ti, map_index=ti.map_index + 1, id=uuid4()),
        replace(ti, run_id="another run", id=uuid4()),
        replace(ti, task_id="another", id=uuid4()),
        replace(ti, dag_id="another", id=uuid4()),
    ]
    for other in others:
        # Under our own id, so that whoever reads it takes it for ours.
        airflow.put(other, contrary, TryRecord(ti.id if whose == ANOTHERS else other.id, TryState.DEFERRED))
    if state == "removed":
        return
    airflow.put(ti, state, recorded(ti, whose))


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


def asked(ti: TaskInstance) -> Verdict:
    deferred = DeferredTry.of(ti)
    return asyncio.run(ask([deferred], is_first=True))[deferred].verdict


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
    ti = TaskInstance()
    airflow.put(ti, "failed", recorded(ti, OURS))
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


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A service in memory that a trigger can reach; all is done in haste."""
    monkeypatch.setitem(SERVICES, "memory", memory_service.ROW)
    monkeypatch.setattr(MemoryHook, "memory", Memory())
    monkeypatch.setattr(killing, "TOGETHER", 0.02)
    monkeypatch.setattr(killing, "FIRST_PAUSE", 0.05)
    for name, seconds in {"FIRST_PAUSE": 0.02, "LONGEST_PAUSE": 0.1, "TOGETHER": 0.02}.items():
        monkeypatch.setattr(waiting, name, seconds)
    Endless.killed.clear()
    return MemoryHook.memory


class Endless(BaseTrigger):
    """An operator's own trigger."""

    killed: list[str] = []  # noqa: RUF012  of all of them

    def __init__(self, name: str = "own", is_broken: bool = False, swallows: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kwargs = {"name": name, "is_broken": is_broken, "swallows": swallows}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Endless", self.kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if not self.kwargs["swallows"]:
                raise
        yield TriggerEvent(None)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        self.killed.append(str(self.kwargs["name"]))
        if self.kwargs["is_broken"]:
            raise ValueError("broken")


def guarding(ti: TaskInstance, jobs: list[RemoteJob], **inner: Any) -> BaseTrigger:
    """The guard's trigger, as it arrives in a triggerer."""
    record = TryRecord(ti.id, TryState.DEFERRED, tuple(jobs))
    made = GuardTrigger.around(Endless(**inner), record, "why", DEPLOYMENT)
    return GuardTrigger(**through_serde(made.serialize()[1]))


def sensing(ti: TaskInstance, jobs: list[RemoteJob]) -> BaseTrigger:  # noqa: ARG001
    return RemoteJobsTrigger(Watch(jobs).as_json(), Access().as_json(), 60, None, 0, "why")


async def killed(trigger: BaseTrigger, ti: TaskInstance) -> bool:
    """Cancel a trigger as a triggerer does for a kill, or a move; whether that is what it ended with."""
    trigger.task_instance = ti  # type: ignore[assignment]

    async def events() -> None:
        async for _ in trigger.run():
            pass

    task = asyncio.ensure_future(events())
    await asyncio.sleep(0.05)
    task.cancel(USER_ACTION)
    await asyncio.wait([task], timeout=20)
    return task.cancelled()


def story(tell: Callable[[], Awaitable[Any]], seconds: float = 30) -> Any:
    """Tell it, in a loop of its own."""

    async def bounded() -> Any:
        return await asyncio.wait_for(tell(), seconds)

    return asyncio.run(bounded())


async def until(true: Callable[[], Any]) -> None:
    while not true():  # noqa: ASYNC110  what is waited for is in tables
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("make", [guarding, sensing])
@pytest.mark.parametrize("state, asked", [("failed", [("a", False)]), ("deferred", [])])
def test_only_the_jobs_of_the_dead_are_cancelled(
    airflow: FakeAirflow, memory: Memory, make: Any, state: str, asked: list[Any]
) -> None:
    ti = TaskInstance()
    airflow.put(ti, state, recorded(ti, OURS))
    assert story(lambda: killed(make(ti, memory.jobs("a")), ti))
    assert memory.sent == asked


@pytest.mark.parametrize("make", [guarding, sensing])
def test_a_trigger_that_is_cancelled_does_not_fail_where_airflow_is_away(
    airflow: FakeAirflow, memory: Memory, make: Any
) -> None:
    """If it did, Airflow would fail the task by it, also where that lives on in another triggerer."""
    ti = TaskInstance()
    airflow.put(ti, "failed", recorded(ti, OURS))
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
    ti = TaskInstance()
    airflow.put(ti, "failed", recorded(ti, OURS))
    trigger = make(ti, memory.jobs("a"))

    async def tell() -> None:
        await killed(trigger, ti)
        await trigger.on_kill()
        await trigger.on_kill()
        await asyncio.sleep(0.2)

    story(tell)
    assert memory.sent == [("a", False)]
    assert Endless.killed == (["own"] if make is guarding else [])


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
    assert Endless.killed == ["own 0"]


def test_a_trigger_that_makes_an_end_of_its_cancellation_is_guarded(
    airflow: FakeAirflow, memory: Memory
) -> None:
    ti = TaskInstance()
    airflow.put(ti, "failed", recorded(ti, OURS))
    story(lambda: killed(guarding(ti, memory.jobs("a"), swallows=True), ti))
    assert memory.sent == [("a", False)]


def test_an_own_trigger_whose_hook_is_broken_is_said(
    airflow: FakeAirflow, memory: Memory, caplog: pytest.LogCaptureFixture
) -> None:
    ti = TaskInstance()
    airflow.put(ti, "failed", recorded(ti, OURS))
    assert story(lambda: killed(guarding(ti, memory.jobs("a"), is_broken=True), ti))
    assert memory.sent == [("a", False)]
    assert "on_kill of the operator's own trigger failed: ValueError('broken')" in caplog.text


def test_a_trigger_that_the_triggerer_has_not_fails_alone() -> None:
    """Airflow's triggerer ends on an error of a trigger's ``__init__``, with all its triggers."""
    trigger = GuardTrigger("no.such.module.Trigger", {}, {"of": "another version"}, "why", DEPLOYMENT)

    async def run() -> None:
        async for _ in trigger.run():
            pass

    with pytest.raises(ModuleNotFoundError, match="no"):
        asyncio.run(run())
    with pytest.raises(TypeError, match="Another version"):
        RemoteJobsTrigger({"jobs": ["memory:///place/a"]}, {}, 1, None, 0)


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
            await until(lambda: make is sensing or Endless.killed)
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

    @pytest.mark.parametrize("state", ["deferred", "queued"])
    def test_they_live_if_the_record_was_gone_before_a_try_could_have_deleted_it(
        self, airflow: FakeAirflow, memory: Memory, state: str
    ) -> None:
        """XCom was tidied up, the trigger was moved, and the same try is resumed elsewhere."""
        ti = TaskInstance()
        airflow.put(ti, state, None)

        async def tell() -> None:
            await killed(guarding(ti, memory.jobs("a")), ti)
            assert len(Rechecks.here()) == 1
            airflow.put(ti, "running", None)
            before = airflow.asked["xcom"]
            await until(lambda: airflow.asked["xcom"] > before + 2)
            assert memory.sent == []
            airflow.put(ti, "failed", None)
            await until(lambda: memory.sent)

        story(tell)
        assert memory.sent == [("a", False)]

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
            await until(lambda: not Rechecks.here()._settling)

        story(tell, 120)
        assert {job for job, _ in memory.sent} == {f"j{index}" for index in range(500)}
        # Few calls for many jobs.
        assert len(memory.looks) < 100


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

    def test_what_an_earlier_try_has_released_lives_though_it_is_searched_by_its_label(
        self, airflow: FakeAirflow, memory: Memory
    ) -> None:
        ti, first = TaskInstance(), uuid4()
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


def test_ids_are_compared_as_what_they_are(airflow: FakeAirflow) -> None:
    """A triggerer has a task instance's id as a uuid or a text, as its version likes."""
    ti: Any = TaskInstance()
    airflow.put(ti, "deferred", recorded(ti, OURS))
    ti.id = str(ti.id)
    assert DeferredTry.of(ti).ti_id == UUID(ti.id)
    assert asked(ti) is LIVES
