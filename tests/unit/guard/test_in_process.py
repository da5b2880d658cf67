"""``airflow dags test`` and ``tasks test``: one process runs the tasks, and their triggers too."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner

from airflow_cancel_provider.plugin import listener
from airflow_cancel_provider.version_compat import TaskDeferred
from tests.airflow_versions import AirflowRescheduleException
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.try_fixtures import (  # noqa: F401  fixtures
    RESCHEDULED,
    RESUMED,
    Never,
    Try,
    _guarded,
    cancelled,
    submit,
    variables,
)


class InProcessSupervisorComms:
    """As Airflow's: it is the task's own process that talks to the database."""


def deferral() -> BaseException:
    return TaskDeferred(trigger=Never(), method_name="execute_complete")


def reschedule() -> BaseException:
    return AirflowRescheduleException(datetime.now(UTC))  # type: ignore[no-untyped-call]


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", InProcessSupervisorComms(), raising=False)


def waits(end: BaseException, ti: Try) -> None:
    """A task starts a job, and then waits so."""

    def work() -> None:
        submit("job")
        raise end

    ti.task.work = work
    begun(ti)
    with pytest.raises(type(end)):
        ti.task.execute()


def begun(ti: Any) -> None:
    listener.on_task_instance_running(ti)


def in_a_process_that_ends(do: Callable[[], None]) -> None:
    if (child := os.fork()) == 0:
        try:
            do()
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("end", [deferral, reschedule])
def test_a_process_that_ends_while_its_task_waits_leaves_no_job(
    cloud: LocalCloud, end: Callable[[], BaseException]
) -> None:
    """As by Ctrl-C: no triggerer and no worker goes on with it. It waits for the second time."""

    def do() -> None:
        ti: Any = Try()
        waits(end(), ti)
        ti._ti_context_from_server = RESUMED if end is deferral else RESCHEDULED
        waits(end(), ti)

    in_a_process_that_ends(do)
    until(lambda: cancelled(cloud) == [True, True])


@pytest.mark.parametrize("end", [deferral, reschedule])
def test_what_goes_on_and_succeeds_leaves_its_jobs_running(
    cloud: LocalCloud, end: Callable[[], BaseException]
) -> None:
    """Also where another task has run meanwhile."""

    def do() -> None:
        ti: Any = Try()
        waits(end(), ti)
        other = Try(task_id="other")
        other.task.work = lambda: submit("others")
        begun(other)
        other.task.execute()
        listener.on_task_instance_success("running", other)
        ti._ti_context_from_server = RESUMED if end is deferral else RESCHEDULED
        ti.task.work = lambda: submit("later")
        begun(ti)
        ti.task.execute()
        listener.on_task_instance_success("running", ti)

    in_a_process_that_ends(do)
    assert len(cloud.batch.jobs()) == 3
    with pytest.raises(AssertionError):
        until(lambda: any(cancelled(cloud)), 1.5)


def fails(ti: Try) -> None:
    """A try starts a job, and fails; a next one is to go on with the job."""

    def work() -> None:
        submit("job")
        raise ValueError("as by Ctrl-C")

    ti.task.work = work
    begun(ti)
    with pytest.raises(ValueError, match="Ctrl-C"):
        ti.task.execute()
    ti.state = "up_for_retry"
    listener.on_task_instance_failed("running", ti)


def next_try(ti: Try) -> Try:
    return Try(store=ti.store, try_number=2, max_tries=2)


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_process_that_ends_before_the_next_try_has_succeeded_leaves_no_job(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, has_begun: bool
) -> None:
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY", "keep")

    def do() -> None:
        fails(ti := Try())
        if has_begun:
            begun(next_try(ti))

    in_a_process_that_ends(do)
    until(lambda: cancelled(cloud) == [True])


def test_a_next_try_that_succeeds_leaves_what_it_has_taken_over(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY", "keep")

    def do() -> None:
        fails(ti := Try())
        begun(after := next_try(ti))
        after.task.execute()
        listener.on_task_instance_success("running", after)

    in_a_process_that_ends(do)
    with pytest.raises(AssertionError):
        until(lambda: any(cancelled(cloud)), 2)
