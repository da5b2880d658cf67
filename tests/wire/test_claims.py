"""What a sweep over all living jobs asks of the services: where jobs live, whose they are, at what pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

from airflow_cancel_provider.exceptions import AccessDenied, InvalidInput
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import Label, Owner
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.registry import service_info
from airflow_cancel_provider.services.submissions import LABEL_PARAMETER
from tests.cloud import (
    batch,
    batch_listing,
    emr,
    emr_cluster,
    emr_containers,
    emr_serverless,
    emr_serverless_runs,
    glue,
)
from tests.cloud.server import LocalCloud
from tests.mrs_fixtures import CLUSTER, Opener, open_service, submitted
from tests.service_fixtures import (
    BENCHES,
    BatchBench,
    Bench,
    EmrBench,
    EmrContainersBench,
    EmrServerlessBench,
    aws_bench,
)

__all__ = ["aws_bench", "open_service"]

LABEL = Label("0a1b2c3d", UUID("01997d3c-6e9f-7c3a-9d15-3f1b5a4c2d10"))
OTHER = Label("0a1b2c3d", UUID("01997d3c-0000-7c3a-9d15-3f1b5a4c2d10"), reconnects=True)
OWNER = Owner("0a1b2c3d", "nächtlich & co", "scheduled__2026-11-20T00:00:00+00:00", "run.it", 3, 2, uuid4())
LISTINGS = {
    "emr": ("ListClusters", "elasticmapreduce:ListClusters"),
    "batch": ("DescribeJobQueues", "batch:DescribeJobQueues"),
    "emr-serverless": ("ListApplications", "emr-serverless:ListApplications"),
    "glue": ("ListJobs", "glue:ListJobs"),
    "emr-containers": ("ListVirtualClusters", "emr-containers:ListVirtualClusters"),
}


def opened(kind: type[Bench], cloud: LocalCloud) -> Iterator[Any]:
    bench = kind(cloud)
    yield bench
    bench.close()


@pytest.fixture
def emr_bench(cloud: LocalCloud) -> Iterator[EmrBench]:
    yield from opened(EmrBench, cloud)


@pytest.fixture
def queue(cloud: LocalCloud) -> Iterator[BatchBench]:
    yield from opened(BatchBench, cloud)


@pytest.fixture
def serverless(cloud: LocalCloud) -> Iterator[EmrServerlessBench]:
    yield from opened(EmrServerlessBench, cloud)


def sent(cloud: LocalCloud) -> Counter[str]:
    """Requests that have arrived, by operation."""
    return Counter(entry.operation for entry in cloud.journal)


def labels(service: JobService, scope: str) -> dict[RemoteJob, Label | None]:
    return {claim.job: claim.label for claim in service.claims(scope)}


def written(label: Label) -> dict[str, Any]:
    return {"parameters": {LABEL_PARAMETER: label.in_full}}


class TestScopes:
    def test_clusters(self, cloud: LocalCloud, emr_bench: EmrBench) -> None:
        clusters = [emr_bench.new_scope() for _ in range(60)]
        emr_bench.client.terminate_job_flows(JobFlowIds=clusters[:3])
        for cluster, state in zip(clusters[3:6], ("STARTING", "TERMINATING", "RUNNING"), strict=True):
            cloud.moto.cluster("123456789012", "us-east-1", cluster).state = state
        steps = [{"Name": "once", "HadoopJarStep": {"Jar": "command-runner.jar"}}]
        over = emr_bench.client.run_job_flow(Name="over", Instances={"InstanceCount": 1}, Steps=steps)
        (step,) = [job for job in emr_bench.truth().values() if job["scope"] == over["JobFlowId"]]
        emr_bench.local.finish(step["id"], "COMPLETED")
        cloud.journal.clear()
        assert sorted(emr_bench.service().scopes()) == sorted({*clusters[3:]} - {clusters[4]})
        assert sent(cloud) == {"ListClusters": 2}

    def test_queues(self, cloud: LocalCloud, queue: BatchBench) -> None:
        names = [f"queue-{number:03}" for number in range(150)]
        for name in names:
            cloud.batch.set_queue(name)
        cloud.batch.set_queue("disabled", state="DISABLED")
        cloud.batch.set_queue("invalid", status="INVALID")
        cloud.batch.set_queue("deleted", status="DELETED")
        queue.submit("job")
        cloud.journal.clear()
        # What an invalid queue has started, runs on.
        assert list(queue.service().scopes()) == ["disabled", "invalid", "queue", *names]
        assert sent(cloud) == {"DescribeJobQueues": 2}

    def test_applications(self, cloud: LocalCloud, serverless: EmrServerlessBench) -> None:
        created, started, stopped, deleted, *more = (serverless.new_scope() for _ in range(60))
        serverless.submit("run", 1, started)
        serverless.client.start_application(applicationId=stopped)
        serverless.client.stop_application(applicationId=stopped)
        serverless.client.delete_application(applicationId=deleted)
        cloud.journal.clear()
        assert sorted(serverless.service().scopes()) == sorted([created, started, *more])
        assert sent(cloud) == {"ListApplications": 2}

    def test_virtual_clusters(self, cloud: LocalCloud) -> None:
        for containers in opened(EmrContainersBench, cloud):
            clusters = [containers.new_scope() for _ in range(60)]
            containers.client.delete_virtual_cluster(id=clusters[0])
            states = ("TERMINATED", "RUNNING", "TERMINATING", "ARRESTED")
            for cluster, state in zip(clusters, states, strict=False):
                cloud.emr_containers.cluster(cluster).state = state
            cloud.journal.clear()
            # Where a virtual cluster is being deleted, or its namespace was taken away, runs may still live.
            assert list(containers.service().scopes()) == clusters[1:]
            assert sent(cloud) == {"ListVirtualClusters": 2}

    @pytest.mark.parametrize("version", ["v2", "v1.1"])
    def test_mrs_clusters(self, cloud: LocalCloud, open_service: Opener, version: str) -> None:
        alive = {cloud.mrs.register_cluster(f"cluster-{number:03}") for number in range(150)} | {CLUSTER}
        alive |= {cloud.mrs.register_cluster(state, state) for state in ("scaling-in", "frozen", "abnormal")}
        for state in ("terminating", "terminated", "failed"):
            cloud.mrs.register_cluster(state, state)
        assert set(open_service(version).scopes()) == alive
        assert sent(cloud) == {"ListClusters": 2}

    def test_pages_are_read_as_they_are_needed(self, cloud: LocalCloud, queue: BatchBench) -> None:
        for number in range(150):
            cloud.batch.set_queue(f"queue-{number}")
        scopes = queue.service().scopes()
        assert sent(cloud) == {}
        next(scopes)
        assert sent(cloud) == {"DescribeJobQueues": 1}

    def test_who_may_not_list_is_told_what_to_allow(self, bench: Bench) -> None:
        operation, action = LISTINGS[bench.name]
        bench.cloud.faults.add(bench.name, operation, "denied")
        with pytest.raises(AccessDenied, match=f"{operation} on region us-east-1 .* Allow {action} to"):
            next(bench.service().scopes())

    def test_who_may_not_list_mrs_is_told_what_to_allow(
        self, cloud: LocalCloud, open_service: Opener
    ) -> None:
        cloud.faults.add("mrs", "ListClusters", "denied")
        with pytest.raises(AccessDenied, match="Policy doesn't allow mrs:cluster:list"):
            next(open_service().scopes())


class TestClaims:
    """Jobs of every service with a label each, or none."""

    @pytest.fixture(params=[*BENCHES, "v2", "v1.1"], ids=lambda kind: str(getattr(kind, "name", kind)))
    def service(
        self, request: pytest.FixtureRequest, cloud: LocalCloud, open_service: Opener
    ) -> Iterator[JobService]:
        if isinstance(request.param, str):
            yield open_service(request.param)
            return
        for bench in opened(request.param, cloud):
            yield bench.service()

    @pytest.fixture
    def submit(self, cloud: LocalCloud, service: JobService) -> Callable[[Label | None], RemoteJob]:
        """Submit a job with a label where its service has it."""
        kind: Any = next((kind for kind in BENCHES if kind.name == service.name), None)
        bench = kind(cloud) if kind else None
        scope = bench.new_scope() if bench else CLUSTER

        def one(label: Label | None) -> RemoteJob:
            joint = service_info(service.name).submissions[0].joint
            name = f"run{joint}{label}" if label else "run"
            if bench is None:
                return submitted(cloud, name=name)[0]
            jobs: list[RemoteJob] = (
                bench.submit("run", **(written(label) if label else {}))
                if service.name == "batch"
                else bench.submit(name, 1, scope)
            )
            return jobs[0]

        return one

    def test_labels_times_and_only_the_living(
        self,
        cloud: LocalCloud,
        service: JobService,
        submit: Callable[[Label | None], RemoteJob],
    ) -> None:
        wanted: dict[str, Label | None] = {}
        for label in (LABEL, OTHER, None, LABEL):
            wanted[submit(label).id] = label
            cloud.clock.advance(100)
        over = submit(LABEL)
        ends = {kind.name: kind.success for kind in BENCHES}
        local: Any = cloud.services[service.name]
        local.finish(over.id, ends.get(service.name, "SUCCEEDED"))
        scope = over.scope or "queue"
        claims = list(service.claims(scope))
        assert {claim.job.id: claim.label for claim in claims} == wanted
        assert [claim.label.reconnects for claim in claims if claim.label == OTHER] == [True]
        assert {claim.state for claim in claims} <= {JobState.PENDING, JobState.RUNNING}
        truth = {job["id"]: job["created_at"] for job in cloud.jobs()}
        for claim in claims:
            at = claim.submitted_at
            assert at is not None
            assert at.tzinfo is UTC
            assert at.timestamp() == pytest.approx(truth[claim.job.id], abs=0.01)
        assert {job.id for job in service.labelled(scope, LABEL)} == {
            name for name, label in wanted.items() if label == LABEL
        }
        assert {status.job for status in service.living(scope)} == {claim.job for claim in claims}

    def test_a_cancelled_job_is_claimed_until_it_has_ended(self, bench: Bench) -> None:
        (job,) = bench.submit("endless")
        bench.cloud.clock.advance(1)
        service = bench.service()
        service.cancel([job], "")
        (claim,) = service.claims(job.scope or "queue")
        assert claim.state is JobState.CANCELLING

    def test_requests_are_counted_as_the_cloud_counts_them(self, cloud: LocalCloud, bench: Bench) -> None:
        scope = bench.new_scope()
        bench.running(60, scope)
        cloud.journal.clear()
        service = bench.service()
        assert service.traffic == {}
        for place in service.scopes():
            assert len(list(service.claims(place))) == 60
        assert service.traffic == sent(cloud)
        assert service.traffic.total() >= 2


class TestBatch:
    def test_the_whole_owner_is_read(self, queue: BatchBench) -> None:
        (job,) = queue.submit("job", **written(OWNER.label))
        assert queue.truth()[job.id]["labels"]["parameters"][LABEL_PARAMETER] == OWNER.label.in_full
        (claim,) = queue.service().claims("queue")
        assert claim.label is not None
        assert (claim.label, claim.label.owner) == (OWNER.label, OWNER)

    def test_a_label_in_a_jobs_name_is_not_ours(self, queue: BatchBench) -> None:
        queue.submit(f"job-{LABEL}")
        assert [*labels(queue.service(), "queue").values()] == [None]

    def test_arrays_and_nodes_are_one_job(self, queue: BatchBench) -> None:
        (array,) = queue.submit("array", arrayProperties={"size": 5}, **written(LABEL))
        (nodes,) = queue.submit("nodes", nodeOverrides={"numNodes": 3}, **written(LABEL))
        assert labels(queue.service(), "queue") == {array: LABEL, nodes: LABEL}

    def test_a_queue_is_read_by_pages_of_100(self, cloud: LocalCloud, queue: BatchBench) -> None:
        jobs = queue.submit("pending", 125, **written(LABEL)) + queue.submit("job", 125)
        cloud.clock.advance(1)
        cloud.journal.clear()
        service = queue.service()
        found = {claim.job: claim.label for claim in service.claims("queue")}
        assert found == dict.fromkeys(jobs[:125], LABEL) | dict.fromkeys(jobs[125:])
        assert sent(cloud) == service.traffic == {"ListJobs": 5, "DescribeJobs": 3}

    def test_what_describe_jobs_does_not_know_has_no_label(
        self, cloud: LocalCloud, queue: BatchBench
    ) -> None:
        cloud.batch.override("new*", unseen=60)
        (new,) = queue.submit(f"new-{LABEL}", **written(LABEL))
        (old,) = queue.submit("old", **written(LABEL))
        cloud.clock.advance(1)
        assert labels(queue.service(), "queue") == {new: None, old: LABEL}

    def test_what_ends_between_two_requests_is_left_out(
        self, cloud: LocalCloud, queue: BatchBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs, answer = queue.running(150), cloud.batch.answer

        def answer_late(operation: str, request: Any) -> Any:
            if operation == "DescribeJobs":
                for job in jobs[:50]:
                    cloud.batch.finish(job.id, "SUCCEEDED")
            return answer(operation, request)

        monkeypatch.setattr(cloud.batch, "answer", answer_late)
        assert {claim.job for claim in queue.service().claims("queue")} == set(jobs[50:])

    def test_who_may_not_describe_is_told_what_to_allow(self, cloud: LocalCloud, queue: BatchBench) -> None:
        queue.running(1)
        cloud.faults.add("batch", "DescribeJobs", "denied")
        with pytest.raises(AccessDenied, match="Allow batch:DescribeJobs to"):
            list(queue.service().claims("queue"))

    def test_a_queue_that_is_none(self, queue: BatchBench) -> None:
        with pytest.raises(InvalidInput, match="job queue"):
            list(queue.service().claims("no queue"))


class TestStatesToCome:
    """A state that a service adds is a living one, and is asked for as soon as botocore knows it."""

    PLACES: ClassVar[dict[str, tuple[str, list[Any], Any, str]]] = {
        "emr": ("StepState", [emr_cluster], emr, "STEP_STATES"),
        "batch": ("JobStatus", [batch], batch_listing, "JOB_STATES"),
        "emr-serverless": (
            "JobRunState",
            [emr_serverless, emr_serverless_runs],
            emr_serverless,
            "RUN_STATES",
        ),
        "glue": ("JobRunState", [glue], glue, "FINAL_STATES"),
        "emr-containers": ("JobRunState", [emr_containers], emr_containers, "RUN_STATES"),
    }
    """The enumeration in botocore's model; in the local cloud, whose words change, and who checks states."""

    @pytest.fixture
    def changed(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
        """The service has come to call RUNNING otherwise, and its model says so."""
        shape, lives, checker, checked = self.PLACES[bench.name]
        for module in lives:
            stages = tuple((name.replace("RUNNING", "SUSPENDED"), of) for name, of in module.WORDS.stages)
            monkeypatch.setattr(module, "WORDS", replace(module.WORDS, stages=stages))
        monkeypatch.setattr(checker, checked, (*getattr(checker, checked), "SUSPENDED"))
        model = bench.client.meta.service_model._shape_resolver._shape_map[shape]
        monkeypatch.setitem(model, "enum", [*model["enum"], "SUSPENDED"])
        return bench

    def test_it_lives(self, changed: Bench) -> None:
        (job,) = changed.running(1)
        service = changed.service()
        (status,) = service.describe([job])
        assert (status.state, status.service_state) == (JobState.RUNNING, "SUSPENDED")
        (claim,) = service.claims(job.scope or "queue")
        assert (claim.job, claim.service_state) == (job, "SUSPENDED")
