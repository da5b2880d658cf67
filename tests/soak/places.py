"""Clusters, queues and applications that tasks use one after the other, and jobs of others in them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
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

    ``foreign`` and ``by_hand`` are the ids of those jobs: nobody may ever ask one of them to end.
    """

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._free: dict[str, Queue[str]] = {service: Queue() for service in SERVICES}
        self.by_hand: set[str] = set()
        self.foreign: set[str] = set()
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

    def add_company(self, whose: str, service: str, place: str) -> str:
        """Start a job ``by hand``, or a ``foreign`` one with the label of another Airflow; its id."""
        label = str(Label(ELSEWHERE, uuid4())) if whose == "foreign" else ""
        job = getattr(self, f"_start_{service.replace('-', '_')}")(place, label)
        with self._lock:
            (self.foreign if label else self.by_hand).add(job)
        return str(job)

    def note_by_hand(self, jobs: set[str]) -> None:
        """Jobs that a scenario itself has started by hand."""
        with self._lock:
            self.by_hand |= jobs - self.foreign

    def _start_emr(self, cluster: str, label: str) -> str:
        step = {"Name": f"step {label}".strip(), "HadoopJarStep": {"Jar": "command-runner.jar"}}
        reply = self._client("emr").add_job_flow_steps(JobFlowId=cluster, Steps=[step])
        return str(reply["StepIds"][0])

    def _start_batch(self, queue: str, label: str) -> str:
        extra = {"parameters": {"airflow_owner": label}} if label else {}
        reply = self._client("batch").submit_job(jobName="job", jobQueue=queue, jobDefinition="job", **extra)
        return str(reply["jobId"])

    def _start_emr_serverless(self, application: str, label: str) -> str:
        reply = self._client("emr-serverless").start_job_run(
            applicationId=application,
            executionRoleArn=ROLE,
            name=f"run {label}".strip(),
            jobDriver={"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}},
        )
        return str(reply["jobRunId"])

    def _start_mrs(self, cluster: str, label: str) -> str:
        return str(self._ground.cloud.mrs.add_job(cluster, f"job {label}".strip()))

    def _client(self, service: str) -> Any:
        return self._ground._clients[service]
