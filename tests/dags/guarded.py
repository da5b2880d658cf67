"""Tasks that start Batch jobs, as people write them, and say in the Dag what the guard shall do."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator
from airflow.sdk import DAG, task

from airflow_cancel_provider.guard import guard, release, track
from airflow_cancel_provider.notifications.cancel import CancelRemoteJobs

PARAMS: dict[str, Any] = {"scope": "queue", "fail": True}
OUT_OF_SIGHT = """
import boto3, sys
client = boto3.client("batch")
print(client.submit_job(jobName="job", jobQueue=sys.argv[1], jobDefinition="job")["jobId"])
"""


def submit(queue: str) -> str:
    import boto3

    answer = boto3.client("batch").submit_job(jobName="job", jobQueue=queue, jobDefinition="job")
    return str(answer["jobId"])


def leave_record(ti: Any, job_id: str) -> None:
    """What the guard, or an operator of ours, leaves for callbacks."""
    from uuid import UUID

    from airflow_cancel_provider.jobs import RemoteJob
    from airflow_cancel_provider.record import RECORD_KEY, TryRecord

    job = RemoteJob(f"batch://aws_default@us-east-1/{job_id}")
    ti.xcom_push(key=RECORD_KEY, value=TryRecord(UUID(str(ti.id)), jobs=(job,)).as_json())


with DAG("guarded_error", schedule=None, params=PARAMS):

    @task
    def error(params: dict[str, Any]) -> None:
        submit(params["scope"])
        raise ValueError("after submitting")

    error()

with DAG("guarded_two_tries", schedule=None, params=PARAMS):

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def waits(params: dict[str, Any]) -> None:
        submit(params["scope"])
        time.sleep(600)

    waits()

with DAG("guarded_retries", schedule=None, params=PARAMS):

    @task(retries=1, retry_delay=timedelta(seconds=1))
    def retried(params: dict[str, Any]) -> None:
        submit(params["scope"])
        raise ValueError("in each try")

    retried()

with DAG("guarded_success", schedule=None, params=PARAMS):

    @task
    def success(params: dict[str, Any]) -> str:
        return submit(params["scope"])

    success()

with DAG("guarded_result", schedule=None, params=PARAMS):

    @task
    def result(params: dict[str, Any]) -> Any:
        submit(params["scope"])
        return object()  # which no XCom takes: the task fails after its function has returned

    result()

with DAG("guarded_track", schedule=None, params=PARAMS):

    @task
    def tracked(params: dict[str, Any]) -> None:
        import subprocess
        import sys

        done = subprocess.run(
            [sys.executable, "-c", OUT_OF_SIGHT, params["scope"]], capture_output=True, text=True, check=True
        )
        track(f"batch://aws_default@us-east-1/{done.stdout.split()[-1]}")
        raise ValueError("after submitting")

    tracked()

with DAG("guarded_release", schedule=None, params=PARAMS):

    @task
    def released(params: dict[str, Any]) -> None:
        release(f"batch://@us-east-1/{submit(params['scope'])}")
        raise ValueError("but the job is meant to live on")

    released()

with DAG("guarded_release_in_thread", schedule=None, params=PARAMS):

    @task(retries=1, retry_delay=1)
    def killed_after_release(params: dict[str, Any], ti: Any = None) -> None:
        import os
        import signal
        import threading

        if ti.try_number > 1:
            return
        submit(params["scope"])
        address = f"batch://@us-east-1/{submit(params['scope'])}"
        thread = threading.Thread(target=release, args=(address,))
        thread.start()
        thread.join()
        os.kill(os.getpid(), signal.SIGKILL)

    killed_after_release()

with DAG("guarded_not", schedule=None, params=PARAMS):

    @task
    def unguarded(params: dict[str, Any]) -> None:
        submit(params["scope"])
        raise ValueError("after submitting")

    guard(unguarded, on=False)()

with DAG("guarded_callback", schedule=None, params=PARAMS):

    @task(on_failure_callback=CancelRemoteJobs())
    def with_callback(params: dict[str, Any], ti: Any = None) -> None:
        leave_record(ti, submit(params["scope"]))
        raise ValueError("after submitting")

    guard(with_callback, on=False)()

with DAG(
    "guarded_dag_callback", schedule=None, params=PARAMS, on_failure_callback=CancelRemoteJobs(whole_run=True)
):

    @task
    def in_a_run(number: int, params: dict[str, Any], ti: Any = None) -> None:
        leave_record(ti, submit(params["scope"]))
        if number:
            raise ValueError("after submitting")

    guard(in_a_run, on=False).expand(number=[0, 1])

with DAG("guarded_mapped", schedule=None, params=PARAMS):
    BatchOperator.partial(
        task_id="batch", job_name="job", job_definition="job", poll_interval=1, max_retries=1
    ).expand(job_queue=["{{ params.scope }}", "{{ params.scope }}"])

with DAG("guarded_fence", schedule=None, params=PARAMS):

    @task
    def stubborn(params: dict[str, Any]) -> None:
        import time

        submit(params["scope"])
        try:
            time.sleep(120)
        except Exception:  # noqa: BLE001  what people write
            submit(params["scope"])

    stubborn()

with DAG("guarded_timeout", schedule=None, params=PARAMS):
    EmrAddStepsOperator(
        task_id="add",
        job_flow_id="{{ params.scope }}",
        steps=[{"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}],
        wait_for_completion=True,
        waiter_delay=1,
        execution_timeout=timedelta(seconds=25),
    )

with DAG("guarded_mrs", schedule=None, params=PARAMS):

    @task
    def mrs(params: dict[str, Any]) -> None:
        from airflow_cancel_provider.hooks.mrs import MrsHook

        MrsHook().submit_job(params["scope"], "SparkSubmit", "nightly", ["s3a://bucket/job.jar"])
        raise ValueError("after submitting")

    mrs()
