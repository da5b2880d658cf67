"""Clusters, queues and applications that tasks use one after the other, and jobs of others in them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from queue import Queue
from typing import Any
from uuid import uuid4

from airflow_cancel_provider.owner import Label, deployment_of
from tests.matrix.ground import Ground
from tests.matrix.scenario import SERVICES
from tests.real_airflow.world import ROLE

EACH = 6
"""Places of each service; one task at a time uses one, so that a job's task is known from its place."""
ELSEWHERE = deployment_of("an Airflow somewhere else")


class Places:
    """All places of a soak, and the jobs in them that no task of it has started.

    ``company`` says of those jobs, by id, whose they are: nobody may ever ask one of them to end.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._free: dict[str, Queue[str]] = {service: Queue() for service in SERVICES}
        self.company: dict[str, str] = {}
        self._lock = threading.Lock()
        for service in SERVICES:
            for _ in range(EACH):
                # Jobs end when somebody ends them.
                self._free[service].put(ground.place(service, run=1e6))

    @contextlib.contextmanager
    def lease(self, service: str) -> Iterator[str]:
        """A place for one task; waits for one that is free."""
        place = self._free[service].get()
        try:
            yield place
        finally:
            self._free[service].put(place)

    def add_company(self, whose: str, service: str, place: str) -> None:
        """Start a job ``by hand``, or a ``foreign`` one with the label of another Airflow."""
        label = str(Label(ELSEWHERE, uuid4())) if whose == "foreign" else ""
        getattr(self, f"_start_{service.replace('-', '_')}")(place, label)

    def note(self, whose: str, jobs: Iterable[str]) -> None:
        """Note whose jobs these are; those that are known stay what they are."""
        with self._lock:
            for job in jobs:
                self.company.setdefault(job, whose)

    def _start_emr(self, cluster: str, label: str) -> None:
        step = {"Name": f"step {label}".strip(), "HadoopJarStep": {"Jar": "command-runner.jar"}}
        self._client("emr").add_job_flow_steps(JobFlowId=cluster, Steps=[step])

    def _start_batch(self, queue: str, label: str) -> None:
        extra = {"parameters": {"airflow_owner": label}} if label else {}
        self._client("batch").submit_job(jobName="job", jobQueue=queue, jobDefinition="job", **extra)

    def _start_emr_serverless(self, application: str, label: str) -> None:
        self._client("emr-serverless").start_job_run(
            applicationId=application,
            executionRoleArn=ROLE,
            name=f"run {label}".strip(),
            jobDriver={"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}},
        )

    def _start_emr_containers(self, cluster: str, label: str) -> None:
        self._client("emr-containers").start_job_run(
            virtualClusterId=cluster, executionRoleArn=ROLE, name=f"run-{label}".strip("-")
        )

    def _start_mrs(self, cluster: str, label: str) -> None:
        self._ground.cloud.mrs.add_job(cluster, f"job {label}".strip())

    def _start_glue(self, job: str, label: str) -> None:
        arguments = {"--airflow_owner": label} if label else {}
        self._client("glue").start_job_run(JobName=job, Arguments=arguments)

    def _client(self, service: str) -> Any:
        return self._ground._clients[service]
