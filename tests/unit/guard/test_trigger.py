"""A guarded task that defers: its time, what goes with its trigger, and how it ends when it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import boto3
import pytest
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.guard.trigger import GuardTrigger, bounded, was_cancelled
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.version_compat import AirflowSkipException, TaskDeferred
from airflow_cancel_provider.watch import Watch
from tests.airflow_versions import TaskDeferralError, TaskDeferralTimeout
from tests.cloud.server import LocalCloud
from tests.try_fixtures import (
    CANCEL,
    RESUMED,
    Never,
    Try,
    _guarded,
    cancelled,
    ended,
    submit_and,
    submit_once,
    variables,
)

__all__ = ["_guarded", "variables"]

MINUTE = timedelta(minutes=1)


def ti_with(limit: timedelta | None, spent: timedelta | None) -> Any:
    start = datetime.now(UTC) - spent if spent is not None else None
    return SimpleNamespace(task=SimpleNamespace(execution_timeout=limit), start_date=start)


@pytest.mark.parametrize(
    "own, limit, spent, left",
    [
        # The deferral's own, where nothing else bounds it.
        (None, None, MINUTE, None),
        (5 * MINUTE, None, MINUTE, 5 * MINUTE),
        (5 * MINUTE, 3 * MINUTE, None, 5 * MINUTE),
        (None, 3 * MINUTE, None, None),
        # What is left of execution_timeout, if that is less.
        (None, 3 * MINUTE, MINUTE, 2 * MINUTE),
        (5 * MINUTE, 3 * MINUTE, MINUTE, 2 * MINUTE),
        (MINUTE, 3 * MINUTE, MINUTE, MINUTE),
        (MINUTE, 3 * MINUTE, 2.5 * MINUTE, 0.5 * MINUTE),
        # Used up: at once, and yet after the trigger was stored.
        (None, 3 * MINUTE, 4 * MINUTE, timedelta(seconds=1)),
        (5 * MINUTE, 3 * MINUTE, 3 * MINUTE, timedelta(seconds=1)),
    ],
)
def test_a_deferral_lasts_as_long_as_it_says_and_execution_timeout_allows(
    own: timedelta | None, limit: timedelta | None, spent: timedelta | None, left: timedelta | None
) -> None:
    found = bounded(own, ti_with(limit, spent))
    if left is None:
        assert found is None
    else:
        assert found is not None
        assert abs(found - left) < timedelta(seconds=5) if left > timedelta(seconds=1) else found == left


def deferring(timeout: timedelta | None = None) -> tuple[Try, TaskDeferred]:
    """A try that submits a job and defers."""
    deferral = TaskDeferred(trigger=Never(), method_name="execute_complete", timeout=timeout)

    def work() -> None:
        submit_once()
        raise deferral

    return Try(work=work), deferral


@pytest.mark.parametrize("own", [None, 5 * MINUTE])
def test_the_time_of_a_guarded_deferral_is_bounded(cloud: LocalCloud, own: timedelta | None) -> None:
    ti, deferral = deferring(own)
    task: Any = ti.task
    task.execution_timeout = 3 * MINUTE
    type.__setattr__(Try, "start_date", datetime.now(UTC) - MINUTE)
    try:
        ended(ti, TaskDeferred)
    finally:
        type.__setattr__(Try, "start_date", None)
    assert deferral.timeout is not None
    assert MINUTE < deferral.timeout <= 2 * MINUTE
    assert cancelled(cloud) == [False]


def test_a_guarded_deferral_keeps_its_own_time(cloud: LocalCloud) -> None:
    ti, deferral = deferring(5 * MINUTE)
    ended(ti, TaskDeferred)
    assert deferral.timeout == 5 * MINUTE
    assert cancelled(cloud) == [False]


def test_its_trigger_carries_the_record_that_is_in_xcom(cloud: LocalCloud) -> None:
    ti, deferral = deferring()
    settings = Settings(sentinel=False, deployment="deployed")
    ended(ti, TaskDeferred, settings)
    trigger = deferral.trigger
    assert isinstance(trigger, GuardTrigger)
    record = TryRecord.from_json(trigger.record)
    assert (record.ti_id, record.state) == (ti.id, TryState.DEFERRED)
    assert [job.id for job in record.jobs] == [job["id"] for job in cloud.batch.jobs()]
    assert ti.pushed[RECORD_KEY] == trigger.record
    assert trigger.deployment == "deployed"
    assert trigger.classpath.endswith(".Never")


@pytest.mark.parametrize("waited, own", [("a", None), ("ab", None), ("bc", "own"), ("c", "own")])
def test_of_a_trigger_and_its_guard_one_cancels(waited: str, own: str | None) -> None:
    """The guard, where the record has all jobs that the trigger waits for."""
    jobs = {name: RemoteJob(f"batch://aws_default@us-east-1/queue/{name}") for name in "abc"}
    watch = Watch([jobs[name] for name in waited]).as_json()
    inner = RemoteJobsTrigger(watch, Access().as_json(), 1.0, None, 0.0, "own")
    record = TryRecord(uuid4(), TryState.DEFERRED, (jobs["a"], jobs["b"]))
    assert GuardTrigger.around(inner, record, "reason", "deployed").kwargs["cancel_reason"] == own


def test_whether_the_running_task_was_cancelled() -> None:
    async def story() -> list[bool]:
        seen = [was_cancelled()]
        # Outside of a task.
        asyncio.get_running_loop().call_soon(lambda: seen.append(was_cancelled()))
        await asyncio.sleep(0)
        task: Any = asyncio.current_task()
        task.cancel()
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            seen.append(was_cancelled())
        task.uncancel()
        return seen

    assert asyncio.run(story()) == [False, False, True]


class Curious(BaseTrigger):
    """A trigger that fires what the triggerer has given it."""

    supports_triggerer_queue = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Curious", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        names = ("task_instance", "trigger_id", "triggerer_job_id", "timeout_after")
        yield TriggerEvent([getattr(self, name, None) for name in names])  # type: ignore[no-untyped-call]


def test_the_operators_own_trigger_is_given_what_the_triggerer_gives() -> None:
    guarded = GuardTrigger.around(Curious(), TryRecord(uuid4()), "reason", "deployed")  # type: ignore[no-untyped-call]
    again = GuardTrigger.around(guarded, TryRecord(uuid4()), "reason", "deployed")
    assert (guarded.supports_triggerer_queue, again.supports_triggerer_queue) == (False, False)
    moved: Any = GuardTrigger(**guarded.serialize()[1])
    given = [SimpleNamespace(task_id="task"), 1, 2, "later"]
    moved.task_instance, moved.trigger_id, moved.triggerer_job_id, moved.timeout_after = given

    async def first() -> Any:
        return [event.payload async for event in moved.run()]

    assert asyncio.run(first()) == [given]


@pytest.mark.parametrize(
    "end",
    [
        TaskDeferralTimeout("Trigger timeout"),  # also where execution_timeout has cut the deferral short
        TaskDeferralError("Trigger failure"),
        AirflowSkipException("soft_fail"),
        ValueError("in the method that goes on"),
    ],
    ids=repr,
)
def test_however_it_ends_when_it_is_back_its_job_ends_first(
    cloud: LocalCloud, end: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = deferring()
    ended(first, TaskDeferred)
    assert cancelled(cloud) == [False]
    back: Any = Try(id=first.id, pushed=first.pushed)
    back._ti_context_from_server = RESUMED

    def resume(_: Any) -> None:
        raise end

    monkeypatch.setattr(type(back.task), "resume_execution", resume)
    guard = TaskGuard(back, CANCEL)
    guard.install()
    # From now on its own process is responsible, and not a trigger that another triggerer may still run.
    assert back.record.state is TryState.RUNNING
    with pytest.raises(type(end)):
        back.task.resume_execution()
    assert cancelled(cloud) == [True]


def test_a_record_that_cant_be_read_leaves_its_jobs_alone(caplog: pytest.LogCaptureFixture) -> None:
    trigger = GuardTrigger(f"{__name__}.Curious", {}, {"ti_id": 1}, "reason", "deployed")
    asyncio.run(trigger.on_kill())
    assert "Its jobs are left alone" in caplog.text


class TestDeferral:
    def deferral(self, trigger: BaseTrigger) -> TaskDeferred:
        return TaskDeferred(trigger=trigger, method_name="execute_complete")

    def test_one_that_airflow_cant_take_is_a_failure(self, cloud: LocalCloud) -> None:
        ti = Try(work=submit_and(self.deferral(Never())))
        guard = ended(ti, TaskDeferred)
        assert cancelled(cloud) == [False]
        ti.state = "failed"  # its arguments can't be serialized
        guard.failed()
        assert cancelled(cloud) == [True]

    def test_one_that_cant_be_guarded_is_as_it_was_and_said(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: Any) -> None:
            raise PermissionError("no XCom for you")

        trigger = Never()
        deferral = self.deferral(trigger)
        ended(Try(work=submit_and(deferral), on_push=refuse), TaskDeferred)
        assert deferral.trigger is trigger
        (job,) = cloud.batch.jobs()
        assert "Not guarded: the task while it is deferred" in caplog.text
        assert job["id"] in caplog.text

    def test_steps_of_a_new_cluster_go_with_it(self, cloud: LocalCloud) -> None:
        deferral = self.deferral(Never())

        def work() -> None:
            step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}
            emr: Any = boto3.session.Session().client("emr", region_name="us-east-1")
            emr.run_job_flow(Name="etl", Steps=[step, step], Instances={"InstanceCount": 1})
            raise deferral

        ended(Try(work=work), TaskDeferred)
        assert isinstance(deferral.trigger, GuardTrigger)
        steps = [f"emr://@us-east-1/{job['scope']}/{job['id']}" for job in cloud.emr.jobs()]
        assert sorted(deferral.trigger.serialize()[1]["record"]["jobs"]) == sorted(steps)

    def test_steps_that_may_not_be_looked_for_go_with_it_by_their_label(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        deferral = self.deferral(Never())

        def work() -> None:
            step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}
            emr: Any = boto3.session.Session().client("emr", region_name="us-east-1")
            emr.run_job_flow(Name="etl", Steps=[step], Instances={"InstanceCount": 1})
            raise deferral

        cloud.faults.add("emr", "ListSteps", "denied")
        ti = Try(work=work)
        ended(ti, TaskDeferred)
        assert isinstance(deferral.trigger, GuardTrigger)
        (job,) = cloud.emr.jobs()
        (intent,) = TryRecord.from_json(deferral.trigger.record).intents
        assert intent.scope == job["scope"]
        assert intent.label
        assert intent.label.ti_id == ti.id
        words = f"Jobs in {job['scope']} could not be looked up. The trigger looks for them by label"
        assert words in caplog.text

    def test_somebodys_own_kind_of_it_is_one(self, cloud: LocalCloud) -> None:
        class Mine(TaskDeferred):
            pass

        deferral = Mine(trigger=Never(), method_name="execute_complete")
        ended(Try(work=submit_and(deferral)), Mine)
        assert isinstance(deferral.trigger, GuardTrigger)
        assert cancelled(cloud) == [False]
