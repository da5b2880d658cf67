"""How a try may end, what may go wrong around it, and what then becomes of its jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import boto3
import pytest

from airflow_cancel_provider.exceptions import InvalidInput, Killed
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.plugin import listener
from airflow_cancel_provider.record import RECORD_KEY, Actor
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, current_recorder
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowTaskTimeout
from tests.airflow_versions import DownstreamTasksSkipped
from tests.cloud.server import LocalCloud
from tests.try_fixtures import (
    CANCEL,
    KEEP,
    Store,
    Try,
    _guarded,
    cancelled,
    end,
    ended,
    submit,
    submit_and,
    submit_and_fail,
    submit_once,
    variables,
)

__all__ = ["_guarded", "variables"]

WORDS = ("cancelling batch://", "CANCELLED after")
"""Of the first and the last line of a cancel."""


class TaskRunnerMarker:
    """As Airflow's: tells listeners that it is a task's process that ends."""


class TestSuccess:
    def test_who_skips_others_has_succeeded_and_no_later_try_ends_its_jobs(self, cloud: LocalCloud) -> None:
        store = Store()
        skip = DownstreamTasksSkipped(tasks=[])  # type: ignore[no-untyped-call]
        ended(Try(work=submit_and(skip), store=store), DownstreamTasksSkipped)
        assert store == {}
        # Cleared, it runs again.
        Try(work=lambda: None, store=store, try_number=2).run(CANCEL)
        assert cancelled(cloud) == [False]

    def test_what_a_callback_of_a_success_starts_is_not_ended_by_a_later_try(self, cloud: LocalCloud) -> None:
        store = Store()
        ti = Try(work=submit_once, store=store)
        guard = ti.guarded(CANCEL)
        ti.task.execute()
        submit_once("callback")
        guard.succeeded()
        assert store == {}
        assert cancelled(cloud) == [False, False]

    def test_a_signal_after_the_success_ends_nothing(self, cloud: LocalCloud) -> None:
        ti = Try(work=submit_once)
        guard = ti.guarded(CANCEL)
        ti.task.execute()
        ti.state = "success"  # reported; its callbacks are at work
        ti.task.on_kill()
        guard.succeeded()
        ti.task.on_kill()
        assert not guard.parts.canceller.wait_for("accepted", 1)
        assert cancelled(cloud) == [False]

    def test_what_fails_after_all_is_on_record_for_the_next_try(self) -> None:
        store = Store()
        ti = Try(work=submit_once, store=store)
        guard = ti.guarded(KEEP)
        ti.task.execute()
        assert store == {}
        ti.state = "up_for_retry"  # its result could not be written
        guard.failed()
        assert len(store[RECORD_KEY]["jobs"]) == 1

    @pytest.mark.parametrize("reports", [True, False], ids=["3.1", "3.0"])
    @pytest.mark.parametrize("executes", [True, False])
    def test_what_skips_itself_before_or_after_its_execute_leaves_nothing(
        self,
        cloud: LocalCloud,
        variables: dict[str, Any],
        executes: bool,
        reports: bool,
    ) -> None:
        """As ``pre_execute`` and ``post_execute`` may. Airflow 3.0 does not report it."""
        ti: Any = Try(work=submit_once)
        listener.on_task_instance_running(ti)
        if executes:
            ti.task.execute()
            assert variables[release_key(ti.id)]["all"] is True
        else:
            submit_once()
        ti.state = "skipped"
        if reports:
            listener.on_task_instance_skipped(previous_state="running", task_instance=ti)
        listener.before_stopping(TaskRunnerMarker())
        assert cancelled(cloud) == [True]
        assert variables == {}
        submit_once("later")
        assert cancelled(cloud) == [True, False]


class TestFailure:
    @pytest.mark.parametrize("by_hand, state", [(False, JobState.FAILED), (True, JobState.CANCELLED)])
    def test_a_job_that_ends_by_itself_has_its_end_on_record(
        self, cloud: LocalCloud, by_hand: bool, state: JobState
    ) -> None:
        """The commonest failure: the operator sees its job fail, and fails."""

        def work() -> None:
            batch, job = boto3.client("batch", region_name="us-east-1"), submit_once()
            if by_hand:
                end(cloud, job)
            else:
                cloud.batch.finish(job.id, "FAILED")
            seen = batch.describe_jobs(jobs=[job.id])["jobs"][0]["status"]
            raise ValueError(seen)

        ti = Try(work=work)
        ended(ti, ValueError)
        (found,) = ti.record.ends.values()
        assert (found.state, found.by, found.reason) == (state, Actor.SERVICE, "")

    @pytest.mark.parametrize("sentinel", [True, False])
    def test_it_says_that_a_cancel_was_refused_and_not_that_it_goes_on(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, sentinel: bool
    ) -> None:
        for operation in ("TerminateJob", "TerminateJobs"):
            cloud.faults.add("batch", operation, "denied", times=100)
        guard = ended(Try(work=submit_and(ValueError)), ValueError, replace(CANCEL, sentinel=sentinel))
        words = "Task failed (ValueError): the cancel has failed; these jobs may still be running: "
        assert f"{words}{', '.join(guard.parts.ledger.jobs)}" in caplog.text
        assert "cancelling continues" not in caplog.text
        assert cancelled(cloud) == [False]

    @pytest.mark.parametrize("state", ["running", "scheduled", "up_for_retry", "restarting", None])
    def test_whatever_state_it_begins_with_its_jobs_are_its_own(
        self, cloud: LocalCloud, state: str | None
    ) -> None:
        """With ``dags test`` it is not ``running``."""
        ti: Any = Try(work=submit_and(ValueError))
        ti.state = state
        ended(ti, ValueError)
        assert cancelled(cloud) == [True]

    def test_what_a_callback_starts_after_a_failure_before_execute_is_not_the_tasks(
        self, cloud: LocalCloud
    ) -> None:
        ti = Try()
        guard = ti.guarded(CANCEL)
        submit_once("pre_execute")
        ti.state = "failed"
        submit_once("callback")
        guard.failed()
        assert cancelled(cloud) == [True, False]

    def test_what_a_callback_starts_is_not_the_tasks(self, cloud: LocalCloud) -> None:
        guard = ended(Try(work=lambda: 1 / 0), ZeroDivisionError)
        submit_once("callback")
        (job,) = cloud.batch.jobs()
        assert LABEL_PARAMETER not in job["labels"]["parameters"]
        assert guard.parts.ledger.is_empty

    def test_after_a_timeout_it_is_not_refused(self, cloud: LocalCloud) -> None:
        ti: Any = Try(work=submit_and(AirflowTaskTimeout))
        ti.task.execution_timeout = timedelta(seconds=1)
        ended(ti, AirflowTaskTimeout)
        ti.task.on_kill()
        submit_once("callback")
        assert cancelled(cloud) == [True, False]

    def test_a_timeout_keeps_what_the_next_try_goes_on_with(self, cloud: LocalCloud) -> None:
        ti: Any = Try(work=submit_and(AirflowTaskTimeout))
        ti.task.execution_timeout = timedelta(seconds=1)
        guard = ended(ti, AirflowTaskTimeout, KEEP)
        ti.task.on_kill()  # Airflow's own call
        ti.state = "up_for_retry"
        guard.failed()
        assert not guard.parts.canceller.wait_for("accepted", 1)
        assert cancelled(cloud) == [False]

    def test_what_resumes_with_execute_is_seen_to_once(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ti: Any = Try(work=submit_and(ValueError))
        monkeypatch.setattr(type(ti.task), "resume_execution", lambda task: task.execute())
        ti.guarded(CANCEL)
        caplog.set_level("INFO")
        with pytest.raises(ValueError, match=r"^$"):
            ti.task.resume_execution()
        assert caplog.text.count("Task failed (ValueError): cancelling") == 1
        assert cancelled(cloud) == [True]

    def test_a_kill_is_heard_while_airflow_is_asked(self) -> None:
        def kill(*_: Any) -> None:
            raise Killed("told to end")

        ended(Try(work=submit_once, on_push=kill), Killed)


class TestTrack:
    @pytest.mark.usefixtures("cloud")
    def test_an_address_that_its_service_does_not_have_is_refused(self) -> None:
        errors = []

        def work() -> None:
            guard: Any = current_recorder()
            try:
                guard.track(RemoteJob("batch://aws_default/us-east-1/123"))
            except InvalidInput as error:
                errors.append(str(error))
                raise

        Try(work=work).run(CANCEL)
        (words,) = errors
        assert "no cluster or application; got 'us-east-1'" in words
        assert "Expected batch://connection@region/<job id>" in words


def test_a_lost_answer_is_looked_for_though_its_siblings_are_known(cloud: LocalCloud) -> None:
    cloud.batch.configure({"overrides": {"late*": {"unseen": 4}}})

    def work() -> None:
        submit_once("known")
        cloud.faults.add("batch", "SubmitJob", kind="lost_reply")
        submit_once("late")

    Try(work=work).run(CANCEL)
    assert cancelled(cloud) == [True, True]


def test_the_log_has_the_sentinels_lines_as_they_come(
    cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cloud.batch.configure({"cancel": 2.0})
    Try(work=submit_and_fail).run(Settings(confirm_seconds=20, patience=30))
    lines = {word: line.created for line in caplog.records for word in WORDS if word in line.getMessage()}
    assert lines["CANCELLED after"] - lines["cancelling batch://"] > 1


def test_a_line_that_the_task_has_logged_makes_the_sentinel_ask_no_sooner(cloud: LocalCloud) -> None:
    """Each pause is longer than the one before: cut short, they would soon be long."""
    cloud.batch.configure({"overrides": {f"job{place}": {"cancel": 0.5 * place} for place in range(1, 5)}})

    def work() -> None:
        for place in range(1, 5):
            submit(f"job{place}")
        raise ValueError("after submitting")

    Try(work=work).run(Settings(confirm_seconds=20, patience=30))
    times = [entry.time for entry in cloud.journal.entries("batch", "DescribeJobs")]
    assert min(later - before for before, later in pairwise(times)) > 0.2
