"""A task that is told to end early or late: before it has a job, when it was resumed or has returned."""

from __future__ import annotations

import inspect
import signal
import threading
import time
from contextlib import suppress

import pytest
from airflow.sdk.execution_time.supervisor import WatchedSubprocess

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard import at_end, track
from airflow_cancel_provider.mixins import on_kill
from airflow_cancel_provider.settings import Settings
from tests.airflow_fakes import FakeAirflow
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.kill_fixtures import _alarm, guarded, kill_after, names, submit
from tests.try_fixtures import Try, _guarded, resumed, submit_and_fail, submit_once, variables

__all__ = ["_alarm", "_guarded", "variables"]


def test_what_a_kill_waits_for_is_over_before_airflow_kills_the_task() -> None:
    """The other tests give a busy machine more time."""
    given = inspect.signature(WatchedSubprocess.kill).parameters["escalation_delay"].default
    assert max(at_end.KILL_GRACE, on_kill.GRACE) <= given - 1


def test_its_jobs_are_asked_to_end_before_a_killed_task_goes_on(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_end, "KILL_GRACE", 20.0)  # a busy machine
    seen: list[bool] = []

    def work() -> None:
        submit("job")
        try:
            signal.raise_signal(signal.SIGALRM)
        except Killed:
            seen.extend(bool(job["cancel_requested_at"]) for job in cloud.batch.jobs())

    ti, _ = guarded(work)
    with pytest.raises(Killed):
        ti.task.execute()
    assert seen == [True]


@pytest.mark.parametrize("is_caught", [False, True])
def test_what_it_tracks_after_a_kill_before_it_has_a_job_is_cancelled(
    cloud: LocalCloud, is_caught: bool
) -> None:
    """As the job of a subprocess that was being started.

    Its ``on_kill`` has nothing to cancel then, and the task goes on, as without a guard.
    """
    job = submit_once("subprocess")

    def work() -> str:
        signal.raise_signal(signal.SIGALRM)
        with suppress(*([BaseException] if is_caught else [])):
            track(job)
        return "as if nothing had happened"

    ti, _ = guarded(work)
    with pytest.raises(Killed):
        ti.task.execute()
    until(lambda: names(cloud) == {"subprocess": True})


def test_while_another_thread_submits_the_task_itself_ends(cloud: LocalCloud) -> None:
    seconds: list[float] = []
    errors: list[BaseException] = []

    def start() -> None:
        try:
            submit("slow")
        except BaseException as error:  # noqa: BLE001  it ends the thread
            errors.append(error)

    def work() -> None:
        cloud.faults.add("batch", "SubmitJob", "latency", delay=1.5)
        thread = threading.Thread(target=start)
        thread.start()
        kill_after(0.7)
        began = time.monotonic()
        try:
            time.sleep(60)
        finally:
            seconds.append(time.monotonic() - began)
            thread.join()

    ti, _ = guarded(work)
    with pytest.raises(Killed):
        ti.task.execute()
    assert seconds[0] < 30
    assert [type(error) for error in errors] == [Killed]
    until(lambda: names(cloud) == {"slow": True})


@pytest.mark.parametrize("is_caught", [False, True])
def test_a_resumed_task_sees_the_end_of_its_job(
    cloud: LocalCloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, is_caught: bool
) -> None:
    """Its signal handler can't reach the job: the connection is asked for when that has returned."""
    caplog.set_level("INFO")
    monkeypatch.setattr(at_end, "KILL_GRACE", 20.0)  # a busy machine
    job = submit_once()
    cloud.batch.configure({"cancel": 1.0})

    def work() -> None:
        kill_after(0.2)
        with suppress(*([BaseException] if is_caught else [])):
            time.sleep(20)

    ti = resumed(job, work=work)
    guard = ti.guarded(Settings(confirm_seconds=20, patience=30))
    signal.signal(signal.SIGALRM, lambda *_: ti.task.on_kill())
    with pytest.raises(Killed):
        ti.task.execute()
    assert names(cloud) == {"job": True}
    assert list(guard.parts.canceller.ends) == [job]
    assert ti.record.ends[job].by == "sentinel"
    assert "will be cancelled unless" not in caplog.text


@pytest.mark.parametrize("state", ["up_for_retry", "queued", "failed", "restarting"])
def test_jobs_are_kept_for_a_next_try_that_comes(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """A task that was marked or cleared before it failed does not know it: Airflow refuses its report."""
    airflow = FakeAirflow(monkeypatch)
    ti = Try(work=submit_and_fail)
    airflow.put(ti, state)
    ti.run(Settings(on_retry="keep", sentinel=False, confirm_seconds=20, patience=30))
    assert ti.state == "up_for_retry"
    assert names(cloud) == {"job": state in ("failed", "restarting")}
