"""Start jobs in a cluster of Huawei Cloud or OTC MRS, cancel them, and see them end.

What it shows:

- ``MrsSubmitJobOperator`` starts a job; with ``wait_for_completion=False`` it leaves it running.
- ``MrsHook`` does the same in a Python task.
- Both return the job's address. ``CancelJobExecutionOperator`` and ``MrsJobExecutionTerminalSensor`` take
  such addresses as ``remote_jobs``: they say which cluster and which connection, so nothing else is needed.

What it needs: the connection ``mrs_default`` of type "Huawei Cloud / OTC MRS", and a cluster that is up.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_cancel_provider.operators.mrs import CancelJobExecutionOperator, MrsSubmitJobOperator
from airflow_cancel_provider.sensors.mrs import MrsJobExecutionTerminalSensor

with DAG(
    dag_id="example_cancel_mrs_job_executions",
    schedule=None,
    doc_md=__doc__,
    tags=["example", "mrs", "cancel"],
    params={"cluster_id": Param("my-cluster-id", type="string", description="Id of the MRS cluster")},
):
    start_job = MrsSubmitJobOperator(
        task_id="start_job",
        cluster_id="{{ params.cluster_id }}",
        job_type="SparkSubmit",
        job_name="aggregate-{{ run_id | replace(':', '-') | replace('+', '-') | replace('.', '-') }}",
        arguments=["--class", "org.example.Aggregate", "obs://my-bucket/aggregate.jar"],
        wait_for_completion=False,
    )

    @task
    def start_by_hook(params: dict[str, Any]) -> str:
        """Start a job from Python, where an operator is too rigid."""
        # Imported here, because parsing the Dag should not load what only a running task needs.
        from airflow_cancel_provider.hooks.mrs import MrsHook

        arguments = ["obs://my-bucket/count.jar", "obs://my-bucket/input", "obs://my-bucket/output"]
        return MrsHook().submit_job(params["cluster_id"], "MapReduce", "count", arguments)

    jobs = [start_job.output, start_by_hook()]
    cancel_jobs = CancelJobExecutionOperator(task_id="cancel_jobs", remote_jobs=jobs, waiter_delay=5)
    jobs_ended = MrsJobExecutionTerminalSensor(
        task_id="jobs_ended", remote_jobs=jobs, poke_interval=5, timeout=600, deferrable=True
    )
