"""What is not certain: jobs that were started twice, jobs of somebody with the same token, forged records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Timer
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from airflow_cancel_provider.guard.api import track
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.record import RECORD_KEY, TryRecord
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.try_fixtures import (  # noqa: F401  two of them are fixtures
    CANCEL,
    KEEP,
    UNLABELLED,
    Store,
    Try,
    _guarded,
    cancelled,
    resumed,
    variables,
)

# A label search goes on for a while, and a failing task does not wait for all of it.
SHORT = Settings(sentinel=False, confirm_seconds=8)


def client(service: Any = "batch", attempts: int = 2) -> Any:
    config = Config(retries={"mode": "standard", "total_max_attempts": attempts})
    return boto3.session.Session().client(service, region_name="us-east-1", config=config)


def submit(attempts: int = 2, **parameters: str) -> str:
    answer = client(attempts=attempts).submit_job(
        jobName="job", jobQueue="queue", jobDefinition="definition", parameters=parameters
    )
    return str(answer["jobId"])


def labelled(owner: Label) -> RemoteJob:
    """A job under somebody's label, addressed over a connection."""
    return RemoteJob(f"batch://aws_default@us-east-1/{submit(**{LABEL_PARAMETER: str(owner)})}")


class TestTwice:
    """The answer to a submission was lost, and botocore sent it again."""

    def fails_after(self, submits: Callable[[], Any]) -> Callable[[], None]:
        def work() -> None:
            submits()
            raise ValueError("after submitting")

        return work

    def test_both_jobs_of_a_task_that_fails_are_cancelled_and_the_log_says_so(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        cloud.faults.add("batch", "SubmitJob", kind="lost_reply", times=1)
        Try(work=self.fails_after(submit)).run(SHORT)
        assert cancelled(cloud) == [True, True]
        assert "not known whether the service carried out a submission to batch in queue" in caplog.text
        assert "it may be carried out twice" in caplog.text

    def test_without_a_label_the_log_does_not_promise_a_search(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        cloud.faults.add("batch", "SubmitJob", kind="lost_reply", times=1)
        Try(work=self.fails_after(submit)).run(UNLABELLED)
        assert cancelled(cloud) == [False, True]
        assert "what it started may run on: it carries no label" in caplog.text
        assert "looked for" not in caplog.text

    def test_of_several_the_log_names_those_that_carry_no_label(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        cloud.faults.add("emr", "AddJobFlowSteps", kind="lost_reply", times=1)
        cluster, long = cloud.emr.create_cluster(), "x" * 250
        steps = [{"Name": name, "HadoopJarStep": {"Jar": "command-runner.jar"}} for name in ("short", long)]

        def submits() -> None:
            client("emr", attempts=1).add_job_flow_steps(JobFlowId=cluster, Steps=steps)

        Try(work=submits).run(SHORT)
        found = {job["name"]: job["cancelled"] for job in cloud.emr.jobs()}
        assert found.pop(long) is False
        assert [*found.values()] == [True]
        assert f"Not guarded: jobs that may have been started without a label: {long}" in caplog.text

    @pytest.mark.parametrize("last", ["throttle", "denied"])
    def test_a_last_answer_that_says_no_hides_no_job(self, cloud: LocalCloud, last: str) -> None:
        cloud.faults.add("batch", "SubmitJob", kind="lost_reply", times=1)
        cloud.faults.add("batch", "SubmitJob", kind=last, times=1)

        def submits() -> None:
            with pytest.raises(ClientError):
                submit()

        Try(work=self.fails_after(submits)).run(SHORT)
        assert cancelled(cloud) == [True]

    def test_two_clusters_with_their_steps_are_both_found(self, cloud: LocalCloud) -> None:
        cloud.faults.add("emr", "RunJobFlow", kind="lost_reply", times=1)
        step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}

        def submits() -> None:
            client("emr").run_job_flow(
                Name="etl", ReleaseLabel="emr-7.9.0", Steps=[step], Instances={"InstanceCount": 1}
            )

        Try(work=self.fails_after(submits)).run(SHORT)
        assert [job["cancelled"] for job in cloud.emr.jobs()] == [True, True]

    def test_of_a_task_that_succeeds_they_are_named_and_left_alone(
        self,
        cloud: LocalCloud,
        caplog: pytest.LogCaptureFixture,
        variables: dict[str, Any],  # noqa: F811
    ) -> None:
        known: list[str] = []
        cloud.faults.add("batch", "SubmitJob", kind="lost_reply", times=1)
        Try(work=lambda: known.append(submit())).run(SHORT)
        (other,) = {job["id"] for job in cloud.batch.jobs()} - set(known)
        assert cancelled(cloud) == [False, False]
        assert "Probably they were started twice" in caplog.text
        assert f"they are not cancelled: batch://@us-east-1/{other}" in caplog.text
        (release,) = variables.values()
        assert {job.rpartition("/")[2] for job in release["jobs"]} == {other, *known}

    def test_it_is_on_record_that_there_may_be_more(self, cloud: LocalCloud) -> None:
        cloud.faults.add("batch", "SubmitJob", kind="lost_reply", times=1)
        ti = Try(work=submit)
        guard = TaskGuard(ti, SHORT)
        guard.install()
        ti.task.execute()
        (intent,) = ti.record.intents
        assert len(ti.record.jobs) == 1
        assert intent.scope == "queue"
        assert intent.label == Label(SHORT.deployment, ti.id)

    def test_without_a_lost_answer_nothing_is_searched(self, cloud: LocalCloud) -> None:
        Try(work=self.fails_after(submit)).run(CANCEL)
        assert cancelled(cloud) == [True]
        assert not cloud.journal.count("batch", "ListJobs")


class TestSameToken:
    def test_a_run_that_somebody_else_started_with_the_same_token_is_not_ours(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        start = token_of_ours()
        theirs = client("emr-serverless").start_job_run(**start)["jobRunId"]
        cloud.clock.advance(5)  # a reply tells the service's time to the second

        def work() -> None:
            assert client("emr-serverless").start_job_run(**start)["jobRunId"] == theirs
            raise ValueError("after submitting")

        Try(work=work).run(CANCEL)
        assert [job["cancelled"] for job in cloud.emr_serverless.jobs()] == [False]
        assert "cancelled unless this task succeeds, or the job is older than this submission" in caplog.text
        assert "is left alone" in caplog.text

    def test_a_run_of_our_own_with_a_token_is_cancelled(self, cloud: LocalCloud) -> None:
        start = token_of_ours()

        def work() -> None:
            client("emr-serverless").start_job_run(**start)
            raise ValueError("after submitting")

        Try(work=work).run(CANCEL)
        assert [job["cancelled"] for job in cloud.emr_serverless.jobs()] == [True]

    def test_a_run_that_the_task_asks_for_again_stays_its_own(self, cloud: LocalCloud) -> None:
        """As code does that begins again after an error: the second answer names a run older than it."""
        start = token_of_ours()

        def work() -> None:
            client("emr-serverless").start_job_run(**start)
            cloud.clock.advance(5)  # a reply tells the service's time to the second
            client("emr-serverless").start_job_run(**start)
            raise ValueError("after submitting")

        Try(work=work).run(CANCEL)
        assert [job["cancelled"] for job in cloud.emr_serverless.jobs()] == [True]

    def test_a_run_that_an_earlier_try_has_kept_and_the_last_one_gets_again_is_cancelled(
        self, cloud: LocalCloud
    ) -> None:
        start, store = token_of_ours(), Store()

        def work() -> None:
            client("emr-serverless").start_job_run(**start)
            raise ValueError("after submitting")

        Try(work=work, store=store).run(KEEP)
        assert [job["cancelled"] for job in cloud.emr_serverless.jobs()] == [False]
        cloud.clock.advance(5)  # a reply tells the service's time to the second
        Try(work=work, store=store, try_number=2).run(KEEP)
        assert [job["cancelled"] for job in cloud.emr_serverless.jobs()] == [True]


def test_a_job_that_is_tracked_too_is_reached_as_it_was_submitted(cloud: LocalCloud) -> None:
    """By another identity than the one of the connection in its address, here that of the process."""
    cloud.faults.add("batch", "*", kind="denied", access_key="testing")

    def work() -> None:
        session = boto3.session.Session("OTHERKEY", "secret")
        made: Any = session.client("batch", region_name="us-east-1")
        job = made.submit_job(jobName="job", jobQueue="queue", jobDefinition="definition")["jobId"]
        track(f"batch://@us-east-1/{job}")
        raise ValueError("after submitting")

    Try(work=work).run(SHORT)
    assert cancelled(cloud) == [True]


def token_of_ours() -> dict[str, Any]:
    """What starts a run with a token of the user's."""
    made = client("emr-serverless").create_application(releaseLabel="emr-7.0.0", type="SPARK")
    return {
        "applicationId": made["applicationId"],
        "executionRoleArn": "arn:aws:iam::123456789012:role/spark",
        "clientToken": "our-own",
        "name": "nightly",
        "jobDriver": {"sparkSubmit": {"entryPoint": "x"}},
    }


class TestForgedRecord:
    """Anybody who may write XCom or the task state store can name any job there."""

    def test_the_resumed_try_leaves_what_its_label_says_is_another_deployments(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        ti = resumed(work=lambda: 1 / 0)
        theirs, others = labelled(Label("elsewher", ti.id)), labelled(Label(CANCEL.deployment, uuid4()))
        ours = labelled(Label(CANCEL.deployment, ti.id))
        ti.pushed[RECORD_KEY]["jobs"] = [str(job) for job in (theirs, others, ours)]
        ti.run(CANCEL)
        assert cancelled(cloud) == [False, False, True]
        assert f"{theirs} is left alone: its label names another Airflow" in caplog.text
        assert f"{others} is left alone: its label names another try" in caplog.text

    def test_the_record_of_another_try_is_refused_as_a_whole(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        other = uuid4()
        job = labelled(Label(CANCEL.deployment, other))
        ti = resumed(work=lambda: 1 / 0)
        ti.pushed[RECORD_KEY] = TryRecord(other, jobs=(job,)).as_json()
        ti.run(CANCEL)
        assert cancelled(cloud) == [False]
        assert f"names another try ({other}); its jobs are left alone: {job}" in caplog.text

    def test_what_earlier_tries_left_is_cancelled_if_its_label_is_theirs(self, cloud: LocalCloud) -> None:
        owner = Owner.from_context({"ti": Try()}, CANCEL.deployment)
        theirs, ours = labelled(replace(owner.label, deployment="elsewher")), labelled(owner.label)
        store = Store({RECORD_KEY: TryRecord(owner.ti_id, jobs=(theirs, ours)).as_json()})
        Try(work=lambda: None, store=store, try_number=2).run(CANCEL)
        assert cancelled(cloud) == [False, True]

    def test_jobs_that_cant_be_described_are_not_cancelled_blindly(
        self, cloud: LocalCloud, caplog: pytest.LogCaptureFixture
    ) -> None:
        ti = resumed(RemoteJob(f"batch://aws_default@us-east-1/{submit()}"), work=lambda: 1 / 0)
        cloud.faults.add("batch", "DescribeJobs", kind="denied")
        ti.run(Settings(sentinel=False, confirm_seconds=3))
        assert cancelled(cloud) == [False]
        assert "Looking again later." in caplog.text

    @pytest.mark.parametrize("forged", ["text", {"ti_id": 1}, [1], {"jobs": ["batch://@us-east-1/1"]}])
    def test_what_is_no_record_is_said_and_no_error(
        self, forged: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        ti = resumed()
        ti.pushed[RECORD_KEY] = forged
        ti.run(CANCEL)
        assert ti.state == "running"
        assert "This is not the record of a try" in caplog.text


class TestIdentity:
    @pytest.mark.parametrize("has_sentinel", [False, True])
    def test_credentials_that_have_expired_for_a_while_do_not_end_the_cancel(
        self, cloud: LocalCloud, has_sentinel: bool
    ) -> None:
        def work() -> None:
            submit()
            Timer(6, cloud.expired_access_keys.clear).start()
            cloud.expired_access_keys.add("testing")
            raise ValueError("after submitting")

        ti = Try(work=work)
        ti.run(Settings(sentinel=has_sentinel, confirm_seconds=2))
        assert cancelled(cloud) == [False]
        until(lambda: cancelled(cloud) == [True])
