"""One Airflow and one local cloud, and the words in which tests speak of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from airflow_cancel_provider.jobs import RemoteJob
from tests.cloud import LocalCloud
from tests.demo.places import REGION, aws_client, create_application, create_cluster, create_virtual_cluster
from tests.real_airflow.statsd import Statsd
from tests.real_airflow.system import AirflowSystem

CLIENTS = ("emr", "batch", "emr-serverless", "emr-containers", "glue")
STEP = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}
SUCCEEDED = {
    "emr": "COMPLETED",
    "batch": "SUCCEEDED",
    "emr-serverless": "SUCCESS",
    "emr-containers": "COMPLETED",
    "mrs": "FINISHED",
    "glue": "SUCCEEDED",
}
"""How each service calls a good end."""
DEPLOYMENT = "stories"
"""The name of this Airflow in labels."""
ROLE = "arn:aws:iam::123456789012:role/job"


class World:
    """Makes jobs in the cloud and runs in Airflow."""

    statsd: Statsd
    """What Airflow sends its metrics to, where one was started."""

    def __init__(self, cloud: LocalCloud, airflow: AirflowSystem) -> None:
        self.cloud = cloud
        self.airflow = airflow
        self._clients = {service: aws_client(cloud.url, service) for service in CLIENTS}
        self._start: dict[str, Callable[[str], str]] = {
            "emr": self._start_step,
            "batch": self._start_batch_job,
            "emr-serverless": self._start_job_run,
            "emr-containers": self._start_container_run,
            "mrs": cloud.mrs.add_job,
            "glue": self._start_glue_run,
        }

    def close(self) -> None:
        """Let go of the connections."""
        for client in self._clients.values():
            client.close()

    def place(self, service: str, **timings: Any) -> str:
        """A new cluster, application or queue, whose jobs live by these timings."""
        name = f"place-{uuid4().hex[:8]}"
        if service == "emr":
            name = create_cluster(self.cloud.url, name, concurrency=10)
        elif service == "emr-serverless":
            name = create_application(self.cloud.url, name)
        elif service == "emr-containers":
            name = create_virtual_cluster(self.cloud.url)
        elif service == "batch":
            self.cloud.batch.set_queue(name)
        elif service == "mrs":
            self.cloud.mrs.register_cluster(name)
        elif service == "glue":
            self.cloud.glue.create_job(name)
        local: Any = self.cloud.services[service]
        local.configure({"overrides": {name: {"submitted": 0, "pending": 0, "starting": 0, **timings}}})
        return name

    def start(self, service: str, count: int = 1, **timings: Any) -> Jobs:
        """Jobs that run, in a place of their own."""
        scope = self.place(service, **timings)
        return Jobs(self.cloud, service, scope, [self._start[service](scope) for _ in range(count)])

    def start_steps(self, cluster: str, *, region: str) -> Jobs:
        """A step in a cluster of another region."""
        with contextlib.closing(aws_client(self.cloud.url, "emr", region)) as client:
            reply = client.add_job_flow_steps(JobFlowId=cluster, Steps=[STEP])
        return Jobs(self.cloud, "emr", cluster, list(reply["StepIds"]))

    def submit(self, mode: str, **timings: Any) -> tuple[Run, Jobs]:
        """A run whose task has started a job in MRS, and waits for it."""
        cluster = self.place("mrs", **timings)
        run = self.run_with(f"submit_{mode}", {"scope": cluster})
        jobs = self.wait_for_jobs(cluster, 1)
        self.wait_for_call("mrs", "ShowSingleJobExe", cluster)
        return run, jobs

    def wait_for_jobs(self, scope: str, count: int) -> Jobs:
        """Wait until there are so many jobs in a cluster of MRS."""
        ids: list[str] = []

        def are_there() -> bool:
            ids[:] = [job["id"] for job in self.cloud.mrs.jobs() if job["scope"] == scope]
            return len(ids) >= count

        eventually(are_there, f"{count} jobs in {scope}")
        return Jobs(self.cloud, "mrs", scope, ids)

    def wait_for_call(self, service: str, operation: str, scope: str, *, after_now: bool = False) -> None:
        """Wait until somebody has made this call."""
        since = self.cloud.clock() if after_now else 0.0

        def was_made() -> bool:
            calls = self.cloud.journal.entries(service, operation)
            return any(call.scope == scope and call.time > since for call in calls)

        eventually(was_made, f"{operation} for {scope}")

    def run(self, dag_id: str, jobs: Jobs, **conf: Any) -> Run:
        """A run about these jobs."""
        return self.run_with(dag_id, {"scope": jobs.scope, "ids": jobs.ids, **conf})

    def run_with(self, dag_id: str, conf: Mapping[str, Any]) -> Run:
        """A run with this conf."""
        return Run(self.airflow, dag_id, self.airflow.rest.trigger(dag_id, dict(conf)))

    def _start_step(self, cluster: str) -> str:
        reply = self._clients["emr"].add_job_flow_steps(JobFlowId=cluster, Steps=[STEP])
        return str(reply["StepIds"][0])

    def _start_batch_job(self, queue: str) -> str:
        reply = self._clients["batch"].submit_job(jobName="job", jobQueue=queue, jobDefinition="job")
        return str(reply["jobId"])

    def _start_job_run(self, application: str) -> str:
        reply = self._clients["emr-serverless"].start_job_run(
            applicationId=application,
            executionRoleArn=ROLE,
            jobDriver={"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}},
        )
        return str(reply["jobRunId"])

    def _start_glue_run(self, job: str) -> str:
        return str(self._clients["glue"].start_job_run(JobName=job)["JobRunId"])

    def _start_container_run(self, cluster: str) -> str:
        reply = self._clients["emr-containers"].start_job_run(virtualClusterId=cluster, executionRoleArn=ROLE)
        return str(reply["id"])


@dataclass(frozen=True)
class Jobs:
    """Jobs in one place, and the truth about them."""

    cloud: LocalCloud
    service: str
    scope: str
    ids: list[str]

    @property
    def uris(self) -> list[str]:
        """Their addresses, over the default connection."""
        aws = self.service != "mrs"
        scope = None if self.service == "batch" else self.scope
        conn, region = ("aws_default", REGION) if aws else ("mrs_default", None)
        return [
            str(RemoteJob.of(self.service, job, scope=scope, conn_id=conn, region=region)) for job in self.ids
        ]

    def without(self, others: Jobs) -> Jobs:
        """Those that are not among others."""
        return replace(self, ids=[job for job in self.ids if job not in others.ids])

    def truth(self) -> list[dict[str, Any]]:
        """What the cloud knows of them."""
        return [job for job in self.cloud.jobs() if job["id"] in self.ids]

    @property
    def are_asked_to_end(self) -> bool:
        """Whether a cancel of each was requested."""
        return all(job["cancel_requested_at"] for job in self.truth())

    @property
    def are_cancelled(self) -> bool:
        """Whether each has ended because of a cancel."""
        return all(job["cancelled"] and job["ended_at"] for job in self.truth())

    def wait_until_asked(self) -> None:
        """Wait until a cancel of each was requested."""
        eventually(lambda: self.are_asked_to_end, f"a cancel of {self.ids}")

    def wait_until_cancelled(self) -> None:
        """Wait until each has ended because of a cancel."""
        eventually(lambda: self.are_cancelled, f"the cancelled end of {self.ids}")

    def check_left_alone(self, seconds: float = 6) -> None:
        """Nobody asks one of them to end, for as long as a late cancel would take; then end them."""
        time.sleep(seconds)
        for job in self.truth():
            assert not job["cancel_requested_at"], job
        service: Any = self.cloud.services[self.service]
        for job_id in self.ids:
            service.finish(job_id, SUCCEEDED[self.service])


@dataclass(frozen=True)
class Run:
    """A run of a Dag."""

    airflow: AirflowSystem
    dag_id: str
    run_id: str

    def end(self, wanted: str = "success") -> None:
        """Wait for its end, which is to be this one."""
        state = self.airflow.rest.wait_for_run(self.dag_id, self.run_id)
        assert state == wanted, f"{self.dag_id} {self.run_id} is {state}: {self.errors()}"

    def wait_for(self, task_id: str, *states: str) -> dict[str, Any]:
        """Wait until a task is in one of these states; the task instance."""
        return self.airflow.rest.wait_for_task(self.dag_id, self.run_id, task_id, set(states))

    def xcom(self, task_id: str, key: str = "return_value", **options: Any) -> Any:
        """What a task left."""
        return self.airflow.rest.xcom(self.dag_id, self.run_id, task_id, key, **options)

    def mark(self, task_id: str, state: str) -> None:
        """Do to a task what a person would: ``failed``, ``success`` or ``cleared``."""
        if state == "cleared":
            self.airflow.rest.clear(self.dag_id, self.run_id, task_id)
        else:
            self.airflow.rest.mark(self.dag_id, self.run_id, task_id, state)

    def signal(self, task_id: str, number: signal.Signals) -> None:
        """Send a signal to the process of a running task."""
        os.kill(self.wait_for(task_id, "running")["pid"], number)

    def error(self, task_id: str) -> tuple[str, str]:
        """Type and text of the exception that ended a task."""
        return self.airflow.rest.error(self.dag_id, self.run_id, task_id)

    def errors(self) -> dict[str, str]:
        """How its failed tasks failed."""
        failed = [
            task["task_id"]
            for task in self.airflow.rest.tasks(self.dag_id, self.run_id)
            if task["state"] == "failed" and task["map_index"] < 0
        ]
        return {task: self._told_error(task) for task in failed}

    def _told_error(self, task_id: str) -> str:
        try:
            return ": ".join(self.error(task_id))
        except LookupError:
            return f"by Airflow, not by an exception; the scheduler's log is in {self.airflow.home}"

    def log(self, task_id: str) -> str:
        """A task's log."""
        return self.airflow.rest.log(self.dag_id, self.run_id, task_id)

    def remote_job_lines(self, task_id: str) -> list[str]:
        """What a task's log tells of remote jobs, as Airflow's API shows it."""
        return [line for line in self.log(task_id).splitlines() if line.startswith("[remote jobs]")]


def eventually(is_so: Callable[[], bool], what: str, *, seconds: float = 240) -> None:
    """Wait until something is so; what takes long to look at is looked at less often."""
    deadline = time.monotonic() + seconds
    began = time.monotonic()
    while not is_so():
        now = time.monotonic()
        assert now < deadline, f"{what} was not seen within {seconds:.0f} s"
        time.sleep(min(max(0.1, 3 * (now - began)), 2.0))
        began = time.monotonic()
