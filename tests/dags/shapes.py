"""Tasks that start Batch jobs in the less common shapes of a Dag."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, PokeReturnValue, get_current_context, setup, task, teardown
from guarded import PARAMS, submit
from started import StartsFromTrigger

from airflow_cancel_provider.services.submissions import LABEL_PARAMETER

POKES: dict[str, Any] = {"mode": "reschedule", "poke_interval": 8, "timeout": 300}
"""A task that is due again before the scheduler has heard of its last poke's end is failed by it:
https://github.com/apache/airflow/issues/67287"""


with DAG("shapes_setup", schedule=None, params=PARAMS):

    @setup
    def prepare(params: dict[str, Any]) -> None:
        submit(params["scope"])

    @teardown(on_failure_fail_dagrun=True)
    def tidy(params: dict[str, Any]) -> None:
        submit(params["scope"])
        raise ValueError("after submitting")

    @task
    def work(params: dict[str, Any]) -> None:
        submit(params["scope"])
        raise ValueError("after submitting")

    prepare() >> work() >> tidy()


def poke(params: dict[str, Any], ti: Any, end: str) -> PokeReturnValue:
    """The first poke starts a job; the second may end the sensor."""
    first = ti.get_first_reschedule_date(get_current_context())
    if first is None:
        submit(params["scope"])
        return PokeReturnValue(is_done=False)
    if end == "error":
        raise ValueError("in a later poke")
    return PokeReturnValue(is_done=end == "success")


for name in ("success", "error", "never"):
    with DAG(f"shapes_reschedule_{name}", schedule=None, params=PARAMS):

        @task.sensor(task_id="poked", **POKES)
        def poked(end: str, params: dict[str, Any], ti: Any = None) -> PokeReturnValue:
            return poke(params, ti, end)

        poked(name)

with DAG("shapes_started", schedule=None, params=PARAMS):
    StartsFromTrigger(task_id="started")


def resubmit(context: Any) -> None:
    """Start the job that has failed once more, as it was."""
    import boto3

    batch = boto3.client("batch")
    queue = context["params"]["scope"]
    found = batch.list_jobs(jobQueue=queue, filters=[{"name": "JOB_NAME", "values": ["job*"]}])
    (job,) = batch.describe_jobs(jobs=[each["jobId"] for each in found["jobSummaryList"]])["jobs"]
    assert LABEL_PARAMETER in job["parameters"]
    batch.submit_job(jobName="again", jobQueue=queue, jobDefinition="job", parameters=job["parameters"])


with DAG("shapes_resubmit", schedule=None, params=PARAMS):

    @task(on_failure_callback=resubmit)
    def failing(params: dict[str, Any]) -> None:
        submit(params["scope"])
        raise ValueError("after submitting")

    failing()
