"""Metrics over a real socket: what each layer sends, under which names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from statsd import StatsClient  # type: ignore[import-untyped]

from airflow_cancel_provider import metrics
from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.guard import submission_log
from airflow_cancel_provider.guard.events import JobsStarted
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.metrics import Layer, send_cancel, send_started, stats_of_process
from airflow_cancel_provider.notifications import cancel as callback
from airflow_cancel_provider.notifications.cancel import CancelRemoteJobs
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.plugin import api_server
from airflow_cancel_provider.record import Actor, TryRecord
from airflow_cancel_provider.services.client_spec import ClientSpec
from tests.airflow_fakes import FakeAirflow, airflow
from tests.airflow_versions import forget_metrics
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.real_airflow.statsd import Statsd
from tests.service_fixtures import BatchBench
from tests.task_fixtures import TaskInstance, connections, context, operator, targets

__all__ = ["airflow", "connections"]
LOG = logging.getLogger("task")


@pytest.fixture
def statsd() -> Iterator[Statsd]:
    with Statsd() as statsd:
        yield statsd


@pytest.fixture
def batch(cloud: LocalCloud, connections: None) -> BatchBench:  # noqa: ARG001
    return BatchBench(cloud)


def jobs(*ids: str, service: str = "batch") -> list[RemoteJob]:
    return [RemoteJob.of(service, each, conn_id="aws_default", region="us-east-1") for each in ids]


def sent(statsd: Statsd, layer: str, **counts: int) -> None:
    names = {f"airflow.remote_jobs.cancel.{what}.{layer}.batch": count for what, count in counts.items()}
    until(lambda: {name: statsd.counters[name] for name in names} == names)
    assert {name for name in statsd.counters if ".cancel." in name} == set(names)


def test_each_job_that_a_task_starts_is_counted_once(statsd: Statsd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission_log, "stats_of_task", statsd.client)
    client = ClientSpec("batch", None, "us-east-1", "http://127.0.0.1:1", secrets={})
    log = submission_log.SubmissionLog(LOG)
    one, two, three = jobs("a", "b", "c")
    log.hear(JobsStarted("t1", (one, two, two), client, at=1.0))
    log.hear(JobsStarted("t2", (two, three), client, at=2.0))
    log.hear(JobsStarted("", (RemoteJob("emr://@/j-1/s-1"),), client))  # taken over, not started
    until(lambda: statsd.counters == {"airflow.remote_jobs.started.batch": 3})


def test_an_operator(batch: BatchBench, statsd: Statsd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "stats_of_task", statsd.client)
    batch.local.configure({"cancel": 0.0})
    operator("batch", **targets(batch.submit("running", 2))).execute(context())
    sent(statsd, "operator", requested=2, confirmed=2)
    until(lambda: "airflow.remote_jobs.cancel.time_to_confirm.operator.batch" in statsd.timings)


def test_a_callback_which_does_not_wait_for_the_end(
    batch: BatchBench, statsd: Statsd, airflow: FakeAirflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback, "stats_of_callback", statsd.client)
    ti, (job,) = TaskInstance(), batch.submit("running")
    airflow.put(ti, "failed", TryRecord(ti.id, jobs=(job,)))
    CancelRemoteJobs().notify({"ti": ti})
    sent(statsd, "callback", requested=1)
    until(lambda: "airflow.remote_jobs.cancel.time_to_request.callback.batch" in statsd.timings)


@pytest.mark.parametrize("by, layer", [(Actor.USER, "page"), (Actor.API_SERVER, "api_server")])
def test_the_api_server(statsd: Statsd, monkeypatch: pytest.MonkeyPatch, by: Actor, layer: str) -> None:
    monkeypatch.setattr(metrics, "stats_of_server", statsd.client)
    engine = api_server._engine([])
    (job,) = engine.cancellation.jobs = jobs("a")
    engine.cancellation.results[job] = CancelResult(job, CancelOutcome.REFUSED, "not permitted")
    whom = api_server.CancelFor(TaskKey("d", "r", "t"), by, "op", "why")
    api_server._send_metrics(api_server._Round(engine, 1.0, {job: whom}))
    sent(statsd, layer, failed=1)


def test_a_request_that_was_not_answered_and_an_end_that_was_not_seen_are_failures(statsd: Statsd) -> None:
    asked, unanswered, late, before = all_jobs = jobs("a", "b", "c", "d")
    cancellation = Cancellation(all_jobs, "why")
    outcomes = {
        asked: CancelOutcome.REQUESTED,
        unanswered: CancelOutcome.UNANSWERED,
        late: CancelOutcome.ALREADY_CANCELLING,
        before: CancelOutcome.ALREADY_ENDED,
    }
    cancellation.results = {job: CancelResult(job, outcome, None) for job, outcome in outcomes.items()}
    ended = [JobStatus(asked, JobState.CANCELLED), JobStatus(before, JobState.SUCCEEDED)]
    cancellation.observe(ended)
    send_cancel(cancellation.outcomes(), Layer.CLI, statsd.client, LOG)
    sent(statsd, "cli", requested=2, confirmed=1, failed=2)


def test_the_names_have_tags_where_airflow_sends_some(statsd: Statsd) -> None:
    made: list[StatsClient] = []

    class Kept(StatsClient):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("statsd.StatsClient", Kept)
        for name, value in {**statsd.settings, "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True"}.items():
            patch.setenv(name, value)
        forget_metrics(patch)
        send_started(jobs("a"), stats_of_process, LOG)
        until(lambda: statsd.counters == {"airflow.remote_jobs.started.batch,service=batch": 1})
    stats_of_process()  # as it was before
    for client in made:
        client.close()


@pytest.mark.parametrize("send", ["cancel", "started"])
def test_metrics_that_cannot_be_sent_change_nothing(caplog: pytest.LogCaptureFixture, send: str) -> None:
    def fail() -> Any:
        raise OSError("no such host")

    if send == "cancel":
        send_cancel([(jobs("a")[0], "requested")], Layer.TASK, fail, LOG)
    else:
        send_started(jobs("a"), fail, LOG)
    assert "could not be sent: no such host" in caplog.text
