"""``execution_timeout`` passes while Python runs code whose exceptions it ignores."""

from __future__ import annotations

import signal
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.version_compat import AirflowTaskTimeout
from tests.cloud.server import LocalCloud
from tests.try_fixtures import CANCEL, Try, _guarded, cancelled, submit, variables  # noqa: F401  fixtures


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
