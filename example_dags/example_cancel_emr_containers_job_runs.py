"""Start a job run on a virtual cluster of EMR on EKS, cancel it, and see it end.

What it shows:

- ``EmrContainerOperator`` of the Amazon provider starts the run and does not wait for it.
- ``CancelEmrContainerJobRunOperator`` only requests the end here (``wait_for_completion=False``), so it
  is done at once.
- ``EmrContainerJobRunTerminalSensor`` waits for the end, in the triggerer. It takes the run by the address
  which the cancel operator returned, so it needs neither virtual cluster nor connection.

What it needs: the connection ``aws_default``, a virtual cluster, and a role for its runs.
"""

from __future__ import annotations

from airflow.providers.amazon.aws.operators.emr import EmrContainerOperator
from airflow.sdk import DAG, Param

from airflow_cancel_provider.operators.emr_containers import CancelEmrContainerJobRunOperator
from airflow_cancel_provider.sensors.emr_containers import EmrContainerJobRunTerminalSensor

VIRTUAL_CLUSTER = "{{ params.virtual_cluster_id }}"
ROLE = "arn:aws:iam::123456789012:role/my-emr-on-eks-role"

with DAG(
    dag_id="example_cancel_emr_containers_job_runs",
    schedule=None,
    doc_md=__doc__,
    tags=["example", "emr-containers", "cancel"],
    params={
        "virtual_cluster_id": Param(
            "0b0abcdefghijklmn", type="string", description="Id of the virtual cluster"
        ),
        "role": Param(ROLE, type="string", description="ARN of the role that the run takes"),
    },
):
    start_run = EmrContainerOperator(
        task_id="start_run",
        name="aggregate",
        virtual_cluster_id=VIRTUAL_CLUSTER,
        execution_role_arn="{{ params.role }}",
        release_label="emr-7.9.0-latest",
        job_driver={"sparkSubmitJobDriver": {"entryPoint": "s3://my-bucket/aggregate.py"}},
        wait_for_completion=False,
    )
    cancel_run = CancelEmrContainerJobRunOperator(
        task_id="cancel_run",
        virtual_cluster_id=VIRTUAL_CLUSTER,
        job_run_ids=start_run.output,
        wait_for_completion=False,
    )
    run_ended = EmrContainerJobRunTerminalSensor(
        task_id="run_ended",
        remote_jobs=cancel_run.output,
        poke_interval=5,
        timeout=600,
        deferrable=True,
    )
