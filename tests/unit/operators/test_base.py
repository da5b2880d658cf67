"""Cancel operators, over HTTP against the local cloud: what they send, return and raise."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote

import boto3
import pytest

from airflow_cancel_provider.exceptions import AccessDenied, CancelRefused, NotEnded, NotRunning
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.links.console import RemoteJobLink
from airflow_cancel_provider.version_compat import TaskDeferred
from tests.cloud.server import LocalCloud
from tests.dags.kinds import KINDS
from tests.service_fixtures import BatchBench, Bench, EmrBench, EmrServerlessBench, GlueBench
from tests.task_fixtures import (
    SECRETS,
    bench,
    connect_aws,
    connections,
    context,
    operator,
    run,
    shown_at_once,
    targets,
)

__all__ = ["bench", "connections", "shown_at_once"]

both_modes = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])

alike = pytest.mark.wide("batch")
"""What is written once for all operators: `make test` runs it over two kinds of service."""


def one_of(kind: str, bench: Bench, scope: str | None) -> RemoteJob:
    """A job of each kind there is."""
    if kind == "unknown":
        return bench.unknown(scope)
    if kind == "ended":
        return bench.ended(1, scope)[0]
    return bench.submit(kind, 1, scope)[0]


FINAL = {"pending": "CANCELLED", "running": "CANCELLED", "ended": "SUCCEEDED", "unknown": "GONE"}


@pytest.mark.parametrize("kind", FINAL)
@pytest.mark.usefixtures("shown_at_once")
def test_a_job_is_cancelled_and_seen_to_end(bench: Bench, kind: str) -> None:
    job = one_of(kind, bench, bench.new_scope())
    assert operator(bench.name, **targets([job])).execute(context()) == {str(job): FINAL[kind]}
    if kind in ("pending", "running"):
        assert bench.are_cancelled([job])


@pytest.mark.usefixtures("connections")
def test_no_call_is_spent_before_the_first_job_can_have_ended(cloud: LocalCloud) -> None:
    """Ten runs: a poll before the request, as a request is scarcer than that, and one that sees the ends."""
    bench = EmrServerlessBench(cloud)
    bench.local.configure({"cancel": 0.1})
    jobs = bench.running(10)
    cloud.journal.clear()
    states = operator("emr-serverless", **targets(jobs), waiter_delay=0.5).execute(context())
    assert set(states.values()) == {"CANCELLED"}
    polls = sum(entry.operation in ("GetJobRun", "ListJobRuns") for entry in cloud.journal)
    assert polls == 20
    assert sum(entry.operation == "CancelJobRun" for entry in cloud.journal) == 10


@both_modes
@pytest.mark.usefixtures("connections")
def test_an_unknown_cluster_fails_and_the_other_jobs_are_cancelled(
    cloud: LocalCloud, deferrable: bool
) -> None:
    bench = EmrBench(cloud)
    bench.local.configure({"cancel": 0.1})
    (job,) = bench.submit("running", 1, bench.new_scope())
    typo = "emr://aws_default@us-east-1/j-TYPO/s-3BYY"

    def make() -> Any:
        return operator("emr", remote_jobs=[typo, str(job)], deferrable=deferrable)

    with pytest.raises(CancelRefused, match=rf"{typo}: REFUSED .*Cluster id 'j-TYPO' is not valid"):
        run(make, context())
    assert bench.are_cancelled([job])
    with pytest.raises(CancelRefused, match="j-TYPO"):
        operator("emr", cluster_id="j-TYPO", step_ids=["s-3BYY"]).execute(context())
    bench.close()


@alike
def test_a_job_that_is_being_cancelled_already_counts_as_running(bench: Bench) -> None:
    take_a_second_request(bench)
    (job,) = bench.submit("endless")
    options = {"wait_for_completion": False, "fail_if_not_running": True}
    for _ in range(2):
        task = operator(bench.name, **targets([job]), **options)
        assert task.execute(context())[str(job)] in ("RUNNING", "CANCELLING")
    assert sum(_cancels(bench, entry) for entry in bench.cloud.journal) <= 2


@alike
@both_modes
def test_a_job_that_is_shown_late_is_cancelled(bench: Bench, deferrable: bool) -> None:
    bench.local.configure({"overrides": {"late*": {"unseen": 0.5}}})
    (job,) = bench.submit("late")
    states = run(lambda: operator(bench.name, **targets([job]), deferrable=deferrable), context())
    assert states == {str(job): "CANCELLED"}


@alike
@both_modes
@pytest.mark.usefixtures("shown_at_once")
def test_mixed_jobs_all_end_and_none_is_asked_twice(bench: Bench, deferrable: bool) -> None:
    scope = bench.new_scope()
    jobs = {one_of(kind, bench, scope): kind for kind in FINAL}
    named = targets(list(jobs))
    states = run(lambda: operator(bench.name, **named, deferrable=deferrable), context())
    assert states == {str(job): FINAL[kind] for job, kind in jobs.items()}
    asked = [
        job
        for entry in bench.cloud.journal.entries(bench.name)
        for job in entry.ids
        if _cancels(bench, entry)
    ]
    assert len(asked) == len(set(asked))


def _cancels(bench: Bench, entry: Any) -> bool:
    return entry.operation in bench.cancel_operations and entry.status == 200


@alike
@both_modes
def test_jobs_not_seen_to_end_are_an_error_that_names_each(bench: Bench, deferrable: bool) -> None:
    jobs = bench.submit("endless", 2)
    named = {**targets(jobs), "waiter_max_attempts": 3}
    with pytest.raises(NotEnded) as caught:
        run(lambda: operator(bench.name, **named, deferrable=deferrable), context())
    assert [line.split()[0] for line in caught.value.jobs] == jobs


@alike
@both_modes
def test_a_job_that_is_not_shown_within_the_attempts_is_gone(bench: Bench, deferrable: bool) -> None:
    job = bench.unknown(bench.new_scope())
    named = {**targets([job]), "waiter_max_attempts": 3}
    states = run(lambda: operator(bench.name, **named, deferrable=deferrable), context())
    assert states == {str(job): "GONE"}


@alike
def test_without_waiting_the_states_right_after_the_request_are_returned(bench: Bench) -> None:
    jobs = bench.submit("endless", 2)
    begin = time.monotonic()
    states = operator(
        bench.name, **targets(jobs), wait_for_completion=False, waiter_delay=60, deferrable=True
    ).execute(context())
    assert time.monotonic() - begin < 30
    assert set(states) == set(jobs)
    assert not set(states.values()) & {"CANCELLED", "GONE"}
    assert all(bench.truth()[job.id]["cancel_requested_at"] for job in jobs)


@alike
@both_modes
@pytest.mark.usefixtures("shown_at_once")
def test_not_running_is_an_error_on_demand(bench: Bench, deferrable: bool) -> None:
    scope = bench.new_scope()
    live, ended, unknown = (one_of(kind, bench, scope) for kind in ("running", "ended", "unknown"))
    named = {**targets([live, ended, unknown]), "fail_if_not_running": True}
    with pytest.raises(NotRunning) as caught:
        run(lambda: operator(bench.name, **named, deferrable=deferrable), context())
    assert [line.split(": ")[0] for line in caught.value.jobs] == [ended, unknown]
    assert bench.are_cancelled([live])


def refuse(bench: Bench, jobs: list[RemoteJob]) -> list[RemoteJob]:
    """Add two jobs that the service refuses to cancel."""
    if isinstance(bench, EmrBench):
        return bench.running(2, bench.new_scope("emr-5.20.0"))
    if isinstance(bench, BatchBench):
        bench.local.override("refused", refuse="AccessDenied")
        return bench.submit("refused", 2)
    if isinstance(bench, GlueBench):
        bench.local.override("refused", refuse="AccessDeniedException")
        return bench.submit("refused", 2, jobs[0].scope)
    refused = bench.submit("running", 2, jobs[0].scope)
    for job in refused:
        bench.cloud.faults.add(bench.name, bench.cancel_operations[0], "denied", id=job.id)
    return refused


@both_modes
def test_refused_jobs_fail_the_task_by_name_after_the_others_have_ended(
    bench: Bench, deferrable: bool
) -> None:
    jobs = bench.submit("running", 2)
    refused = refuse(bench, jobs)
    named = {"remote_jobs": jobs + refused, "deferrable": deferrable}
    with pytest.raises(CancelRefused) as caught:
        run(lambda: operator(bench.name, **named), context())
    assert bench.are_cancelled(jobs)
    assert [line.split(": ")[0] for line in caught.value.jobs] == refused
    remedy = "5.28.0" if bench.name == "emr" else bench.iam_action
    assert all(remedy in line for line in caught.value.jobs)


def take_a_second_request(bench: Bench) -> None:
    if bench.name == "mrs":
        bench.local.configure({"kill_again": "accepted"})


def test_the_same_refusal_in_both_modes(bench: Bench) -> None:
    take_a_second_request(bench)
    jobs = bench.submit("endless", 1)
    refused = refuse(bench, jobs)
    errors = []
    for deferrable in (False, True):
        named = {"remote_jobs": jobs + refused, "deferrable": deferrable, "waiter_max_attempts": 2}
        with pytest.raises(CancelRefused) as caught:
            run(lambda named=named: operator(bench.name, **named), context())  # type: ignore[misc]
        errors.append(re.sub(r"request \w+", "", str(caught.value)))
    assert errors[0] == errors[1]


@alike
@both_modes
def test_a_right_to_poll_that_is_withdrawn_is_the_same_error(bench: Bench, deferrable: bool) -> None:
    jobs = bench.submit("endless", 1)
    task = operator(bench.name, **targets(jobs), deferrable=deferrable)
    polling = {"emr": "ListSteps", "batch": "DescribeJobs", "emr-serverless": "GetJobRun"}
    polling |= {"emr-containers": "DescribeJobRun", "glue": "GetJobRun"}
    operation = polling.get(bench.name, "ShowSingleJobExe")
    # MRS polls before it asks for the end, too.
    bench.cloud.faults.add(bench.name, operation, "denied", after=2)
    with pytest.raises(AccessDenied) as caught:
        run(lambda: task, context())
    assert caught.value.operation
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("connections")
def test_jobs_of_two_regions_and_two_connections(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    connect_aws(monkeypatch, cloud, "other_aws", login="OTHERKEY", region_name="eu-west-1")
    cloud.emr.set(submitted=0, pending=0, starting=0, cancel=0.1)
    bench = EmrBench(cloud)
    cloud.emr.set(cancel=0.1)
    here = bench.submit("running")
    cluster = cloud.emr.create_cluster(region="eu-west-1")

    client = boto3.client("emr", region_name="eu-west-1", endpoint_url=cloud.url)
    step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}
    (step_id,) = client.add_job_flow_steps(JobFlowId=cluster, Steps=[step])["StepIds"]
    client.close()
    bench.close()
    cloud.journal.clear()
    there = RemoteJob.of("emr", step_id, scope=cluster, conn_id="other_aws", region="eu-west-1")
    # The task's own connection is not even opened.
    task = operator("emr", remote_jobs=[*here, there], aws_conn_id="no_such")
    assert task.execute(context()) == dict.fromkeys([*here, there], "CANCELLED")
    used = {(entry.access_key, entry.region) for entry in cloud.journal.entries("emr")}
    assert used == {("DEFAULTKEY", "us-east-1"), ("OTHERKEY", "eu-west-1")}


@pytest.mark.parametrize("prefix", [None, "nightly-"])
def test_all_live_jobs_of_a_place(bench: Bench, prefix: str | None) -> None:
    scope = bench.new_scope()
    named, other = bench.submit("nightly-1", 2, scope), bench.submit("adhoc", 1, scope)
    bench.ended(1, scope)
    kind = KINDS[bench.name]
    place = {kind.scope: scope} if kind.scope else {"job_queue": "queue"}
    if bench.name == "glue" and prefix:
        pytest.skip("runs of Glue have no names")
    if bench.name == "batch":
        prefix = prefix or ""
    states = operator(bench.name, all_live=True, name_prefix=prefix, **place).execute(context())
    wanted = named if prefix else named + other
    assert states == dict.fromkeys(wanted, "CANCELLED")
    assert bench.are_cancelled(wanted)
    if prefix:
        assert bench.truth()[other[0].id]["cancel_requested_at"] is None


@pytest.mark.usefixtures("connections")
def test_no_live_job_is_a_success(cloud: LocalCloud) -> None:
    task = operator("emr", all_live=True, cluster_id=cloud.emr.create_cluster())
    assert task.execute(context()) == {}
    assert cloud.journal.count("emr", "CancelSteps") == 0


@pytest.mark.usefixtures("connections")
def test_only_pending_batch_jobs(cloud: LocalCloud) -> None:
    bench = BatchBench(cloud)
    cloud.batch.set(cancel=0.1)
    pending, running = bench.submit("pending")[0], bench.running()[0]
    bench.close()
    task = operator("batch", job_ids=[pending.id, running.id], pending_only=True)
    assert task.execute(context()) == {str(pending): "CANCELLED", str(running): "RUNNING"}
    assert bench.truth()[running.id]["cancel_requested_at"] is None


@pytest.mark.usefixtures("connections")
def test_a_stubborn_step_is_killed_after_a_while(cloud: LocalCloud) -> None:
    bench = EmrBench(cloud)
    cloud.emr.set(cancel=0.1)
    cloud.emr.override("stubborn", stubborn=True)
    jobs = bench.submit("stubborn")
    bench.close()
    task = operator("emr", **targets(jobs), escalate_after=0.3)
    assert task.execute(context()) == {str(jobs[0]): "CANCELLED"}
    assert cloud.journal.count("emr", "CancelSteps") == 2


@pytest.mark.parametrize("map_index, shown", [(-1, "stop"), (0, "stop[0]"), (3, "stop[3]")])
@pytest.mark.usefixtures("connections")
def test_the_reason_names_dag_run_and_task(cloud: LocalCloud, map_index: int, shown: str) -> None:
    bench = BatchBench(cloud)
    jobs = bench.submit("running")
    bench.close()
    task = operator("batch", **targets(jobs), wait_for_completion=False)
    task.execute(context(map_index=map_index))
    assert bench.truth()[jobs[0].id]["reason"] == f"Cancelled by Airflow: nightly / manual__2026 / {shown}"


@pytest.mark.usefixtures("connections")
def test_a_long_reason_is_cut_and_that_is_said(cloud: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    bench = BatchBench(cloud)
    jobs = bench.submit("running")
    bench.close()
    operator("batch", **targets(jobs), wait_for_completion=False, reason="x" * 2000).execute(context())
    assert bench.truth()[jobs[0].id]["reason"] == "x" * 1024
    assert "reason has 2000 characters; the first 1024 are sent." in capsys.readouterr().out


@alike
def test_what_became_of_each_job_is_in_the_log_and_no_secret_is(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = bench.submit("running", 2)
    assert operator(bench.name, **targets(jobs)).execute(context())
    with pytest.raises(TaskDeferred) as deferral:
        operator(bench.name, **targets(bench.submit("endless")), deferrable=True).execute(context())
    log = capsys.readouterr().out
    assert all(f"{job}: REQUESTED" in log and f"{job} is CANCELLED" in log for job in jobs)
    assert not any(secret in log + str(deferral.value.trigger.serialize()) for secret in SECRETS)


def test_the_console_link(bench: Bench) -> None:
    jobs = bench.submit("running")
    task = operator(bench.name, **targets(jobs))
    link, *_ = task.operator_extra_links
    assert isinstance(link, RemoteJobLink)
    assert link.xcom_key
    assert link.get_link(task, ti_key=None) == ""
    task.execute(context())
    address = link.get_link(task, ti_key=None)
    if bench.name == "mrs":
        assert address == ""
    else:
        assert address.startswith("https://us-east-1.console.aws.amazon.com/")
        assert quote(jobs[0].scope or jobs[0].id, safe="") in address
