"""How a try may end, what may go wrong around it, and what then becomes of its jobs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import boto3
import pytest
from airflow.triggers.base import BaseTrigger
from botocore.config import Config
from pendulum import now

from airflow_cancel_provider.exceptions import InvalidInput, Killed
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import Owner, release_key
from airflow_cancel_provider.plugin import listener
from airflow_cancel_provider.record import RECORD_KEY, Actor, TryRecord, TryState
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, current_recorder
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowSkipException, AirflowTaskTimeout, TaskDeferred
from tests.airflow_versions import AirflowRescheduleException, DownstreamTasksSkipped
from tests.cloud.server import LocalCloud
from tests.try_fixtures import (  # noqa: F401  fixtures
    CANCEL,
    KEEP,
    RESCHEDULED,
    RESUMED,
    Never,
    Store,
    Try,
    _guarded,
    cancelled,
    end,
    variables,
)
from tests.try_fixtures import submit as submit_as


class DagRunTriggerException(Exception):
    """As that of ``TriggerDagRunOperator``."""


class TaskRunnerMarker:
    """As Airflow's: tells listeners that it is a task's process that ends."""


def submit(name: str = "job") -> RemoteJob:
    """One job, without a second attempt."""
    config = Config(retries={"total_max_attempts": 1})
    batch: Any = boto3.session.Session().client("batch", region_name="us-east-1", config=config)
    answer = batch.submit_job(jobName=name, jobQueue="queue", jobDefinition="definition")
    return RemoteJob(f"batch://@us-east-1/{answer['jobId']}")


def submit_and(end: BaseException | type[BaseException]) -> Callable[[], None]:
    def work() -> None:
        submit()
        raise end

    return work


def on_record(*jobs: str, ti_id: UUID | None = None) -> Store:
    """What an earlier try has left."""
    return Store({RECORD_KEY: TryRecord(ti_id or uuid4(), jobs=tuple(map(RemoteJob, jobs))).as_json()})


def guarded(ti: Try, settings: Settings = CANCEL) -> TaskGuard:
    guard = TaskGuard(ti, settings)
    guard.install()
    return guard


def ended(ti: Try, end: type[BaseException], settings: Settings = CANCEL) -> TaskGuard:
    """Execute, which ends so."""
    guard = guarded(ti, settings)
    with pytest.raises(end):
        ti.task.execute()
    return guard


class TestBefore:
    """What earlier tries, or this one, had started before."""

    def test_a_guard_that_could_not_be_installed_records_nothing(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError("no XCom for you")

        monkeypatch.setattr(Try, "xcom_pull", refuse)
        ti: Any = Try(work=submit)
        ti._ti_context_from_server = RESUMED  # and what it had started can't be read
        listener.on_task_instance_running(ti)
        ti.task.execute()
        assert "could not be installed" in caplog.text
        assert current_recorder() is None
        (job,) = cloud.batch.jobs()
        assert LABEL_PARAMETER not in job["labels"]["parameters"]

    def test_what_cant_be_reached_keeps_neither_the_rest_nor_this_try_from_it(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        owner = Owner.from_context({"ti": Try()}, CANCEL.deployment)
        job = RemoteJob(f"batch://@us-east-1/{submit_as('earlier', str(owner.label))}")
        store = on_record(f"batch://gone/{job.id}", job, ti_id=owner.ti_id)
        ti = Try(work=submit_and(ValueError), store=store)
        ti.try_number = 2
        ti.run(CANCEL)
        assert f"batch://gone/{job.id}" in caplog.text
        assert cancelled(cloud) == [True, True]

    def test_a_record_that_cant_be_read_is_no_reason_not_to_guard(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_: Any) -> Any:
            raise ValueError("parameters are not what they were")

        monkeypatch.setattr(Try, "get_template_context", broken)
        Try(work=submit_and(ValueError), try_number=2).run(CANCEL)
        assert cancelled(cloud) == [True]

    @pytest.mark.parametrize("try_number", [1, 2])
    @pytest.mark.parametrize("fails", [False, True])
    def test_a_rescheduled_try_goes_on_with_its_jobs(
        self, cloud: LocalCloud, try_number: int, fails: bool
    ) -> None:
        store = Store()
        later = AirflowRescheduleException(now())  # type: ignore[no-untyped-call]
        first = Try(work=submit_and(later), store=store, try_number=try_number)
        ended(first, AirflowRescheduleException)
        assert cancelled(cloud) == [False]
        ti: Any = Try(id=first.id, work=lambda: 1 / (not fails), store=store, try_number=try_number)
        ti._ti_context_from_server = RESCHEDULED
        ti.run(CANCEL)
        assert cancelled(cloud) == [fails]

    @pytest.mark.parametrize("is_success", [True, False])
    def test_a_task_that_triggers_a_run_ends_with_an_exception(
        self,
        cloud: LocalCloud,
        variables: dict[str, Any],  # noqa: F811
        is_success: bool,
    ) -> None:
        """Airflow handles it after ``execute``, and then tells the listeners how the task has ended."""
        ti = Try(work=submit_and(DagRunTriggerException()), try_number=2)
        guard = ended(ti, DagRunTriggerException)
        guard.succeeded() if is_success else guard.failed()
        assert cancelled(cloud) == [not is_success]
        assert ti.record.state is (TryState.RETURNED if is_success else TryState.RUNNING)
        assert variables.get(release_key(ti.id), {"all": False})["all"] is is_success

    def test_a_setting_that_cant_be_read_disturbs_no_other_listener(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY", "kepp")
        listener.on_task_instance_running(Try())
        assert "expected cancel or keep" in caplog.text
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__FAIL_CLOSED", "True")
        with pytest.raises(SystemExit, match="fail_closed"):
            listener.on_task_instance_running(Try())

    def test_a_task_that_is_not_guarded_is_not_the_last_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        guarded(Try())
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ENABLED", "False")
        listener.on_task_instance_running(Try())
        assert current_recorder() is None


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
        ti = Try(work=submit, store=store)
        guard = guarded(ti)
        ti.task.execute()
        submit("callback")
        guard.succeeded()
        assert store == {}
        assert cancelled(cloud) == [False, False]

    def test_a_signal_after_the_success_ends_nothing(self, cloud: LocalCloud) -> None:
        ti = Try(work=submit)
        guard = guarded(ti)
        ti.task.execute()
        ti.state = "success"  # reported; its callbacks are at work
        ti.task.on_kill()
        guard.succeeded()
        ti.task.on_kill()
        assert not guard.canceller.wait_for("accepted", 1)
        assert cancelled(cloud) == [False]

    def test_what_fails_after_all_is_on_record_for_the_next_try(self) -> None:
        store = Store()
        ti = Try(work=submit, store=store)
        guard = guarded(ti, KEEP)
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
        variables: dict[str, Any],  # noqa: F811
        executes: bool,
        reports: bool,
    ) -> None:
        """As ``pre_execute`` and ``post_execute`` may. Airflow 3.0 does not report it."""
        ti: Any = Try(work=submit)
        listener.on_task_instance_running(ti)
        if executes:
            ti.task.execute()
            assert variables[release_key(ti.id)]["all"] is True
        else:
            submit()
        ti.state = "skipped"
        if reports:
            listener.on_task_instance_skipped(previous_state="running", task_instance=ti)
        listener.before_stopping(TaskRunnerMarker())
        assert cancelled(cloud) == [True]
        assert variables == {}
        submit("later")
        assert cancelled(cloud) == [True, False]


class TestFailure:
    @pytest.mark.parametrize("by_hand, state", [(False, JobState.FAILED), (True, JobState.CANCELLED)])
    def test_a_job_that_ends_by_itself_has_its_end_on_record(
        self, cloud: LocalCloud, by_hand: bool, state: JobState
    ) -> None:
        """The commonest failure: the operator sees its job fail, and fails."""

        def work() -> None:
            batch, job = boto3.client("batch", region_name="us-east-1"), submit()
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
        guard = guarded(ti)
        submit("pre_execute")
        ti.state = "failed"
        submit("callback")
        guard.failed()
        assert cancelled(cloud) == [True, False]

    def test_what_a_callback_starts_is_not_the_tasks(self, cloud: LocalCloud) -> None:
        guard = ended(Try(work=lambda: 1 / 0), ZeroDivisionError)
        submit("callback")
        (job,) = cloud.batch.jobs()
        assert LABEL_PARAMETER not in job["labels"]["parameters"]
        assert guard.ledger.is_empty

    def test_after_a_timeout_it_is_not_refused(self, cloud: LocalCloud) -> None:
        ti: Any = Try(work=submit_and(AirflowTaskTimeout))
        ti.task.execution_timeout = timedelta(seconds=1)
        ended(ti, AirflowTaskTimeout)
        ti.task.on_kill()
        submit("callback")
        assert cancelled(cloud) == [True, False]

    def test_a_timeout_keeps_what_the_next_try_goes_on_with(self, cloud: LocalCloud) -> None:
        ti: Any = Try(work=submit_and(AirflowTaskTimeout))
        ti.task.execution_timeout = timedelta(seconds=1)
        guard = ended(ti, AirflowTaskTimeout, KEEP)
        ti.task.on_kill()  # Airflow's own call
        ti.state = "up_for_retry"
        guard.failed()
        assert not guard.canceller.wait_for("accepted", 1)
        assert cancelled(cloud) == [False]

    def test_a_timeout_while_jobs_end_does_not_change_what_the_task_ended_with(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        cloud.batch.configure({"cancel": 3})

        def ring(*_: Any) -> None:
            raise AirflowTaskTimeout("Timeout")

        def work() -> None:
            submit()
            signal.setitimer(signal.ITIMER_REAL, 1)
            raise AirflowSkipException("nothing to do")

        before = signal.signal(signal.SIGALRM, ring)
        try:
            ended(Try(work=work), AirflowSkipException)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert "execution_timeout passed" in caplog.text

    def test_what_resumes_with_execute_is_seen_to_once(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ti: Any = Try(work=submit_and(ValueError))
        monkeypatch.setattr(type(ti.task), "resume_execution", lambda task: task.execute())
        guarded(ti)
        caplog.set_level("INFO")
        with pytest.raises(ValueError, match=r"^$"):
            ti.task.resume_execution()
        assert caplog.text.count("Task failed (ValueError): cancelling") == 1
        assert cancelled(cloud) == [True]

    def test_a_kill_is_heard_while_airflow_is_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def struck(*_: Any, **__: Any) -> None:
            raise Killed("told to end")

        monkeypatch.setattr(Try, "xcom_push", struck)
        ended(Try(work=submit), Killed)


class TestDeferral:
    def deferral(self, trigger: BaseTrigger) -> TaskDeferred:
        return TaskDeferred(trigger=trigger, method_name="execute_complete")

    def test_one_that_airflow_cant_take_is_a_failure(self, cloud: LocalCloud) -> None:
        ti = Try(work=submit_and(self.deferral(Never())))
        guard = ended(ti, TaskDeferred)
        assert cancelled(cloud) == [False]
        ti.state = "failed"  # its arguments can't be serialized
        guard.failed()
        assert cancelled(cloud) == [True]

    def test_one_that_cant_be_guarded_is_as_it_was_and_said(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError("no XCom for you")

        monkeypatch.setattr(Try, "xcom_push", refuse)
        trigger = Never()
        deferral = self.deferral(trigger)
        ended(Try(work=submit_and(deferral)), TaskDeferred)
        assert deferral.trigger is trigger
        (job,) = cloud.batch.jobs()
        assert "Not guarded: the task while it is deferred" in caplog.text
        assert job["id"] in caplog.text

    def test_steps_of_a_new_cluster_go_with_it(self, cloud: LocalCloud) -> None:
        deferral = self.deferral(Never())

        def work() -> None:
            step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}
            emr: Any = boto3.session.Session().client("emr", region_name="us-east-1")
            emr.run_job_flow(Name="etl", Steps=[step, step], Instances={"InstanceCount": 1})
            raise deferral

        ended(Try(work=work), TaskDeferred)
        assert isinstance(deferral.trigger, GuardTrigger)
        steps = [f"emr://@us-east-1/{job['scope']}/{job['id']}" for job in cloud.emr.jobs()]
        assert sorted(deferral.trigger.serialize()[1]["record"]["jobs"]) == sorted(steps)

    def test_steps_that_may_not_be_looked_for_go_with_it_by_their_label(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        deferral = self.deferral(Never())

        def work() -> None:
            step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}
            emr: Any = boto3.session.Session().client("emr", region_name="us-east-1")
            emr.run_job_flow(Name="etl", Steps=[step], Instances={"InstanceCount": 1})
            raise deferral

        cloud.faults.add("emr", "ListSteps", "denied")
        ti = Try(work=work)
        ended(ti, TaskDeferred)
        assert isinstance(deferral.trigger, GuardTrigger)
        (job,) = cloud.emr.jobs()
        (intent,) = TryRecord.from_json(deferral.trigger.record).intents
        assert intent.scope == job["scope"]
        assert intent.label
        assert intent.label.ti_id == ti.id
        words = f"Jobs in {job['scope']} could not be looked up. The trigger looks for them by label"
        assert words in caplog.text

    def test_somebodys_own_kind_of_it_is_one(self, cloud: LocalCloud) -> None:
        class Mine(TaskDeferred):
            pass

        deferral = Mine(trigger=Never(), method_name="execute_complete")
        ended(Try(work=submit_and(deferral)), Mine)
        assert isinstance(deferral.trigger, GuardTrigger)
        assert cancelled(cloud) == [False]


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


class TestRelease:
    def test_whatever_connection_the_job_is_named_with(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Try, "get_template_context", lambda _: {})

        def work() -> None:
            guard: Any = current_recorder()
            guard.release(RemoteJob(f"batch://aws_default/{submit().id}"))
            raise ValueError("but the job is to live on")

        Try(work=work).run(CANCEL)
        assert cancelled(cloud) == [False]

    @pytest.mark.parametrize("is_right", [True, False])
    def test_an_address_that_this_task_has_not_started_is_named(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture, is_right: bool
    ) -> None:
        def work() -> None:
            guard: Any = current_recorder()
            job = submit()
            guard.release(job if is_right else RemoteJob(f"batch://aws_default/us-east-1/{job.id}"))
            raise ValueError("after a slip of the pen")

        Try(work=work).run(CANCEL)
        assert ("This task has not started batch://aws_default/us-east-1/" in caplog.text) is not is_right
        assert cancelled(cloud) == [not is_right]

    def test_it_lives_on_where_another_submission_is_looked_for(self, cloud: LocalCloud) -> None:
        """The label, by which the one without an answer is found, is the same for both."""

        def work() -> None:
            guard: Any = current_recorder()
            guard.release(submit("released"))
            cloud.faults.add("batch", "SubmitJob", kind="lost_reply")
            submit("lost")

        Try(work=work).run(CANCEL)
        assert cancelled(cloud) == [False, True]


def test_a_lost_answer_is_looked_for_though_its_siblings_are_known(cloud: LocalCloud) -> None:
    cloud.batch.configure({"overrides": {"late*": {"unseen": 4}}})

    def work() -> None:
        submit("known")
        cloud.faults.add("batch", "SubmitJob", kind="lost_reply")
        submit("late")

    Try(work=work).run(CANCEL)
    assert cancelled(cloud) == [True, True]
