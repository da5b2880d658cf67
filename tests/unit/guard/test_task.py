"""The guard of a try without Airflow around it: what it keeps on record, and leaves to the next try."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, ClassVar
from uuid import uuid4

import boto3
import pytest

from airflow_cancel_provider.exceptions import InvalidInput, Killed
from airflow_cancel_provider.guard import releases
from airflow_cancel_provider.guard.attach import detach
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner, release_key
from airflow_cancel_provider.record import RECORD_KEY, StoredIntent, TryRecord, TryState
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, RECORDERS
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowFailException, Variable
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.task_fixtures import TaskInstance, connect_aws

KEEP = Settings(on_retry="keep", sentinel=False, confirm_seconds=20)
CANCEL = Settings(sentinel=False, confirm_seconds=20)
UNLABELLED = Settings(labels=False, sentinel=False)


@dataclass
class Task:
    """An operator that runs a function."""

    work: Callable[[], Any]
    log: ClassVar[Any] = logging.getLogger("task")
    execution_timeout: ClassVar[None] = None

    def execute(self) -> Any:
        return self.work()

    def resume_execution(self) -> Any:
        raise NotImplementedError

    def on_kill(self) -> None:
        pass


def looks_at(cloud: LocalCloud, job: RemoteJob) -> int:
    """How often a job was looked at; threads of earlier tests look at theirs."""
    return sum(job.id in entry.ids for entry in cloud.journal.entries("batch", "DescribeJobs"))


class Store(dict[str, Any]):
    """Airflow's task state store: the same for all tries of a task."""

    set = dict.__setitem__

    def delete(self, key: str) -> None:
        self.pop(key, None)


