"""A try of a task that a guard is put on, without Airflow's processes; Batch is the local cloud's."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import boto3
import pytest
from airflow.triggers.base import BaseTrigger, TriggerEvent
from botocore.config import Config

from airflow_cancel_provider.guard.attach import detach
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.hooks import variables as airflow_variables
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.record import RECORD_KEY, StoredIntent, TryRecord, TryState
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER, set_recorder
from airflow_cancel_provider.settings import Settings
from airflow_cancel_provider.version_compat import AirflowFailException, Variable
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import until
from tests.task_fixtures import TaskInstance, connect_aws

# Patience: what a test leaves alive is not polled for long while other tests count requests.
KEEP = Settings(on_retry="keep", sentinel=False, confirm_seconds=20, patience=30)
CANCEL = Settings(sentinel=False, confirm_seconds=20, patience=30)
UNLABELLED = Settings(labels=False, sentinel=False, patience=30)

RESCHEDULED = SimpleNamespace(next_method=None, task_reschedule_count=1)
RESUMED = SimpleNamespace(next_method="execute_complete", task_reschedule_count=0)


class Never(BaseTrigger):
    """A trigger that is not run here."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.Never", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        yield TriggerEvent(None)  # type: ignore[no-untyped-call]


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


def polls_of(cloud: LocalCloud, job: RemoteJob) -> int:
    """How often a job was polled; threads of earlier tests poll theirs."""
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
    on_push: Callable[[str, Any], None] = lambda *_: None
    """Called with each XCom that it has pushed, before it is told so: what it raises comes meanwhile."""

    def __post_init__(self) -> None:
        self.task = Task(self.work)

    def xcom_push(self, key: str, value: Any) -> None:
        super().xcom_push(key, value)
        self.written.append((key, json.loads(json.dumps(value))))
        self.on_push(key, value)

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
    monkeypatch.setattr(airflow_variables, "read_variable", read)
    return kept


@pytest.fixture
def removed() -> Iterator[None]:
    """Whatever guard the test puts on a task is removed after it."""
    yield
    set_recorder(None)
    detach()


@pytest.fixture(autouse=True)
def _guarded(
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, Any],  # noqa: ARG001  kept out of the database
) -> Iterator[None]:
    connect_aws(monkeypatch, cloud)
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    yield
    set_recorder(None)
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
    ti._ti_context_from_server = RESUMED
    ti.pushed[RECORD_KEY] = TryRecord(ti.id, TryState.DEFERRED, jobs).as_json()
    resumed_try: Try = ti
    return resumed_try


def submit_once(name: str = "job") -> RemoteJob:
    """One job, without a second attempt."""
    config = Config(retries={"total_max_attempts": 1})
    batch: Any = boto3.session.Session().client("batch", region_name="us-east-1", config=config)
    answer = batch.submit_job(jobName=name, jobQueue="queue", jobDefinition="definition")
    return RemoteJob(f"batch://@us-east-1/{answer['jobId']}")


def submit_and(end: BaseException | type[BaseException]) -> Callable[[], None]:
    def work() -> None:
        submit_once()
        raise end

    return work


def ended(ti: Try, end: type[BaseException], settings: Settings = CANCEL) -> TaskGuard:
    """Execute, which ends so."""
    guard = ti.guarded(settings)
    with pytest.raises(end):
        ti.task.execute()
    return guard
