"""Cancelling without a sentinel, in the task's own process."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Any

import boto3
import pytest

from airflow_cancel_provider.cancel_log import CancelLog
from airflow_cancel_provider.guard import canceller as canceller_module
from airflow_cancel_provider.guard.events import Event, JobsReleased, JobsStarted, SubmissionIntended
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.recorder import TryRecorder
from airflow_cancel_provider.jobs import JobState
from airflow_cancel_provider.record import Actor
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.task_log import PrefixedLog
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import OWNER, canceller, tracked, until
from tests.real_airflow.statsd import Statsd
from tests.service_fixtures import BENCHES, TERMINATE, Bench

LOG = logging.getLogger("task")


@pytest.fixture
def line(cloud: LocalCloud) -> ClientSpec:
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_session_token": None}
    return ClientSpec("batch", None, "us-east-1", cloud.url, secrets={"credentials": keys})


def submit(cloud: LocalCloud) -> str:
    batch: Any = boto3.client("batch", endpoint_url=cloud.url, region_name="us-east-1")
    return str(batch.submit_job(jobName="j", jobQueue="q", jobDefinition="d")["jobId"])


def test_it_cancels_and_sees_the_end_each_time_it_is_told(cloud: LocalCloud, line: ClientSpec) -> None:
    worker = canceller(ledger := TryLedger(), Settings(patience=20, sentinel=False), LOG)
    for _ in range(2):
        ledger.apply(tracked(line, [line.address(None, submit(cloud))]))
        worker.cancel("Task failed (ValueError)")
        assert worker.wait_for("accepted", 20)
        assert worker.wait_for("ended", 20)
    assert all(job["cancelled"] for job in cloud.batch.jobs())
    assert cloud.journal.count("batch", TERMINATE) == 2


@pytest.mark.parametrize("kind", BENCHES, ids=lambda kind: str(kind.name))
def test_what_others_have_cancelled_before_is_not_taken_for_its_own(
    cloud: LocalCloud, kind: type[Bench], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_session_token": None}
    (job,) = (bench := kind(cloud)).running()
    bench.service().cancel([job], "by hand")
    bench.let_end()
    client = ClientSpec(bench.name, job.conn_id, job.region, cloud.url, secrets={"credentials": keys})
    worker = canceller(ledger := TryLedger(), Settings(patience=20, sentinel=False), LOG)
    ledger.apply(tracked(client, [job]))
    worker.cancel("Task failed (ValueError)")
    assert worker.wait_for("ended", 20)
    end = worker.ends[job]
    assert (end.state, end.by, end.reason) == (JobState.CANCELLED, Actor.SERVICE, "")
    assert f"Task failed (ValueError): {job} has ended as CANCELLED." in caplog.text
    bench.close()


def test_a_job_that_was_started_while_the_metrics_of_a_cancel_are_sent_is_cancelled(
    cloud: LocalCloud, line: ClientSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    sends = threading.Event()
    monkeypatch.setattr(canceller_module, "send_cancel", lambda *_, **__: sends.wait())
    worker = canceller(ledger := TryLedger(), Settings(patience=60, sentinel=False), LOG)
    try:
        for _ in range(2):
            ledger.apply(tracked(line, [line.address(None, submit(cloud))]))
            worker.cancel("Task failed (ValueError)")
            assert worker.wait_for("ended", 60)
            assert cloud.batch.jobs()
            assert all(job["cancelled"] for job in cloud.batch.jobs())
    finally:
        sends.set()


def test_a_log_that_fails_does_not_stop_the_cancel(
    cloud: LocalCloud, line: ClientSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    for name in ("begin", "ended", "close"):
        monkeypatch.setattr(CancelLog, name, fail)
    worker = canceller(ledger := TryLedger(), Settings(patience=20, sentinel=False), LOG)
    ledger.apply(tracked(line, [line.address(None, submit(cloud))]))
    worker.cancel("Task failed (ValueError)")
    assert worker.wait_for("ended", 20)
    assert all(job["cancelled"] for job in cloud.batch.jobs())


def test_a_task_whose_log_is_gone_cancels_all_the_same(cloud: LocalCloud, line: ClientSpec) -> None:
    class Gone:
        """As Airflow's, once the supervisor at the other end of its socket is gone."""

        def __getattr__(self, _: str) -> Any:
            def fail(*_: object) -> None:
                raise BrokenPipeError

            return fail

    worker = canceller(ledger := TryLedger(), Settings(patience=20, sentinel=False), PrefixedLog(Gone()))
    ledger.apply(tracked(line, [line.address(None, submit(cloud))]))
    worker.cancel("Task failed (ValueError)")
    assert worker.wait_for("ended", 20)
    assert all(job["cancelled"] for job in cloud.batch.jobs())