@dataclass
class Try(TaskInstance):
    """A task instance with a task, and what all of its tries share."""

    work: Callable[[], Any] = lambda: None
    store: Store = field(default_factory=Store)
    max_tries: int = 1
    state: str = "running"
    written: list[tuple[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.task = Task(self.work)

    def xcom_push(self, key: str, value: Any) -> None:
        super().xcom_push(key, value)
        self.written.append((key, json.loads(json.dumps(value))))

    def xcom_pull(self, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.pushed.get(key)

    @property
    def record(self) -> TryRecord:
        """What is in XCom."""
        return TryRecord.from_json(self.pushed[RECORD_KEY])

    def get_template_context(self) -> dict[str, Any]:
        return {"task_state_store": self.store}

    def guarded(self, settings: Settings) -> TaskGuard:
        """Put the guard on it."""
        guard = TaskGuard(self, settings)
        guard.install()
        return guard

    def run(self, settings: Settings) -> TaskGuard:
        """Run as Airflow does, with its word on a failure."""
        guard = self.guarded(settings)
        try:
            self.task.execute()
        except Exception as error:  # noqa: BLE001  whatever it was to be
            for_good = isinstance(error, AirflowFailException) or self.try_number > self.max_tries
            self.state = "failed" if for_good else "up_for_retry"
            guard.failed()
        else:
            guard.succeeded()
        return guard


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Airflow's Variables, as the SDK is told of them."""
    kept: dict[str, Any] = {}

    def put(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        assert description
        assert serialize_json
        kept[key] = json.loads(json.dumps(value))

    def read(key: str) -> str | None:
        return json.dumps(kept[key]) if key in kept else None

    monkeypatch.setattr(Variable, "set", put)
    monkeypatch.setattr(Variable, "delete", kept.pop)
    monkeypatch.setattr(releases, "read_variable", read)
    return kept


@pytest.fixture(autouse=True)
def _guarded(
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, Any],  # noqa: ARG001  kept out of the database
) -> Iterator[None]:
    connect_aws(monkeypatch, cloud)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    yield
    RECORDERS.clear()
    detach()


def submit(name: str = "job", label: str | None = None) -> str:
    batch: Any = boto3.session.Session().client("batch", region_name="us-east-1")
    job = {"jobName": name, "jobQueue": "queue", "jobDefinition": "definition"}
    parameters = {LABEL_PARAMETER: label} if label else {}
    return str(batch.submit_job(**job, parameters=parameters)["jobId"])


def submit_and_fail() -> None:
    submit()
    raise ValueError("after submitting")


def cancelled(cloud: LocalCloud) -> list[bool]:
    return [job["cancelled"] for job in sorted(cloud.batch.jobs(), key=lambda job: float(job["created_at"]))]


class TestRetry:
    def test_by_default_a_failed_try_ends_its_jobs(self, cloud: LocalCloud) -> None:
        Try(work=submit_and_fail).run(CANCEL)
        assert cancelled(cloud) == [True]

    def test_kept_jobs_live_through_a_retry_and_end_with_the_last_try(self, cloud: LocalCloud) -> None:
        store = Store()
        Try(work=submit_and_fail, store=store, max_tries=2).run(KEEP)
        assert cancelled(cloud) == [False]
        # The second does not start anything, and fails, too.
        Try(work=lambda: 1 / 0, store=store, try_number=2, max_tries=2).run(KEEP)
        assert cancelled(cloud) == [False]
        assert len(TryRecord.from_json(store[RECORD_KEY]).earlier[0].jobs) == 1
        last = Try(work=submit_and_fail, store=store, try_number=3, max_tries=2)
        last.run(KEEP)
        assert cancelled(cloud) == [True, True]
        assert len(last.record.jobs) == 1
        assert len(last.record.earlier[0].jobs) == 1

    def test_a_success_leaves_what_earlier_tries_left(self, cloud: LocalCloud) -> None:
        store = Store()
        Try(work=submit_and_fail, store=store).run(KEEP)
        Try(work=lambda: None, store=store, try_number=2).run(KEEP)
        assert cancelled(cloud) == [False]
        assert store == {}

    def test_without_keep_the_next_try_ends_what_was_left(self, cloud: LocalCloud) -> None:
        store = Store()
        Try(work=submit_and_fail, store=store).run(KEEP)
        Try(work=lambda: None, store=store, try_number=2).run(CANCEL)
        assert cancelled(cloud) == [True]

    def test_an_end_for_good_is_no_retry(self, cloud: LocalCloud) -> None:
        def work() -> None:
            submit()
            raise AirflowFailException("for good")

        Try(work=work, max_tries=5).run(KEEP)
        assert cancelled(cloud) == [True]

    def test_what_airflow_does_not_retry_after_all_is_cancelled(self, cloud: LocalCloud) -> None:
        ti = Try(work=submit_and_fail, max_tries=5)
        guard = TaskGuard(ti, KEEP)
        guard.install()
        with pytest.raises(ValueError, match="after"):
            ti.task.execute()
        assert cancelled(cloud) == [False]
        ti.state = "failed"
        guard.failed()
        assert cancelled(cloud) == [True]

    def test_a_killed_try_ends_its_jobs(self, cloud: LocalCloud) -> None:
        def work() -> None:
            submit()
            ti.task.on_kill()

        ti = Try(work=work, max_tries=5)
        guard = TaskGuard(ti, KEEP)
        guard.install()
        with pytest.raises(Killed):
            ti.task.execute()
        assert guard.canceller.wait_for("ended", 10)
        assert cancelled(cloud) == [True]

    @pytest.mark.parametrize("settings,reconnects", [(KEEP, True), (CANCEL, False)])
    def test_the_label_says_whether_the_next_try_takes_over(
        self,
        cloud: LocalCloud,
        settings: Settings,
        reconnects: bool,
    ) -> None:
        Try(work=submit).run(settings)
        (job,) = cloud.batch.jobs()
        label = Label.find(job["labels"]["parameters"][LABEL_PARAMETER])
        assert label
        assert label.reconnects is reconnects

    def test_an_unknown_word_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY", "kepp")
        with pytest.raises(InvalidInput, match="cancel or keep"):
            Settings.read()


class TestRelease:
    def test_it_is_on_record_where_it_outlives_the_run(
        self, cloud: LocalCloud, variables: dict[str, Any]
    ) -> None:
        def work() -> None:
            submit()
            (job,) = RECORDERS[0].ledger.jobs  # type: ignore[attr-defined]
            RECORDERS[0].release(job)  # type: ignore[attr-defined]
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
            RECORDERS[0].release(RECORDERS[0].ledger.jobs[0])  # type: ignore[attr-defined]

        guard = TaskGuard(Try(work=work, store=store), CANCEL)
        guard.install()
        work()  # nothing sees its end
        (released,) = guard.ledger.released
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
            (job,) = RECORDERS[0].ledger.jobs  # type: ignore[attr-defined]
            RECORDERS[0].release(job)  # type: ignore[attr-defined]

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
            (job,) = RECORDERS[0].ledger.jobs  # type: ignore[attr-defined]
            RECORDERS[0].release(job)  # type: ignore[attr-defined]

        ti = Try(work=work)
        ti.run(CANCEL)
        assert "no Variables for you" in caplog.text
        assert ti.state == "running"


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
    def test_a_resumed_task_looks_once_whether_its_jobs_have_ended(
        self, cloud: LocalCloud, variables: dict[str, Any], is_over: bool
    ) -> None:
        cloud.batch.configure({"cancel": 0.1})
        job = RemoteJob(f"batch://aws_default@us-east-1/{submit()}")
        if is_over:
            end(cloud, job)
        ti = resumed(job)
        before = looks_at(cloud, job)
        ti.run(CANCEL)
        assert looks_at(cloud, job) == before + 1
        assert [release["jobs"] for release in variables.values()] == ([] if is_over else [[str(job)]])
        assert ti.record.state is TryState.RETURNED

    def test_a_look_that_gets_no_answer_in_time_counts_as_living(
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

    def test_one_that_cant_be_written_is_said_and_no_error(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError("no Variables for you")

        monkeypatch.setattr(Variable, "set", refuse)
        ti = Try(work=submit)
        ti.run(CANCEL)
        assert ti.state == "running"
        assert "The release of 1 remote jobs" in caplog.text
        assert "no Variables for you" in caplog.text

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
        monkeypatch.setattr("airflow_cancel_provider.guard.task.UNSEEN_SECONDS", 0.0)

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


class TestForged:
    """What is on record of a try may have been written by others: another try's job is not this one's."""

    @pytest.fixture
    def others(self, cloud: LocalCloud) -> tuple[Label, RemoteJob]:
        """The living job of another try."""
        label = Label(CANCEL.deployment, uuid4())
        batch: Any = boto3.client("batch", region_name="us-east-1", endpoint_url=cloud.url)
        job = batch.submit_job(
            jobName="job",
            jobQueue="queue",
            jobDefinition="definition",
            parameters={LABEL_PARAMETER: str(label)},
        )
        return label, RemoteJob(f"batch://@us-east-1/{job['jobId']}")

    @pytest.mark.parametrize("of_copy", [False, True])
    def test_a_resumed_try_searches_for_its_own_label_only(
        self, cloud: LocalCloud, others: tuple[Label, RemoteJob], caplog: Any, of_copy: bool
    ) -> None:
        ti = resumed(work=fail, max_tries=0, **({"id": others[0].ti_id} if of_copy else {}))
        settings = replace(CANCEL, deployment="copycopy") if of_copy else CANCEL
        ti.pushed[RECORD_KEY] = TryRecord(ti.id, TryState.DEFERRED, intents=(intent(others[0]),)).as_json()
        ti.run(settings)
        assert ti.state == "failed"
        assert cancelled(cloud) == [False]
        assert "another try's" in caplog.text

    def test_a_next_try_searches_for_the_label_of_the_earlier_one_only(
        self, cloud: LocalCloud, others: tuple[Label, RemoteJob], caplog: Any
    ) -> None:
        store = Store()
        store[RECORD_KEY] = TryRecord(uuid4(), intents=(intent(others[0]),)).as_json()
        Try(work=lambda: None, store=store, try_number=2).run(CANCEL)
        assert cancelled(cloud) == [False]
        assert "another try's" in caplog.text

    def test_a_resumed_try_has_taken_over_what_the_state_store_says(self, cloud: LocalCloud) -> None:
        owner = Owner.from_context({"ti": Try()}, CANCEL.deployment)
        job = submit("earlier", str(owner.label))
        ti = resumed(work=fail, max_tries=0)
        earlier = TryRecord(owner.ti_id, TryState.DEFERRED, (RemoteJob(f"batch://@us-east-1/{job}"),))
        record = TryRecord(ti.id, TryState.DEFERRED, earlier=(earlier,)).as_json()
        ti.pushed[RECORD_KEY] = record
        ti.run(CANCEL)
        assert cancelled(cloud) == [False]
        ti.store[RECORD_KEY] = ti.pushed[RECORD_KEY] = record
        ti.run(KEEP)
        assert cancelled(cloud) == [True]


def intent(label: Label) -> StoredIntent:
    """A submission to Batch that was not answered."""
    return StoredIntent("batch", None, "us-east-1", "queue", label, time.time())


def fail() -> None:
    raise ValueError("for whatever reason")


def start_cluster() -> None:
    """A cluster that begins with a step."""
    emr: Any = boto3.session.Session().client("emr", region_name="us-east-1")
    step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}
    emr.run_job_flow(Name="etl", Steps=[step], Instances={"InstanceCount": 1})


def end(cloud: LocalCloud, job: RemoteJob) -> None:
    batch: Any = boto3.client("batch", region_name="us-east-1", endpoint_url=cloud.url)
    batch.terminate_job(jobId=job.id, reason="by hand")
    until(lambda: batch.describe_jobs(jobs=[job.id])["jobs"][0]["status"] == "FAILED")


def resumed(*jobs: RemoteJob, **changes: Any) -> Try:
    """A try that had started jobs and was deferred."""
    ti: Any = Try(**{"work": lambda: None, **changes})
    ti._ti_context_from_server = SimpleNamespace(next_method="execute_complete", task_reschedule_count=0)
    ti.pushed[RECORD_KEY] = TryRecord(ti.id, TryState.DEFERRED, jobs).as_json()
    resumed_try: Try = ti
    return resumed_try


class TestIntents:
    def test_what_has_no_label_is_on_record_before_it_is_sent(self, cloud: LocalCloud) -> None:
        def work() -> None:
            cloud.faults.add("batch", "SubmitJob", kind="lost_reply")
            submit("nightly")

        ti = Try(work=work)
        ti.run(UNLABELLED)
        first = TryRecord.from_json(ti.written[0][1])
        assert first.jobs == ()
        (intent,) = first.intents
        assert (intent.service, intent.conn_id, intent.region) == ("batch", None, "us-east-1")
        assert (intent.scope, intent.label) == ("queue", None)

    def test_the_entry_goes_with_the_answer(self) -> None:
        ti = Try(work=submit)
        ti.run(UNLABELLED)
        records = [TryRecord.from_json(value) for _, value in ti.written]
        assert [(len(record.intents), len(record.jobs)) for record in records][:2] == [(1, 0), (0, 1)]

    def test_what_carries_a_label_is_on_record_with_its_address(self) -> None:
        ti = Try(work=submit)
        ti.run(CANCEL)
        records = [TryRecord.from_json(value) for _, value in ti.written]
        assert [(record.state, len(record.jobs)) for record in records] == [("running", 1), ("returned", 1)]

    def test_from_another_thread_nothing_is_written_before_the_end(self) -> None:
        def work() -> None:
            thread = threading.Thread(target=submit)
            thread.start()
            thread.join()
            written.append(len(ti.written))

        written: list[int] = []
        ti = Try(work=work)
        ti.run(UNLABELLED)
        assert written == [0]
        assert len(ti.record.jobs) == 1

    def test_in_a_running_event_loop_nothing_is_written_before_the_end(self) -> None:
        written: list[int] = []

        async def work() -> None:
            submit()
            written.append(len(ti.written))

        ti = Try(work=lambda: asyncio.run(work()))
        ti.run(CANCEL)
        assert written == [0]
        assert len(ti.record.jobs) == 1

    def test_steps_of_a_new_cluster_stay_on_record_with_their_place(self, cloud: LocalCloud) -> None:
        step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}

        def work() -> None:
            emr: Any = boto3.session.Session().client("emr", region_name="us-east-1")
            emr.run_job_flow(Name="etl", Steps=[step], Instances={"InstanceCount": 1})

        ti = Try(work=work)
        ti.run(UNLABELLED)
        (job,) = cloud.emr.jobs()
        (intent,) = ti.record.intents
        assert intent.scope == job["scope"]


class TestCost:
    """What thousands of submissions in one task cost."""

    def written(self, count: int) -> tuple[int, float, Try]:
        """Bytes in XCom, and seconds of this process."""

        def work() -> None:
            client = ClientSpec("batch", "aws_default", "us-east-1", None)
            recorder: Any = RECORDERS[0]
            for number in range(count):
                token = recorder.intend(client, "queue", (), is_labelled=True)
                recorder.started(token, [(None, f"{number:036}")])
                recorder.ended("batch", "us-east-1", [(None, f"{number:036}")])

        ti = Try(work=work)
        guard = TaskGuard(ti, Settings(sentinel=False, confirm_seconds=20))
        guard.install()
        began = time.process_time()
        ti.task.execute()
        seconds = time.process_time() - began
        guard.succeeded()
        return sum(len(json.dumps(value)) for _, value in ti.written), seconds, ti

    def test_xcom_grows_with_the_number_of_submissions_and_holds_all_of_them(self) -> None:
        thousand, _, _ = self.written(1000)
        four, _, ti = self.written(4000)
        assert len(ti.record.jobs) == 4000
        assert four < 6 * thousand
        assert four < 10_000_000

    def test_the_first_ones_are_on_record_at_once(self) -> None:
        _, _, ti = self.written(60)
        records = [TryRecord.from_json(value) for _, value in ti.written]
        assert [len(record.jobs) for record in records] == [*range(1, 61), 60]

    def test_so_does_the_time(self) -> None:
        _, thousand, _ = self.written(1000)
        _, four, _ = self.written(4000)
        assert four < 8 * max(thousand, 0.2)

    @pytest.mark.parametrize("how", ["failure", "kill"])
    def test_all_of_them_are_on_record_when_the_task_ends_in_another_way(self, how: str) -> None:
        def work() -> None:
            recorder: Any = RECORDERS[0]
            client = ClientSpec("batch", "aws_default", "us-east-1", None)
            for number in range(100):
                token = recorder.intend(client, "queue", (), is_labelled=True)
                recorder.started(token, [(None, f"{number:036}")])
                recorder.ended("batch", None, [(None, f"{number:036}")])
            if how == "kill":
                ti.task.on_kill()
            raise ValueError("after all of them")

        ti = Try(work=work)
        guard = TaskGuard(ti, CANCEL)
        guard.install()
        with pytest.raises(Killed if how == "kill" else ValueError):
            ti.task.execute()
        assert len(ti.record.jobs) == 100
