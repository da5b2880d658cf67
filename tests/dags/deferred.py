"""Tasks that are deferred while their Batch jobs run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.amazon.aws.hooks.batch_client import BatchClientHook
from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator

PARAMS: dict[str, Any] = {"scope": "queue"}
OPTIONS: dict[str, Any] = {
    "task_id": "batch",
    "job_name": "job",
    "job_definition": "job",
    "poll_interval": 1,
    "deferrable": True,
}

with DAG("deferred_mapped", schedule=None, params=PARAMS):
    BatchOperator.partial(**OPTIONS).expand(job_queue=["{{ params.scope }}"] * 3)

with DAG("deferred_once", schedule=None, params=PARAMS):
    BatchOperator(**OPTIONS, job_queue="{{ params.scope }}")

with DAG("deferred_timeout", schedule=None, params=PARAMS):
    BatchOperator(**OPTIONS, job_queue="{{ params.scope }}", execution_timeout=timedelta(seconds=25))


class StartsAndIsEndedByItsTrigger(BaseOperator):
    """Starts a job, and leaves the end of its task to a trigger: no worker resumes it."""

    template_fields = ("job_queue",)

    def __init__(self, job_queue: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_queue = job_queue

    def execute(self, context: Any) -> None:
        client: Any = BatchClientHook(aws_conn_id="aws_default").client
        client.submit_job(jobName="job", jobQueue=self.job_queue, jobDefinition="job")
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=3), end_from_trigger=True), method_name="never")


with DAG("deferred_ended_by_trigger", schedule=None, params=PARAMS):
    StartsAndIsEndedByItsTrigger(task_id="batch", job_queue="{{ params.scope }}")
