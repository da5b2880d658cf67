"""Clusters and job executions of MRS, and what its documents leave open, as options."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import uuid4

from tests.cloud.lifecycle import Clock, Life, Settings, Timings
from tests.cloud.mrs_jobs import WORDS, Job
from tests.cloud.mrs_replies import MrsError

T = TypeVar("T")
CLUSTER = "demo-cluster-0001"
OPTIONS: dict[str, Any] = {
    "kill_failed_status": 500,  # of 0175: 500 on OTC, 400 on Huawei Cloud
    "kill_ended": "0175",  # "accepted", or the code with which an ended job's kill is refused
    "kill_again": "0175",  # as above, for a job that is being killed
    "token_refusal": "APIGW.0301",  # or 130000002 (with HTTP 500), 12000001
    "only_v2": [],  # clusters that V1.1 refuses
    "only_v1": [],  # clusters that V2 refuses
    "kerberos": [],  # clusters that V1.1 refuses because they are secured
    "jobless": [],  # clusters whose jobs MRS does not know any more, nor the cluster itself in its V2 calls
    "cancel_cached": False,  # a cache answers V1.1's cancel
    "cancel_redirected": "",  # where V1.1's cancel is redirected to
    "largest_page": 100,  # items of a listing's page, whatever is asked for
    "submit_result": "COMPLETE",  # or JOBSTAT_SUBMIT_FAILED, still with HTTP 200
}


class Store:
    """What MRS knows. Not locked: its service is."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.settings = Settings(Timings(submitted=0.0, pending=0.1, starting=0.1, cancel=0.3), **OPTIONS)
        self.forget()

    def forget(self) -> None:
        """Have one cluster without jobs."""
        self.clusters = {CLUSTER: "running"}
        self.jobs: dict[str, Job] = {}

    def option(self, name: str) -> Any:
        """One of ``OPTIONS`` as it is set now."""
        return self.settings.options[name]

    def add(
        self, cluster_id: str, name: str, type: str, arguments: list[str], properties: dict[str, str]
    ) -> str:
        """Begin a job; its execution id."""
        job_id = str(uuid4())
        life = Life(WORDS, self.settings.timings(job_id, name, cluster_id), self.clock())
        self.jobs[job_id] = Job(job_id, cluster_id, name, type, arguments, properties, life)
        return job_id

    def job(self, job_id: str, cluster_id: str | None = None, status: int = 500) -> Job:
        """A job, if it is there and in that cluster."""
        job = self.jobs.get(job_id)
        is_seen = job is not None and job.life.is_seen(self.clock())
        if job is None or not is_seen or cluster_id not in (None, job.cluster_id):
            raise MrsError("0176", "The job does not exist.", status)
        return job

    def page(self, items: list[T], size: str, number: str) -> list[T]:
        """One page of a listing; pages count from 1."""
        most = min(int(size), int(self.option("largest_page")))
        return items[(int(number) - 1) * most : int(number) * most]

    def newest(self, cluster_id: str, part_of_name: str = "") -> list[Job]:
        """Jobs of a cluster, the newest first."""
        jobs = reversed(self.jobs.values())
        return [job for job in jobs if job.cluster_id == cluster_id and part_of_name in job.name]

    def end(self, job: Job) -> None:
        """Let a job end as killed, in its own time; one that has ended stays as it is."""
        now = self.clock()
        if not job.life.ended(now):
            job.life.request_cancel(now, now + job.life.timings.cancel, "Killed by user.")