def test_who_is_told_again_without_new_jobs_cancels_nothing_twice(
    cloud: LocalCloud, line: ClientSpec
) -> None:
    worker = canceller(ledger := TryLedger(), Settings(patience=20, sentinel=False), LOG)
    ledger.apply(tracked(line, [line.address(None, submit(cloud))]))
    worker.cancel("Task received SIGTERM")
    assert worker.wait_for("ended", 20)
    assert cloud.journal.count("batch", TERMINATE) == 1
    requests = len(cloud.journal.entries("batch"))
    worker.cancel("Task received SIGTERM")
    assert worker.wait_for("ended", 20)
    assert len(cloud.journal.entries("batch")) == requests


def test_released_jobs_live_on(cloud: LocalCloud, line: ClientSpec) -> None:
    worker = canceller(ledger := TryLedger(), Settings(patience=20, sentinel=False), LOG)
    jobs = [line.address(None, submit(cloud)) for _ in range(2)]
    ledger.apply(tracked(line, jobs))
    ledger.apply(JobsReleased((jobs[0],)))
    worker.cancel("Task received SIGTERM")
    assert worker.wait_for("ended", 20)
    assert {job["id"]: job["cancelled"] for job in cloud.batch.jobs()} == {
        jobs[0].id: False,
        jobs[1].id: True,
    }


def test_where_the_sentinel_exits_before_the_cancel_is_confirmed_the_task_cancels(
    cloud: LocalCloud, line: ClientSpec, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log_file = str(tmp_path / "sentinel.log")
    worker = canceller(ledger := TryLedger(), Settings(patience=20), LOG, log_file)
    started = tracked(line, [line.address(None, submit(cloud))])
    ledger.apply(started)
    worker.hear(started)
    assert worker.sentinel
    process = worker.sentinel._process
    assert process
    process.send_signal(signal.SIGSTOP)
    worker.cancel("Task failed (ValueError)")
    process.kill()
    process.wait()
    assert worker.wait_for("ended", 20)
    assert [job["cancelled"] for job in cloud.batch.jobs()] == [True]
    assert (
        f"The sentinel process exited before the cancel was confirmed (log: {log_file}); "
        "the task's process cancels now."
    ) in caplog.text


@pytest.mark.parametrize("layer", ["sentinel", "task"])
def test_the_metrics_of_a_cancel(
    cloud: LocalCloud, line: ClientSpec, layer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Statsd() as statsd:
        for name, value in statsd.settings.items():
            monkeypatch.setenv(name, value)
        if layer == "task":  # Airflow sets its metrics up for tasks
            monkeypatch.setattr(canceller_module, "stats_of_task", statsd.client)
        settings = Settings(patience=20, sentinel=layer == "sentinel")
        worker = canceller(ledger := TryLedger(), settings, LOG, str(tmp_path / "sentinel.log"))
        started = tracked(line, [line.address(None, submit(cloud)) for _ in range(2)])
        ledger.apply(started)
        worker.hear(started)
        worker.cancel("Task failed (ValueError)")
        assert worker.wait_for("ended", 20)
        confirmed = f"airflow.remote_jobs.cancel.confirmed.{layer}.batch"
        until(lambda: statsd.counters[confirmed] == 2)
        assert statsd.counters[f"airflow.remote_jobs.cancel.requested.{layer}.batch"] == 2
        assert not [name for name in statsd.counters if ".failed." in name]
        times = [f"airflow.remote_jobs.cancel.time_to_{end}.{layer}.batch" for end in ("request", "confirm")]
        until(lambda: set(times) <= statsd.timings.keys())
        to_request, to_confirm = (statsd.timings[name][-1] for name in times)
        assert 0 <= to_request <= to_confirm < 20_000


def test_a_reader_in_trouble_does_not_keep_the_others_from_an_event_and_is_said(
    line: ClientSpec, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []

    def broken(_: Event) -> None:
        raise OSError("no more processes")

    recorder = TryRecorder(OWNER, Settings(), LOG, TryLedger())
    recorder.readers = [broken, heard.append]
    token = recorder.intend(line, "queue", (), is_labelled=True)
    assert token
    recorder.started(token, [(None, "one")])
    assert [type(event) for event in heard] == [SubmissionIntended, JobsStarted]
    assert "no more processes" in caplog.text
