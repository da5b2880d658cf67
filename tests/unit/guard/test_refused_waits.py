"""A task that Airflow has ended before it reports that it succeeds or waits."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse
from packaging.version import Version

from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.plugin import listener
from airflow_cancel_provider.record import TryState
from airflow_cancel_provider.triggers.ownership import state_of
from airflow_cancel_provider.version_compat import TaskDeferred
from tests.airflow_fakes import FakeAirflow, airflow
from tests.airflow_versions import AIRFLOW, AirflowRescheduleException
from tests.cloud.server import LocalCloud
from tests.try_fixtures import Never, Try, _guarded, cancelled, submit_and, submit_once, variables

__all__ = ["_guarded", "airflow", "variables"]


class TaskRunnerMarker:
    """As Airflow's: tells listeners that it is a task's process that ends."""


def deferral() -> BaseException:
    return TaskDeferred(trigger=Never(), method_name="execute_complete")


def reschedule() -> BaseException:
    return AirflowRescheduleException(datetime.now(UTC))  # type: ignore[no-untyped-call]


def waits(end: BaseException, **changes: Any) -> Try:
    """A try that has started a job and is to be continued; Airflow has been told so, or has refused it."""
    ti = Try(work=submit_and(end), **changes)
    listener.on_task_instance_running(ti)
    with pytest.raises(type(end)):
        ti.task.execute()
    ti.state = "deferred" if isinstance(end, TaskDeferred) else "up_for_reschedule"
    return ti


@pytest.mark.parametrize("end", [deferral, reschedule])
def test_nothing_is_asked_of_a_try_that_waits(
    cloud: LocalCloud, airflow: FakeAirflow, end: Callable[[], BaseException]
) -> None:
    """Its process is not held up: where it ends late, Airflow's executor fails the resumed task."""
    ti = waits(end())
    airflow.put(ti, "failed")
    listener.before_stopping(TaskRunnerMarker())
    assert not airflow.asked
    assert cancelled(cloud) == [False]
    assert ti.record.state is TryState.DEFERRED


class Channel:
    """To a supervisor whose API server has answered so to a question about this very try."""

    _thread_lock = None

    def __init__(self, detail: dict[str, Any] | None) -> None:
        self.detail = detail
        self.questions = 0

    def send(self, question: Any) -> None:
        assert question.ti_id
        self.questions += 1
        if self.detail:
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=self.detail))


NOT_FOUND = {"status_code": 404, "detail": {"detail": {"reason": "not_found", "message": "Not found"}}}
BY_A_PROXY = {"status_code": 404, "detail": {"message": "no such page"}}
DOWN = {"status_code": None, "message": "connection refused"}


@pytest.mark.skipif(Version("3.2") > AIRFLOW, reason="Airflow's channel answers otherwise")
@pytest.mark.parametrize(
    "detail, state", [(NOT_FOUND, "removed"), (BY_A_PROXY, None), (DOWN, None), ({}, "running")]
)
def test_a_try_in_whose_place_another_runs_is_removed(
    airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch, detail: dict[str, Any], state: str | None
) -> None:
    """A running task instance was deleted: Airflow makes a new one of the same name, and of the same try."""
    ti = Try(work=lambda: None)
    airflow.put(ti, "running")
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Channel(detail), raising=False)
    with nullcontext() if state else pytest.raises(AirflowRuntimeError):
        assert state_of(TaskKey.of(ti), ti.id) == state


def test_nothing_is_asked_where_nothing_was_started(airflow: FakeAirflow) -> None:
    ti = Try(work=lambda: None)
    listener.on_task_instance_running(ti)
    ti.task.execute()
    ti.state = "deferred"
    listener.before_stopping(TaskRunnerMarker())
    assert not airflow.asked


@pytest.mark.parametrize("state", ["failed", "skipped"])
def test_the_job_of_a_try_that_airflow_has_ended_before_it_could_succeed_is_cancelled(
    cloud: LocalCloud, airflow: FakeAirflow, state: str
) -> None:
    ti = succeeds()
    assert airflow.variables  # released
    airflow.put(ti, state)
    listener.on_task_instance_success(previous_state="running", task_instance=ti)
    listener.before_stopping(TaskRunnerMarker())
    assert cancelled(cloud) == [True]
    assert not airflow.variables


@pytest.mark.skipif(Version("3.2") > AIRFLOW, reason="the id stays")
@pytest.mark.parametrize("state", ["restarting", "queued", None])
def test_the_job_of_a_try_that_was_cleared_before_it_could_succeed_is_cancelled(
    cloud: LocalCloud, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    """The task instance has a new id in both cases: cleared while it ran, or by its own success callback."""
    ti = succeeds()
    airflow.put(ti, state)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Channel(NOT_FOUND), raising=False)
    listener.on_task_instance_success(previous_state="running", task_instance=ti)
    assert cancelled(cloud) == [state == "restarting"]


@pytest.mark.skipif(Version("3.2") > AIRFLOW, reason="only the names are asked for")
def test_one_question_is_asked_of_a_success(
    cloud: LocalCloud, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti, channel = succeeds(), Channel(None)
    airflow.put(ti, "success")
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", channel, raising=False)
    listener.on_task_instance_success(previous_state="running", task_instance=ti)
    assert cancelled(cloud) == [False]
    assert not channel.questions


@pytest.mark.parametrize("state", ["success", "running", "queued", "removed"])
def test_the_job_of_a_try_that_has_succeeded_is_left_running(
    cloud: LocalCloud, airflow: FakeAirflow, state: str
) -> None:
    ti = succeeds()
    airflow.put(ti, state)
    listener.on_task_instance_success(previous_state="running", task_instance=ti)
    listener.before_stopping(TaskRunnerMarker())
    assert cancelled(cloud) == [False]


def succeeds() -> Try:
    ti = Try(work=submit_once)
    listener.on_task_instance_running(ti)
    ti.task.execute()
    ti.state = "success"
    return ti
