"""The Amazon provider's own operators, as they come: each once guarded, and once not (by the settings)."""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.batch import BatchOperator
from airflow.providers.amazon.aws.operators.emr import EmrAddStepsOperator, EmrServerlessStartJobOperator
from airflow.sdk import DAG

STEPS = [{"Name": "load", "HadoopJarStep": {"Jar": "command-runner.jar", "Args": ["sleep", "3600"]}}]
DRIVER = {"sparkSubmit": {"entryPoint": "s3://bucket/job.py"}}
ROLE = "arn:aws:iam::123456789012:role/spark"

for guarded in ("guarded", "unguarded"):
    for fate in ("emr", "lost"):
        with DAG(f"{guarded}_{fate}", schedule=None, params={"place": ""}):
            EmrAddStepsOperator(
                task_id="task",
                job_flow_id="{{ params.place }}",
                steps=STEPS,
                wait_for_completion=True,
                waiter_delay=2,
            )
    with DAG(f"{guarded}_batch", schedule=None, params={"place": ""}):
        BatchOperator(
            task_id="task",
            job_name="load",
            job_queue="{{ params.place }}",
            job_definition="job",
            poll_interval=2,
        )
    with DAG(f"{guarded}_emr-serverless", schedule=None, params={"place": ""}):
        EmrServerlessStartJobOperator(
            task_id="task",
            application_id="{{ params.place }}",
            execution_role_arn=ROLE,
            job_driver=DRIVER,
            deferrable=True,
            waiter_delay=2,
        )
