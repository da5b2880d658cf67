"""An Airflow on a copy of another one's database: it leaves the jobs of the other one alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.owner import deployment_of
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.triggers import gathered_cancels
from airflow_cancel_provider.triggers.remote_jobs import RemoteJobsTrigger
from airflow_cancel_provider.version_compat import TaskDeferred
from tests.airflow_fakes import FakeAirflow, airflow
from tests.cloud.server import LocalCloud
from tests.memory_service import Memory
from tests.task_fixtures import TaskInstance, through_serde
from tests.trigger_fixtures import Endless, killed, memory, sensing, story
from tests.try_fixtures import (
    RESUMED,
    Try,
    _guarded,
    cancelled,
    fail,
    submit_once,
    variables,
)

__all__ = ["_guarded", "airflow", "memory", "variables"]

PRODUCTION = deployment_of("production")


def settings(name: str, *, labels: bool) -> Settings:
    return Settings(sentinel=False, confirm_seconds=8, labels=labels, deployment=deployment_of(name))


def deferred(*, labels: bool) -> tuple[Try, Any]:
    """A task of production that waits for its job, and its trigger as it is stored."""
    deferral = TaskDeferred(trigger=Endless(), method_name="execute_complete")

    def work() -> None:
        submit_once()
        raise deferral

    ti = Try(work=work)
    guard = ti.guarded(settings("production", labels=labels))
    with pytest.raises(TaskDeferred):
        ti.task.execute()
    guard.stops()
    return ti, deferral.trigger.serialize()[1]


WAYS: dict[str, Callable[[Any, str], tuple[str, Any]]] = {
    "marked": lambda own, _: ("failed", own),
    "cleared": lambda _, name: ("running", TryRecord(uuid4(), deployment=deployment_of(name))),
    "cleared, and its next try has no record yet": lambda _, __: ("running", None),
}
"""The task's state, and what is on record of it: of its own record, and of the name of the Airflow there."""


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name, is_cancelled", [("production", True), ("staging", False)])
def test_a_deferred_task_that_is_ended_there(
    cloud: LocalCloud,
    airflow: FakeAirflow,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    is_cancelled: bool,
    way: str,
    labels: bool,
) -> None:
    monkeypatch.setattr(gathered_cancels, "FIRST_PAUSE", 0.1)
    ti, stored = deferred(labels=labels)
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", name)
    airflow.put(ti, *WAYS[way](ti.pushed[RECORD_KEY], name))
    assert story(lambda: killed(GuardTrigger(**through_serde(stored)), TaskInstance(id=ti.id)))
    assert cancelled(cloud) == [is_cancelled]
    told = f"by another Airflow (deployment {PRODUCTION}, not {deployment_of(name)}); its jobs are left alone"
    assert (told in caplog.text) is not is_cancelled


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("name, is_cancelled", [("production", True), ("staging", False)])
def test_a_deferred_task_that_goes_on_there_and_fails(
    cloud: LocalCloud, caplog: pytest.LogCaptureFixture, name: str, is_cancelled: bool, labels: bool
) -> None:
    before, _ = deferred(labels=labels)
    ti: Any = Try(id=before.id, work=fail, pushed=before.pushed, store=before.store)
    ti._ti_context_from_server = RESUMED
    ti.run(settings(name, labels=labels))
    assert cancelled(cloud) == [is_cancelled]
    assert ("record of remote jobs is another Airflow's" in caplog.text) is not is_cancelled


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name, is_cancelled", [("production", True), ("staging", False)])
def test_a_sensor_that_is_ended_there(
    airflow: FakeAirflow,
    memory: Memory,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    is_cancelled: bool,
    way: str,
) -> None:
    ti = TaskInstance()
    trigger = sensing(ti, memory.jobs("a"))
    trigger.deployment = PRODUCTION
    own = TryRecord(ti.id, TryState.DEFERRED, deployment=PRODUCTION)
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", name)
    airflow.put(ti, *WAYS[way](own, name))
    stored = through_serde(trigger.serialize()[1])
    assert story(lambda: killed(RemoteJobsTrigger(**stored), ti))
    assert memory.sent == [("a", False)] * is_cancelled
