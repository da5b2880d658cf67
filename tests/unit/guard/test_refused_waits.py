"""A task that hands its jobs over, to be continued later, and Airflow has ended it meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse
from packaging.version import Version

from airflow_cancel_provider.plugin import listener
from airflow_cancel_provider.record import TryState
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
@pytest.mark.parametrize("state", ["failed", "skipped", "removed", "upstream_failed"])
def test_the_job_of_a_try_that_airflow_has_ended_before_it_could_wait_is_cancelled(
    cloud: LocalCloud, airflow: FakeAirflow, state: str, end: Callable[[], BaseException]
) -> None:
    """Another task of a Dag with ``fail_fast`` has failed, the run has timed out: nobody is told."""
    ti = waits(end())
    if state != "removed":  # its row is gone, then
        airflow.put(ti, state)
    listener.before_stopping(TaskRunnerMarker())
    assert cancelled(cloud) == [True]
    assert ti.record.state is (TryState.DEFERRED if state == "removed" else TryState.RUNNING)


@pytest.mark.parametrize("state", ["deferred", "scheduled", "queued", "running", "success", None])
def test_the_job_of_a_try_that_waits_or_goes_on_elsewhere_is_left_running(
    cloud: LocalCloud, airflow: FakeAirflow, state: str | None
) -> None:
    ti = waits(deferral())
    airflow.put(ti, state)
    listener.before_stopping(TaskRunnerMarker())
    assert cancelled(cloud) == [False]
    assert ti.record.state is TryState.DEFERRED


def test_it_is_left_running_where_airflow_does_not_say(
    cloud: LocalCloud, airflow: FakeAirflow, caplog: pytest.LogCaptureFixture
) -> None:
    ti = waits(deferral())
    airflow.down = RuntimeError("API server is down")
    listener.before_stopping(TaskRunnerMarker())
    assert cancelled(cloud) == [False]
    assert "does not say whether it has ended the task" in caplog.text
    assert ti.record.jobs[0] in caplog.text


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
    "detail, is_over", [(NOT_FOUND, True), (BY_A_PROXY, False), (DOWN, False), ({}, False)]
)
def test_the_job_of_a_try_in_whose_place_another_runs_is_cancelled(
    cloud: LocalCloud,
    airflow: FakeAirflow,
    monkeypatch: pytest.MonkeyPatch,
    detail: dict[str, Any],
    is_over: bool,
) -> None:
    """A running task instance was deleted: Airflow makes a new one of the same name, and of the same try."""
    ti = waits(deferral())
    airflow.put(ti, "running")
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Channel(detail), raising=False)
    listener.before_stopping(TaskRunnerMarker())
    assert cancelled(cloud) == [is_over]
    assert ti.record.state is TryState.DEFERRED  # the record may be the new one's by now


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
