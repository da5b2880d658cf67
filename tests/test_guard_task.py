"""The guard of a try without Airflow around it: what it keeps on record, and leaves to the next try."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import boto3
import pytest

from airflow_cancel_provider.exceptions import InvalidInput, Killed
from airflow_cancel_provider.guard.settings import Settings
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.jobs import INTENTS_KEY, XCOM_KEY
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, RECORDERS
from airflow_cancel_provider.version_compat import AirflowFailException, Variable
from tests.cloud.server import LocalCloud
from tests.task_fixtures import TaskInstance, connect_aws

KEEP = Settings(on_retry="keep", sentinel=False, confirm_seconds=10)
CANCEL = Settings(sentinel=False, confirm_seconds=10)
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

    def get_template_context(self) -> dict[str, Any]:
        return {"task_state_store": self.store}

    def run(self, settings: Settings) -> TaskGuard:
        """Run as Airflow does, with its word on a failure."""
        guard = TaskGuard(self, settings)
        guard.install()
        try:
            self.task.execute()
        except Exception as error:  # noqa: BLE001  whatever it was to be
            for_good = isinstance(error, AirflowFailException) or self.try_number > self.max_tries
            self.state = "failed" if for_good else "up_for_retry"
            guard.failed()
        else:
            guard.succeeded()
        return guard


@pytest.fixture(autouse=True)
def _guarded(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    connect_aws(monkeypatch, cloud)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    yield
    RECORDERS.clear()


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Airflow's Variables, as the SDK is told of them."""
    kept: dict[str, Any] = {}

    def put(key: str, value: Any, description: str | None = None, serialize_json: bool = False) -> None:
        assert description
        assert serialize_json
        kept[key] = json.loads(json.dumps(value))

    monkeypatch.setattr(Variable, "set", put)
    return kept


def submit(name: str = "job") -> str:
    batch: Any = boto3.session.Session().client("batch", region_name="us-east-1")
    return str(batch.submit_job(jobName=name, jobQueue="queue", jobDefinition="definition")["jobId"])


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
        assert len(store[XCOM_KEY]) == 1
        last = Try(work=submit_and_fail, store=store, try_number=3, max_tries=2)
        last.run(KEEP)
        assert cancelled(cloud) == [True, True]
        assert len(last.pushed[XCOM_KEY]) == 2

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
        assert guard.in_process.wait_for("ended", 10)
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
            RECORDERS[0].release(guard_jobs()[0])  # type: ignore[attr-defined]
            raise ValueError("but the job is to live on")

        def guard_jobs() -> list[Any]:
            submit()
            return list(RECORDERS[0].ledger.jobs)  # type: ignore[attr-defined]

        ti = Try(work=work)
        ti.run(CANCEL)
        (job,) = cloud.batch.jobs()
        record = variables[f"remote_jobs_released_batch_{job['id']}"]
        assert record.pop("at").endswith("+00:00")
        assert record.pop("job").startswith("batch://")
        assert record == {
            "dag_id": ti.dag_id,
            "run_id": ti.run_id,
            "task_id": ti.task_id,
            "map_index": -1,
            "try_number": 1,
        }
        assert cancelled(cloud) == [False]

    def test_from_another_thread_it_is_written_at_the_end(self, variables: dict[str, Any]) -> None:
        def work() -> None:
            thread = threading.Thread(target=release)
            thread.start()
            thread.join()
            assert not variables
            raise ValueError("and fails")

        def release() -> None:
            submit()
            (job,) = RECORDERS[0].ledger.jobs  # type: ignore[attr-defined]
            RECORDERS[0].release(job)  # type: ignore[attr-defined]

        Try(work=work).run(CANCEL)
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


class TestIntents:
    def test_what_has_no_label_is_on_record_before_it_is_sent(self, cloud: LocalCloud) -> None:
        def work() -> None:
            cloud.faults.add("batch", "SubmitJob", kind="lost_reply")
            submit("nightly")

        ti = Try(work=work)
        ti.run(UNLABELLED)
        (entry,) = ti.pushed[INTENTS_KEY]
        assert entry.pop("at").endswith("+00:00")
        assert entry == {
            "service": "batch",
            "conn_id": None,
            "region": "us-east-1",
            "scope": "queue",
            "name": "nightly",
        }

    def test_the_entry_goes_with_the_answer(self) -> None:
        ti = Try(work=submit)
        ti.run(UNLABELLED)
        written = [value for key, value in ti.written if key == INTENTS_KEY]
        assert [len(entries) for entries in written] == [1, 0]

    def test_what_carries_a_label_is_not_on_record(self) -> None:
        ti = Try(work=submit)
        ti.run(CANCEL)
        assert INTENTS_KEY not in ti.pushed

    def test_from_another_thread_nothing_is_written(self) -> None:
        def work() -> None:
            thread = threading.Thread(target=submit)
            thread.start()
            thread.join()

        ti = Try(work=work)
        ti.run(UNLABELLED)
        assert INTENTS_KEY not in ti.pushed
        assert len(ti.pushed[XCOM_KEY]) == 1

    def test_steps_of_a_new_cluster_stay_on_record_with_their_place(self, cloud: LocalCloud) -> None:
        step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}

        def work() -> None:
            emr: Any = boto3.session.Session().client("emr", region_name="us-east-1")
            emr.run_job_flow(Name="etl", Steps=[step], Instances={"InstanceCount": 1})

        ti = Try(work=work)
        ti.run(UNLABELLED)
        (job,) = cloud.emr.jobs()
        (entry,) = ti.pushed[INTENTS_KEY]
        assert (entry["name"], entry["scope"]) == ("step", job["scope"])
