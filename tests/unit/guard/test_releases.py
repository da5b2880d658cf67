"""What a try lets live on, in an Airflow Variable: by its own word, and when it succeeds."""

from __future__ import annotations

import threading
import time
from typing import Any

import boto3
import pytest

from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.record import TryState
from airflow_cancel_provider.services.submissions import current_recorder
from airflow_cancel_provider.version_compat import Variable
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.try_fixtures import (
    CANCEL,
    KEEP,
    Store,
    Try,
    _guarded,
    cancelled,
    end,
    polls_of,
    resumed,
    start_cluster,
    submit,
    submit_and_fail,
    submit_once,
    variables,
)

__all__ = ["_guarded", "variables"]


class TestRelease:
    def test_it_is_on_record_where_it_outlives_the_run(
        self, cloud: LocalCloud, variables: dict[str, Any]
    ) -> None:
        def work() -> None:
            submit()
            recorder: Any = current_recorder()
            (job,) = recorder.ledger.jobs
            recorder.release(job)
            raise ValueError("but the job is to live on")

        ti = Try(work=work)
        ti.run(CANCEL)
        (job,) = cloud.batch.jobs()
        release = variables[release_key(ti.id)]
        assert release.pop("at").endswith("+00:00")
        assert release == {
            "all": False,
            "jobs": [f"batch://@us-east-1/{job['id']}"],
            "task": "nightly / manual__2026 / stop try 1",
        }
        assert cancelled(cloud) == [False]

    def test_one_of_many_lives_though_the_task_was_killed_before_its_end(self, cloud: LocalCloud) -> None:
        """With many jobs the record is not written at each one; what is released is."""
        store = Store()

        def work() -> None:
            batch: Any = boto3.session.Session().client("batch", region_name="us-east-1")
            for number in range(97):
                batch.submit_job(jobName=str(number), jobQueue="queue", jobDefinition="definition")
            recorder: Any = current_recorder()
            recorder.release(recorder.ledger.jobs[0])

        guard = TaskGuard(Try(work=work, store=store), CANCEL)
        guard.install()
        work()  # nothing sees its end
        (released,) = guard.parts.ledger.released
        Try(work=lambda: None, store=store, try_number=2).run(CANCEL)
        assert [job["id"] for job in cloud.batch.jobs() if not job["cancelled"]] == [released.id]

    def test_from_another_thread_it_is_written_at_the_end(self, variables: dict[str, Any]) -> None:
        def work() -> None:
            thread = threading.Thread(target=release)
            thread.start()
            thread.join()
            seen.append(len(variables))
            raise ValueError("and fails")

        def release() -> None:
            submit()
            recorder: Any = current_recorder()
            (job,) = recorder.ledger.jobs
            recorder.release(job)

        seen: list[int] = []
        Try(work=work).run(CANCEL)
        assert seen == [0]
        assert len(variables) == 1

    def test_what_cant_be_written_is_said_and_no_error(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError("no Variables for you")

        monkeypatch.setattr(Variable, "set", refuse)

        def work() -> None:
            submit()
            recorder: Any = current_recorder()
            (job,) = recorder.ledger.jobs
            recorder.release(job)

        ti = Try(work=work)
        ti.run(CANCEL)
        assert "no Variables for you" in caplog.text
        assert ti.state == "running"

    def test_whatever_connection_the_job_is_named_with(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Try, "get_template_context", lambda _: {})

        def work() -> None:
            guard: Any = current_recorder()
            guard.release(RemoteJob(f"batch://aws_default/{submit_once().id}"))
            raise ValueError("but the job is to live on")

        Try(work=work).run(CANCEL)
        assert cancelled(cloud) == [False]

    @pytest.mark.parametrize("is_right", [True, False])
    def test_an_address_that_this_task_has_not_started_is_named(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, is_right: bool
    ) -> None:
        def work() -> None:
            guard: Any = current_recorder()
            job = submit_once()
            guard.release(job if is_right else RemoteJob(f"batch://aws_default/us-east-1/{job.id}"))
            raise ValueError("after a slip of the pen")

        Try(work=work).run(CANCEL)
        assert ("This task has not started batch://aws_default/us-east-1/" in caplog.text) is not is_right
        assert cancelled(cloud) == [not is_right]

    def test_it_lives_on_where_another_submission_is_looked_for(self, cloud: LocalCloud) -> None:
        """The label, by which the one without an answer is found, is the same for both."""

        def work() -> None:
            guard: Any = current_recorder()
            guard.release(submit_once("released"))
            cloud.faults.add("batch", "SubmitJob", kind="lost_reply")
            submit_once("lost")

        Try(work=work).run(CANCEL)
        assert cancelled(cloud) == [False, True]


class TestSuccess:
    """What lives when a task succeeds was let go by it: said before success is reported."""

    def test_jobs_that_were_not_seen_to_end_are_released_before_success_is_reported(
        self, cloud: LocalCloud, variables: dict[str, Any]
    ) -> None:
        ti = Try(work=submit)
        guard = TaskGuard(ti, CANCEL)
        guard.install()
        ti.task.execute()
        (job,) = cloud.batch.jobs()
        release = variables[release_key(ti.id)]
        assert (release["all"], release["jobs"]) == (True, [f"batch://@us-east-1/{job['id']}"])
        assert ti.record.state is TryState.RETURNED
        guard.succeeded()
        assert cancelled(cloud) == [False]

    def test_a_task_that_saw_its_jobs_end_leaves_no_variable(
        self, cloud: LocalCloud, variables: dict[str, Any]
    ) -> None:
        def wait() -> None:
            batch: Any = boto3.session.Session().client("batch", region_name="us-east-1")
            job = submit()
            batch.terminate_job(jobId=job, reason="by hand")
            until(lambda: batch.describe_jobs(jobs=[job])["jobs"][0]["status"] == "FAILED")

        cloud.batch.configure({"cancel": 0.1})
        ti = Try(work=wait)
        ti.run(CANCEL)
        assert ti.record.state is TryState.RETURNED
        assert variables == {}

    @pytest.mark.parametrize("is_over", [False, True])
    def test_a_resumed_task_polls_once_whether_its_jobs_have_ended(
        self, cloud: LocalCloud, variables: dict[str, Any], is_over: bool
    ) -> None:
        cloud.batch.configure({"cancel": 0.1})
        job = RemoteJob(f"batch://aws_default@us-east-1/{submit()}")
        if is_over:
            end(cloud, job)
        ti = resumed(job)
        before = polls_of(cloud, job)
        ti.run(CANCEL)
        assert polls_of(cloud, job) == before + 1
        assert [release["jobs"] for release in variables.values()] == ([] if is_over else [[str(job)]])
        assert ti.record.state is TryState.RETURNED

    def test_a_poll_that_gets_no_answer_in_time_counts_as_living(
        self, cloud: LocalCloud, variables: dict[str, Any]
    ) -> None:
        ti = resumed(job := RemoteJob(f"batch://aws_default@us-east-1/{submit()}"))
        cloud.faults.add("batch", "DescribeJobs", "latency", delay=20)
        began = time.monotonic()
        ti.run(CANCEL)
        assert time.monotonic() - began < 15
        assert variables[release_key(ti.id)]["jobs"] == [str(job)]

    def test_a_task_that_fails_after_all_withdraws_it(
        self, cloud: LocalCloud, variables: dict[str, Any]
    ) -> None:
        ti = Try(work=submit)
        guard = TaskGuard(ti, CANCEL)
        guard.install()
        ti.task.execute()
        assert variables
        ti.state = "failed"  # its result could not be written
        guard.failed()
        assert variables == {}
        assert cancelled(cloud) == [True]

    def test_one_that_cant_be_written_is_no_error_and_a_warning_that_says_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError("no Variables for you")

        monkeypatch.setattr(Variable, "set", refuse)
        ti = Try(work=submit)
        ti.run(CANCEL)
        assert ti.state == "running"
        (said,) = [each for each in caplog.records if "no Variables for you" in each.getMessage()]
        assert said.levelname == "WARNING"
        assert "The release of 1 remote jobs" in said.getMessage()
        assert f"Variable {release_key(ti.id)}" in said.getMessage()
        assert "Do not delete the Dag run before they have ended, or set the Variable" in said.getMessage()

    def test_jobs_of_earlier_tries_are_released_in_their_own_tries_names(
        self, cloud: LocalCloud, variables: dict[str, Any]
    ) -> None:
        store = Store()
        first = Try(work=submit_and_fail, store=store)
        first.run(KEEP)
        Try(work=lambda: None, store=store, try_number=2).run(KEEP)
        (job,) = cloud.batch.jobs()
        release = variables[release_key(first.id)]
        assert (release["all"], release["jobs"]) == (False, [f"batch://@us-east-1/{job['id']}"])

    @pytest.mark.parametrize("fault", [None, "throttle"])
    def test_steps_of_a_new_cluster_are_released_though_their_ids_were_not_told(
        self, cloud: LocalCloud, variables: dict[str, Any], fault: str | None
    ) -> None:
        """RunJobFlow names the cluster alone; after db clean the reaper would cancel its steps."""
        if fault:
            cloud.faults.add("emr", "ListSteps", fault)
        ti = Try(work=start_cluster)
        ti.run(CANCEL)
        (job,) = cloud.emr.jobs()
        release = variables[release_key(ti.id)]
        assert release["all"]
        assert release["jobs"] == ([] if fault else [f"emr://@us-east-1/{job['scope']}/{job['id']}"])
        assert release.get("more") == (["emr://@us-east-1/%2A"] if fault else None)

    def test_steps_of_a_cluster_that_were_seen_to_end_need_no_variable(
        self, cloud: LocalCloud, variables: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_cancel_provider.guard.label_lookups.UNSEEN_SECONDS", 0.0)

        def work() -> None:
            start_cluster()
            (job,) = cloud.emr.jobs()
            emr: Any = boto3.session.Session().client("emr", region_name="us-east-1")
            emr.terminate_job_flows(JobFlowIds=[job["scope"]])
            until(
                lambda: not emr.list_steps(ClusterId=job["scope"], StepStates=["PENDING", "RUNNING"])["Steps"]
            )

        Try(work=work).run(CANCEL)
        assert cloud.journal.count("emr", "RunJobFlow") == 1
        assert variables == {}
