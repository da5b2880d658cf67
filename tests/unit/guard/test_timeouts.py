"""``execution_timeout`` passes while Python ignores exceptions, or while the guard is at work at the end."""

from __future__ import annotations

import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from airflow_cancel_provider.guard.sentinel.client import END_SECONDS
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowTaskTimeout, TaskDeferred
from tests.cloud.server import LocalCloud
from tests.try_fixtures import CANCEL, Never, Try, _guarded, cancelled, submit, variables

__all__ = ["_guarded", "variables"]


class Thing:
    """Something that a weak reference may point to."""


class Closed:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGALRM)


def in_callback() -> None:
    thing = Thing()
    kept = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGALRM))
    del thing
    assert kept() is None


def in_destructor() -> None:
    Closed()


@pytest.fixture(autouse=True)
def _alarm() -> Iterator[None]:
    """The handler of Airflow's ``timeout``."""

    def ring(*_: Any) -> None:
        raise AirflowTaskTimeout("Timeout")

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def ended(ti: Try, end: type[BaseException]) -> None:
    """Execute, which ends so."""
    TaskGuard(ti, CANCEL).install()
    with pytest.raises(end):
        ti.task.execute()


def refuse() -> None:
    raise ValueError("the job is not in a cancellable state")


def test_an_on_kill_that_finds_the_job_cancelled_is_not_the_error_of_the_task(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow calls it after the timeout; so does the operator for jobs of EMR Serverless."""

    def work() -> None:
        submit("job")
        raise AirflowTaskTimeout("Timeout")

    ti: Any = Try(work=work)
    ti.task.execution_timeout = timedelta(seconds=60)
    monkeypatch.setattr(ti.task, "on_kill", refuse, raising=False)
    ended(ti, AirflowTaskTimeout)
    ti.task.on_kill()
    assert cancelled(cloud) == [True]


def test_an_on_kill_that_fails_where_nothing_was_started_fails_as_without_the_guard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def work() -> None:
        raise AirflowTaskTimeout("Timeout")

    ti: Any = Try(work=work)
    ti.task.execution_timeout = timedelta(seconds=60)
    monkeypatch.setattr(ti.task, "on_kill", refuse, raising=False)
    ended(ti, AirflowTaskTimeout)
    with pytest.raises(ValueError, match="cancellable"):
        ti.task.on_kill()


@pytest.mark.parametrize("ignoring", [in_callback, in_destructor])
def test_the_task_ends_all_the_same(cloud: LocalCloud, ignoring: Callable[[], None]) -> None:
    def work() -> None:
        submit("job")
        ignoring()
        for _ in range(20):
            time.sleep(0.1)
        raise AssertionError("it goes on")

    ti: Any = Try(work=work)
    ti.task.execution_timeout = timedelta(seconds=1)
    ended(ti, AirflowTaskTimeout)
    assert cancelled(cloud) == [True]


def test_what_else_python_ignores_is_reported_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    class Broken:
        def __del__(self) -> None:
            raise ValueError("a destructor")

    def work() -> None:
        Broken()
        raise KeyError("the end")

    ended(Try(work=work), KeyError)
    assert [type(each.exc_value) for each in told] == [ValueError]
    assert sys.unraisablehook == told.append


def late(end: BaseException | None, settings: Settings = CANCEL) -> tuple[Try, TaskGuard]:
    """A task that ends just in time; the guard's own work takes longer."""

    def work() -> None:
        submit("job")
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        ti.on_push = lambda *_: time.sleep(1)
        if end is not None:
            raise end

    ti: Any = Try(work=work)
    ti.task.execution_timeout = timedelta(seconds=1)
    guard = TaskGuard(ti, settings)
    guard.install()
    with pytest.raises(type(end)) if end is not None else nullcontext():
        ti.task.execute()
    return ti, guard


def test_what_defers_in_time_is_deferred_and_guarded(cloud: LocalCloud) -> None:
    """The sentinel cancelled the job when the process had ended, and said it was killed."""
    deferral: Any = TaskDeferred(trigger=Never(), method_name="execute_complete")
    _, guard = late(deferral, Settings(confirm_seconds=20, patience=30))
    assert isinstance(deferral.trigger, GuardTrigger)
    guard.stops()
    assert cancelled(cloud) == [False]


def test_the_process_of_a_task_that_was_deferred_waits_for_no_sentinel(cloud: LocalCloud) -> None:
    """Airflow's executor fails a task that is resumed before its first process has ended."""
    deferral: Any = TaskDeferred(trigger=Never(), method_name="execute_complete")
    _, guard = late(deferral, Settings(confirm_seconds=20, patience=30))
    sentinel = guard.parts.canceller.sentinel
    assert sentinel
    assert sentinel._process
    sentinel._process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    guard.stops()
    took = time.monotonic() - began
    sentinel._process.send_signal(signal.SIGCONT)
    assert took < END_SECONDS / 2
    assert sentinel._process.wait(20) == 0
    assert cancelled(cloud) == [False]


def test_what_fails_in_time_waits_for_the_end_of_its_job(cloud: LocalCloud) -> None:
    cloud.batch.configure({"cancel": 1})
    late(ValueError("in time"))
    assert cancelled(cloud) == [True]


def test_what_succeeds_in_time_releases_its_job(cloud: LocalCloud, variables: dict[str, Any]) -> None:
    late(None)
    assert [release["all"] for release in variables.values()] == [True]
    assert cancelled(cloud) == [False]
