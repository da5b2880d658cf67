"""Terminal-state sensors, over HTTP against the local cloud: every way of waiting, every way of ending."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime
from threading import Thread
from typing import Any

import pytest

from airflow_cancel_provider.exceptions import AccessDenied, Killed, UnexpectedEnd
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.mixins import on_kill
from airflow_cancel_provider.record import TryRecord
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowSensorTimeout, AirflowSkipException, TaskDeferred
from airflow_cancel_provider.watch import Watch
from tests.airflow_versions import AirflowRescheduleException
from tests.cloud.server import LocalCloud
from tests.service_fixtures import BatchBench, Bench, EmrBench
from tests.task_fixtures import (
    TaskInstance,
    bench,
    connections,
    context,
    event_of,
    moved,
    run,
    sensor,
    shown_at_once,
    targets,
)

__all__ = ["bench", "connections", "shown_at_once"]

MODES: dict[str, dict[str, Any]] = {
    "poke": {"deferrable": False},
    "reschedule": {"deferrable": False, "mode": "reschedule"},
    "deferrable": {"deferrable": True},
}
TIMED_OUT = {"error": "Trigger timeout"}
alike = pytest.mark.wide("batch")
"""What is written once for all sensors: `make test` runs it over two kinds of service."""


@pytest.fixture
def batch(cloud: LocalCloud, connections: None) -> BatchBench:  # noqa: ARG001
    return BatchBench(cloud)


def waited(mode: str, service: str, **options: Any) -> Any:
    """What a sensor returns or raises once it has been rescheduled or deferred as often as it wanted."""
    for _ in range(200):
        try:
            return run(lambda: sensor(service, **{**MODES[mode], **options}), context())
        except AirflowRescheduleException:
            time.sleep(0.05)
    raise AssertionError("The sensor never ended.")


def ended_badly(bench: Bench, name: str = "bad") -> RemoteJob:
    """A job that fails by itself after a third of a second."""
    bench.local.configure({"overrides": {name: {"run": 0.3, "outcome": "failure"}}})
    return bench.submit(name)[0]


def calls(cloud: LocalCloud, operation: str) -> int:
    return cloud.journal.count("batch", operation)


@alike
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("shown_at_once")
def test_the_end_of_jobs_is_seen(bench: Bench, mode: str) -> None:
    bench.local.configure({"overrides": {"short": {"run": 0.3}}})
    scope = bench.new_scope()
    jobs = [*bench.submit("short", 2, scope), bench.unknown(scope)]
    states = waited(mode, bench.name, **targets(jobs))
    assert states == dict(zip(map(str, jobs), ["SUCCEEDED", "SUCCEEDED", "GONE"], strict=True))
    assert bench.cancels_sent == 0


@alike
@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_is_shown_late_is_waited_for(bench: Bench, mode: str) -> None:
    bench.local.configure({"overrides": {"late*": {"unseen": 0.4, "run": 0.6}}})
    (job,) = bench.submit("late")
    assert waited(mode, bench.name, **targets([job])) == {str(job): "SUCCEEDED"}


@pytest.mark.parametrize("mode", MODES)
def test_a_job_that_is_never_shown_is_waited_for_as_long(
    batch: BatchBench, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_cancel_provider.watch.UNSEEN_SECONDS", 0.5)
    began = datetime.now(UTC)
    monkeypatch.setattr(TaskInstance, "get_first_reschedule_date", lambda *_: began)
    job, options = batch.unknown(), {"target_states": ["SUCCEEDED"]}
    with pytest.raises(UnexpectedEnd, match="is GONE"):
        waited(mode, "batch", **targets([job]), **options)
    assert 0.5 <= (datetime.now(UTC) - began).total_seconds() < 5


def test_a_job_that_was_shown_and_is_not_any_more_is_gone(batch: BatchBench) -> None:
    (job,) = batch.running()
    watch = Watch([job])
    watch.observe(batch.service().describe([job]))
    watch.observe([JobStatus(job, JobState.GONE)])
    assert watch.verdict() == {str(job): "GONE"}


@alike
@pytest.mark.parametrize("mode", MODES)
def test_no_pause_between_polls_is_a_short_one(bench: Bench, mode: str) -> None:
    bench.local.configure({"overrides": {"short": {"run": 0.3}}})
    jobs = bench.submit("short")
    assert waited(mode, bench.name, **targets(jobs), poke_interval=0) == {str(jobs[0]): "SUCCEEDED"}


@alike
@pytest.mark.parametrize("mode", MODES)
def test_a_failure_is_an_end_unless_only_success_is_wanted(bench: Bench, mode: str) -> None:
    job = ended_badly(bench)
    assert waited(mode, bench.name, **targets([job])) == {str(job): "FAILED"}
    with pytest.raises(UnexpectedEnd, match="Expected SUCCEEDED"):
        waited(mode, bench.name, **targets([job]), target_states=["SUCCEEDED"])


def test_a_failure_is_told_with_the_services_reason_alike_in_every_mode(batch: BatchBench) -> None:
    (job,) = batch.running()
    batch.local.finish(job.id, "FAILED", "Essential container exited")
    errors = set()
    for mode in MODES:
        with pytest.raises(UnexpectedEnd) as caught:
            waited(mode, "batch", **targets([job]), target_states=["SUCCEEDED"])
        errors.add(str(caught.value))
    assert errors == {f"Expected SUCCEEDED; ended otherwise:\n  {job} is FAILED: Essential container exited"}


@pytest.mark.parametrize("mode", MODES)
def test_one_bad_end_decides_although_others_go_on(batch: BatchBench, mode: str) -> None:
    named = targets([ended_badly(batch), batch.submit("pending")[0]])
    with pytest.raises(UnexpectedEnd):
        waited(mode, "batch", **named, target_states="SUCCEEDED")


@pytest.mark.parametrize("mode", MODES)
def test_a_target_may_be_a_live_state(batch: BatchBench, mode: str) -> None:
    (job,) = batch.running()
    states = waited(mode, "batch", **targets([job]), target_states=["RUNNING", "SUCCEEDED"])
    assert states == {str(job): "RUNNING"}


@pytest.mark.parametrize("mode", MODES)
def test_a_refused_poll_is_the_same_error_in_every_mode(batch: BatchBench, mode: str) -> None:
    jobs = batch.running()
    batch.cloud.faults.add("batch", "DescribeJobs", "denied", after=1)
    with pytest.raises(AccessDenied, match=r"Allow batch:DescribeJobs to this identity\.$") as caught:
        waited(mode, "batch", **targets(jobs))
    assert (caught.value.operation, caught.value.code) == ("DescribeJobs", "AccessDeniedException")


@pytest.mark.parametrize("mode", MODES)
def test_never_fail_skips_and_cancels_nothing(batch: BatchBench, mode: str) -> None:
    options = {"target_states": ["SUCCEEDED"], "never_fail": True, "cancel_on_kill": True}
    named = targets([ended_badly(batch), batch.submit("pending")[0]])
    with pytest.raises(AirflowSkipException):
        waited(mode, "batch", **named, **options)
    assert batch.cancels_sent == 0


def test_many_jobs_take_few_requests_a_poke(batch: BatchBench) -> None:
    jobs = batch.running(200)
    batch.cloud.journal.clear()
    task = sensor("batch", **targets(jobs), deferrable=False)
    for poke in (1, 2):
        assert not task.poke(context()).is_done
        assert calls(batch.cloud, "DescribeJobs") == 2 * poke
    assert batch.cloud.journal.count() == 4


def test_a_job_that_has_ended_is_not_polled_again(batch: BatchBench) -> None:
    ended, live = batch.ended()[0], batch.running()[0]
    task = sensor("batch", **targets([ended, live]), deferrable=False)
    for _ in range(2):
        task.poke(context())
    assert [entry.ids for entry in batch.cloud.journal.entries("batch", "DescribeJobs")] == [
        (ended.id, live.id),
        (live.id,),
    ]


def timed_out(task: Any, ctx: Any) -> Any:
    """Execute a task, and let its deferral time out if it defers."""
    try:
        return task.execute(ctx)
    except TaskDeferred as deferral:
        limit = deferral.timeout
    assert limit is not None
    assert limit.total_seconds() == task.timeout
    return task.resume_execution("__fail__", dict(TIMED_OUT), ctx)


@alike
@pytest.mark.parametrize("soft_fail", [False, True])
@pytest.mark.parametrize("cancel_on_kill", [False, True])
@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_a_timeout_cancels_only_where_that_was_asked_for(
    bench: Bench, mode: str, cancel_on_kill: bool, soft_fail: bool
) -> None:
    jobs = bench.submit("running", 2)
    options = {"timeout": 0.2, "soft_fail": soft_fail, "cancel_on_kill": cancel_on_kill, **MODES[mode]}
    with pytest.raises(AirflowSkipException if soft_fail else AirflowSensorTimeout):
        timed_out(sensor(bench.name, **targets(jobs), **options), context())
    asked = [bool(bench.truth()[job.id]["cancel_requested_at"]) for job in jobs]
    assert asked == [cancel_on_kill] * 2


def killed(task: Any) -> float:
    """Kill a task as a signal handler does; seconds that this took."""
    begin = time.monotonic()
    with pytest.raises(Killed) as caught:
        task.on_kill()
    assert caught.value.jobs == tuple(task.jobs)
    return time.monotonic() - begin


def test_a_killed_sensor_asks_for_the_end_at_once(bench: Bench) -> None:
    jobs = bench.submit("running", 2)
    task = sensor(bench.name, **targets(jobs), cancel_on_kill=True, deferrable=False)
    ctx = context()
    task.poke(ctx)
    assert bench.cancels_sent == 0
    assert killed(task) < 4
    assert all(bench.truth()[job.id]["cancel_requested_at"] for job in jobs)
    record = TryRecord(ctx["ti"].id, deployment=Settings.read().deployment)
    assert ctx["ti"].pushed == {"remote_jobs": record.as_json()}


def test_a_killed_sensor_asks_for_the_end_itself_where_no_thread_can_be_started(
    batch: BatchBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refused(Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(on_kill, "Thread", Refused)
    jobs = batch.submit("running", 2)
    task = sensor("batch", **targets(jobs), cancel_on_kill=True, deferrable=False)
    task.poke(context())
    killed(task)
    assert all(batch.truth()[job.id]["cancel_requested_at"] for job in jobs)


def test_the_request_of_a_killed_sensor_says_who_has_waited(batch: BatchBench) -> None:
    task = sensor("batch", **targets(batch.running(3)), cancel_on_kill=True, deferrable=False)
    task.poke(context())
    killed(task)
    reason = next(iter(batch.truth().values()))["reason"]
    assert reason == "Cancelled by Airflow: nightly / manual__2026 / stop waited for this job"


def test_a_killed_sensor_leaves_jobs_alone_by_default(bench: Bench) -> None:
    jobs = bench.submit("running")
    task = sensor(bench.name, **targets(jobs), deferrable=False)
    task.poke(context())
    task.on_kill()
    assert bench.cancels_sent == 0


def test_a_sensor_killed_before_it_knows_its_jobs_cancels_them_when_it_does(batch: BatchBench) -> None:
    jobs = batch.running()
    task = sensor("batch", **targets(jobs), cancel_on_kill=True, deferrable=False)
    task.on_kill()
    assert batch.cancels_sent == 0
    with pytest.raises(Killed):
        task.poke(context())
    batch.let_end()
    assert batch.are_cancelled(jobs)


def test_a_sensor_that_has_ended_cancels_nothing_when_it_is_killed(batch: BatchBench) -> None:
    jobs = batch.running()
    options = {"target_states": ["RUNNING"], "cancel_on_kill": True}
    task = sensor("batch", **targets(jobs), **options, deferrable=False)
    task.execute(context())
    task.on_kill()
    assert batch.cancels_sent == 0


def test_a_kill_while_the_service_hangs_ends_in_time(batch: BatchBench) -> None:
    task = sensor("batch", **targets(batch.running()), cancel_on_kill=True, deferrable=False)
    task.poke(context())
    batch.cloud.faults.add("batch", "*", "hang")
    assert killed(task) < 15  # Airflow gives it five, a busy machine takes some itself
    batch.cloud.faults.clear()


@pytest.mark.parametrize("cancel_on_kill", [False, True])
@pytest.mark.usefixtures("connections")
def test_what_a_deferred_sensor_hands_on(cloud: LocalCloud, cancel_on_kill: bool) -> None:
    bench = EmrBench(cloud)
    jobs = bench.submit("short")
    with pytest.raises(TaskDeferred) as deferral:
        sensor("emr", **targets(jobs), cancel_on_kill=cancel_on_kill, deferrable=True).execute(context())
    trigger = moved(deferral.value.trigger)
    assert bool(trigger.cancel_reason) is cancel_on_kill
    assert trigger.waiter_max_attempts is None
    bench.finish(jobs[0])
    bench.close()
    event = asyncio.run(event_of(trigger))
    assert event["error"] is None
    assert json.loads(json.dumps(event)) == event
