"""A bench for each AWS service: jobs in any state, and a service that talks to the local cloud over HTTP."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from typing import Any, ClassVar

import boto3
import pytest
from botocore.config import Config
from botocore.session import get_session

from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.batch.service import BatchJobService
from airflow_cancel_provider.services.emr.service import EmrStepService
from airflow_cancel_provider.services.emr_containers.service import EmrContainersJobRunService
from airflow_cancel_provider.services.emr_serverless.service import EmrServerlessJobRunService
from airflow_cancel_provider.services.glue.service import GlueJobRunService
from airflow_cancel_provider.services.glue.submission import LABEL_ARGUMENT
from airflow_cancel_provider.services.retry import Patience
from tests.cloud.aws import Caller
from tests.cloud.server import LocalCloud

REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/job"
HAS_BULK = "TerminateJobs" in get_session().get_service_model("batch").operation_names
TERMINATE = "TerminateJobs" if HAS_BULK else "TerminateJob"
"""What a cancel of running jobs of Batch calls."""
needs_bulk = pytest.mark.skipif(
    not HAS_BULK, reason="this botocore is older than CancelJobs and TerminateJobs"
)
DRIVER = {"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}}
PATIENT = Patience(seconds=20, first_pause=0.02, longest_pause=0.3)
HASTY = Patience(seconds=0.5, first_pause=0.02, longest_pause=0.1)
ACCEPTED = {CancelOutcome.REQUESTED, CancelOutcome.ALREADY_CANCELLING}


def new_client(service: str, url: str, *, access_key: str = "testing", **options: Any) -> Any:
    """A real client; ``options`` go into its Config."""
    retries = {"mode": "standard", "total_max_attempts": 2}
    config = Config(**{"retries": retries, "connect_timeout": 2, "read_timeout": 10, **options})
    client: Any = boto3.client
    return client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key="testing",
        config=config,
    )


class Bench(ABC):
    """What the tests of all services need to know of one of them."""

    name: ClassVar[str]
    one_by_one: ClassVar[bool] = False
    """Whether each job takes a cancel request of its own."""
    service_class: ClassVar[type[Any]]
    cancel_operations: ClassVar[tuple[str, ...]]
    iam_action: ClassVar[str]
    success: ClassVar[str]
    cancelled: ClassVar[str]

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.local: Any = getattr(cloud, self.name.replace("-", "_"))
        self.local.set(submitted=0, pending=0, starting=0, cancel=20)
        self.local.override("pending*", pending=1e6)
        self.local.override("endless*", cancel=1e6)

    @cached_property
    def client(self) -> Any:
        # Made when it is needed: many tests hold more benches than they use, and a client takes a while.
        return new_client(self.name, self.cloud.url)

    def close(self) -> None:
        if "client" in vars(self):
            self.client.close()

    def take(self, operation: str, **params: Any) -> dict[str, Any]:
        """Have the service carry out a submission without a request: this is what tests begin with."""
        caller = Caller("testing", REGION, self.local.signing_name)
        with self.local.lock:
            answer: dict[str, Any] = self.local.handlers[operation](
                caller, {"operation": operation, **params}, None
            )
        return answer

    def service(self, patience: Patience = PATIENT, *, client: Any = None, **options: Any) -> Any:
        return self.service_class(client or self.client, conn_id="aws_default", patience=patience, **options)

    @contextmanager
    def service_at(self, url: str, patience: Patience, **options: Any) -> Iterator[AwsJobService]:
        """The service behind another address or with another Config."""
        with closing(new_client(self.name, url, **options)) as client:
            yield self.service(patience, client=client)

    @abstractmethod
    def submit(self, name: str, count: int = 1, scope: str | None = None) -> list[RemoteJob]:
        """Submit jobs; names beginning with ``pending`` stay so, ``endless`` take for ever to cancel."""

    @abstractmethod
    def unknown(self, scope: str | None = None) -> RemoteJob:
        """A well-formed address of nothing."""

    @abstractmethod
    def many(self) -> list[RemoteJob]:
        """As many running jobs as fill requests of the service, in several places where it has some."""

    def new_scope(self) -> str | None:
        return None

    def address(self, id: str, scope: str | None = None) -> RemoteJob:
        return RemoteJob.of(self.name, id, scope=scope, conn_id="aws_default", region=REGION)

    def running(self, count: int = 1, scope: str | None = None) -> list[RemoteJob]:
        jobs = self.submit("running", count, scope)
        self.cloud.clock.advance(1)
        return jobs

    def finish(self, job: RemoteJob) -> None:
        self.local.finish(job.id, self.success)

    def ended(self, count: int = 1, scope: str | None = None) -> list[RemoteJob]:
        jobs = self.submit("ended", count, scope)
        for job in jobs:
            self.finish(job)
        return jobs

    def let_end(self) -> None:
        """Let time pass until cancels have been carried out."""
        self.cloud.clock.advance(60)

    def truth(self) -> dict[str, dict[str, Any]]:
        return {job["id"]: job for job in self.local.jobs()}

    def are_cancelled(self, jobs: list[RemoteJob]) -> bool:
        truth = self.truth()
        return all(truth[job.id]["cancelled"] for job in jobs)

    def count(self, *operations: str) -> int:
        return sum(self.cloud.journal.count(self.name, operation) for operation in operations or ("*",))

    @property
    def cancels_sent(self) -> int:
        return self.count(*self.cancel_operations)

    def fail_cancels(self, kind: str, **when: Any) -> None:
        """Let the requests that cancel fail; see ``Fault`` for how."""
        for operation in self.cancel_operations:
            self.cloud.faults.add(self.name, operation, kind, **when)


class EmrBench(Bench):
    name = "emr"
    service_class = EmrStepService
    cancel_operations = ("CancelSteps",)
    iam_action = "elasticmapreduce:CancelSteps"
    success, cancelled = "COMPLETED", "CANCELLED"

    def new_scope(self, release: str = "emr-7.5.0") -> str:
        return self.cloud.emr.create_cluster(release, concurrency=256)

    def submit(self, name: str, count: int = 1, scope: str | None = None) -> list[RemoteJob]:
        scope = scope or self.new_scope()
        steps = [{"Name": name, "HadoopJarStep": {"Jar": "command-runner.jar"}}] * count
        answer = self.take("AddJobFlowSteps", JobFlowId=scope, Steps=steps)
        return [self.address(step, scope) for step in answer["StepIds"]]

    def unknown(self, scope: str | None = None) -> RemoteJob:
        return self.address(f"s-{uuid.uuid4().hex[:13].upper()}", scope or self.new_scope())

    def many(self) -> list[RemoteJob]:
        return [job for _ in range(4) for job in self.running(250)]


class BatchBench(Bench):
    name = "batch"
    one_by_one = not HAS_BULK
    service_class = BatchJobService
    cancel_operations = ("TerminateJobs", "TerminateJob", "CancelJobs", "CancelJob")
    iam_action = "batch:TerminateJob"
    success, cancelled = "SUCCEEDED", "FAILED"

    def submit(self, name: str, count: int = 1, scope: str | None = None, **more: Any) -> list[RemoteJob]:
        params = {"jobName": name, "jobQueue": "queue", "jobDefinition": "definition", **more}
        answers = [self.take("SubmitJob", **params) for _ in range(count)]
        return [self.address(answer["jobId"]) for answer in answers]

    def unknown(self, scope: str | None = None) -> RemoteJob:
        return self.address(str(uuid.uuid4()))

    def many(self) -> list[RemoteJob]:
        return self.running(200)


class EmrServerlessBench(Bench):
    name = "emr-serverless"
    one_by_one = True
    service_class = EmrServerlessJobRunService
    cancel_operations = ("CancelJobRun",)
    iam_action = "emr-serverless:CancelJobRun"
    success, cancelled = "SUCCESS", "CANCELLED"

    def new_scope(self, release: str = "emr-7.9.0") -> str:
        answer = self.client.create_application(name="application", releaseLabel=release, type="SPARK")
        return str(answer["applicationId"])

    def submit(self, name: str, count: int = 1, scope: str | None = None, **more: Any) -> list[RemoteJob]:
        scope = scope or self.new_scope()
        params = {"applicationId": scope, "executionRoleArn": ROLE, "name": name, "jobDriver": DRIVER, **more}
        answers = [self.take("StartJobRun", clientToken=uuid.uuid4().hex, **params) for _ in range(count)]
        return [self.address(answer["jobRunId"], scope) for answer in answers]

    def unknown(self, scope: str | None = None) -> RemoteJob:
        return self.address(uuid.uuid4().hex[:16], scope or self.new_scope())

    def many(self) -> list[RemoteJob]:
        return [job for count in (100, 50) for job in self.running(count)]


class GlueBench(Bench):
    name = "glue"
    service_class = GlueJobRunService
    cancel_operations = ("BatchStopJobRun",)
    iam_action = "glue:BatchStopJobRun"
    success, cancelled = "SUCCEEDED", "STOPPED"

    def new_scope(self) -> str:
        return self.cloud.glue.create_job(f"etl/{uuid.uuid4().hex[:8]} ü")

    def submit(self, name: str, count: int = 1, scope: str | None = None, **more: Any) -> list[RemoteJob]:
        scope = scope or self.new_scope()
        # Runs have no names; the local cloud knows their timings by an argument.
        arguments = {"--name": name} | ({LABEL_ARGUMENT: name} if Label.find(name) else {})
        params = {"JobName": scope, "Arguments": arguments, **more}
        answers = [self.take("StartJobRun", **params) for _ in range(count)]
        return [self.address(answer["JobRunId"], scope) for answer in answers]

    def unknown(self, scope: str | None = None) -> RemoteJob:
        return self.address(f"jr_{uuid.uuid4().hex * 2}", scope or self.new_scope())

    def many(self) -> list[RemoteJob]:
        return [job for count in (225, 25) for job in self.running(count)]


class EmrContainersBench(Bench):
    name = "emr-containers"
    one_by_one = True
    service_class = EmrContainersJobRunService
    cancel_operations = ("CancelJobRun",)
    iam_action = "emr-containers:CancelJobRun"
    success, cancelled = "COMPLETED", "CANCELLED"

    def new_scope(self) -> str:
        return create_virtual_cluster(self.client)

    def submit(self, name: str, count: int = 1, scope: str | None = None, **more: Any) -> list[RemoteJob]:
        scope = scope or self.new_scope()
        params = {"virtualClusterId": scope, "executionRoleArn": ROLE, "name": name, **more}
        answers = [self.take("StartJobRun", clientToken=uuid.uuid4().hex, **params) for _ in range(count)]
        return [self.address(answer["id"], scope) for answer in answers]

    def unknown(self, scope: str | None = None) -> RemoteJob:
        return self.address(uuid.uuid4().hex[:19], scope or self.new_scope())

    def many(self) -> list[RemoteJob]:
        return [job for count in (100, 50) for job in self.running(count)]


BENCHES: tuple[type[Bench], ...] = (EmrBench, BatchBench, EmrServerlessBench, EmrContainersBench, GlueBench)


def create_virtual_cluster(client: Any) -> str:
    """A virtual cluster of EMR on EKS, in a namespace of its own."""
    namespace = f"spark-{uuid.uuid4().hex[:8]}"
    container = {"id": "eks", "type": "EKS", "info": {"eksInfo": {"namespace": namespace}}}
    return str(client.create_virtual_cluster(name=namespace, containerProvider=container)["id"])


def outcomes(results: list[CancelResult]) -> list[CancelOutcome]:
    return [result.outcome for result in results]


def recorded(client: Any) -> list[tuple[str, dict[str, Any]]]:
    """A list that fills with the calls that a client makes from now on: operation and parameters."""
    calls: list[tuple[str, dict[str, Any]]] = []

    def note(params: dict[str, Any], model: Any, **_: Any) -> None:
        calls.append((model.name, dict(params)))

    client.meta.events.register("provide-client-params", note)
    return calls


REASON = "the task was killed"


@pytest.fixture(name="bench", params=BENCHES, ids=lambda bench: str(bench.name))
def aws_bench(request: pytest.FixtureRequest, cloud: LocalCloud) -> Iterator[Bench]:
    """Every service of AWS in turn."""
    bench: Bench = request.param(cloud)
    yield bench
    bench.close()


def submitted(bench: Bench, label: Label | None, scope: str | None = None) -> RemoteJob:
    """A running job with a label, where its service carries it."""
    if isinstance(bench, BatchBench):
        return bench.submit("job", parameters={"airflow_owner": str(label)} if label else {})[0]
    return bench.submit(f"job-{label}" if label else "job", scope=scope)[0]


def asked(bench: Bench) -> set[str]:
    """Ids of the jobs whose end was requested."""
    return {job_id for job_id, job in bench.truth().items() if job["cancel_requested_at"]}
