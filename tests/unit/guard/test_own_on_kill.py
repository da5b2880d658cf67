"""``on_kill`` called by the operator itself, and tasks with a handler of SIGTERM of their own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.hooks import variables as airflow_variables
from tests.airflow_fakes import FakeAirflow
from tests.cloud.server import LocalCloud
from tests.kill_fixtures import _alarm, guarded, names, submit
from tests.try_fixtures import CANCEL, Task, Try, _guarded, submit_and_fail, variables

__all__ = ["_alarm", "_guarded", "variables"]


class CleansUp(Task):
    """An operator that calls its own ``on_kill``, at its end or in a handler of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(work)
        self.calls: list[str] = []

    def on_kill(self) -> None:
        self.calls.append("on_kill")

    def execute(self) -> Any:
        try:
            return self.work()
        finally:
            self._stop()

    def _stop(self, *_: Any) -> None:
        self.on_kill()


@pytest.fixture
def _own_handler() -> Iterator[None]:
    """What a test sets for SIGTERM is over with it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_own_handler")
class TestCallsItsOwnOnKill:
    def guarded(self, work: Callable[[], Any]) -> CleansUp:
        ti = Try(work=work)
        ti.task = task = CleansUp(work)
        ti.guarded(CANCEL)
        return task

    def test_who_succeeds_has_not_been_killed(self, cloud: LocalCloud) -> None:
        task = self.guarded(submit)
        assert task.execute() in {job["id"] for job in cloud.batch.jobs()}
        assert names(cloud) == {"job": False}
        assert task.calls == ["on_kill"]

    def test_who_fails_fails_with_the_error_of_the_task(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        task = self.guarded(submit_and_fail)
        with pytest.raises(ValueError, match="after submitting"):
            task.execute()
        assert names(cloud) == {"job": True}
        assert "SIGTERM" not in caplog.text

    def test_a_thread_of_the_task_does_not_kill_it(self, cloud: LocalCloud) -> None:
        def work() -> str:
            job = submit()
            late = threading.Timer(0, task.on_kill)
            late.start()
            late.join()
            return job

        task = self.guarded(work)
        assert task.execute() in {job["id"] for job in cloud.batch.jobs()}
        assert names(cloud) == {"job": False}
        assert task.calls == ["on_kill"] * 2

    def test_from_a_handler_that_counts_as_another_thread_it_is_a_kill(self, cloud: LocalCloud) -> None:
        """With gevent it runs in a greenlet. See also ``tests/faults``."""

        def work() -> None:
            submit()
            signal.signal(signal.SIGTERM, handler)
            greenlet = threading.Thread(target=handler)
            greenlet.start()
            greenlet.join()

        def handler(*_: Any) -> None:
            with suppress(Killed):
                task.on_kill()

        task = self.guarded(work)
        with pytest.raises(Killed):
            task.execute()
        assert names(cloud) == {"job": True}

    @pytest.mark.parametrize("is_direct", [True, False])
    def test_from_a_handler_of_the_signal_it_is_a_kill(self, cloud: LocalCloud, is_direct: bool) -> None:
        def work() -> None:
            submit()
            signal.signal(signal.SIGTERM, stop)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)

        task = self.guarded(work)
        stop: Any = task._stop if is_direct else lambda *_: task._stop()
        with pytest.raises(Killed):
            task.execute()
        assert names(cloud) == {"job": True}


@pytest.mark.usefixtures("_own_handler")
class TestHasItsOwnHandler:
    """A task that handles SIGTERM itself: it returns soon, and Airflow's ``on_kill`` is not called."""

    @pytest.mark.parametrize("state", ["running", "success", "failed", "restarting", None])
    @pytest.mark.parametrize("end", [None, "TaskDeferred"])
    def test_a_success_that_airflow_does_not_take_is_none(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, state: str | None, end: str | None
    ) -> None:
        def work() -> str:
            submit()
            signal.signal(signal.SIGTERM, lambda *_: None)
            if end:
                raise type(end, (BaseException,), {})
            return "what was done until then"

        airflow = FakeAirflow(monkeypatch)
        monkeypatch.setattr(airflow_variables, "read_variable", lambda _: None)
        ti, _ = guarded(work)
        airflow.put(ti, state)
        is_over = state in ("failed", "restarting")
        try:
            ended: Any = ti.task.execute()
        except BaseException as error:  # noqa: BLE001  as Airflow does
            ended = error
        assert isinstance(ended, Killed) is is_over
        assert names(cloud) == {"job": is_over}

    def test_who_has_none_is_not_asked_about(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        airflow = FakeAirflow(monkeypatch)
        ti, _ = guarded(submit)
        ti.task.execute()
        assert names(cloud) == {"job": False}
        assert not airflow.asked["states"]
