"""The services, for Dags that exist once for each of them. No Dag in here."""

from __future__ import annotations

from typing import Any, NamedTuple

from airflow_cancel_provider.operators.batch import CancelBatchJobOperator
from airflow_cancel_provider.operators.emr import CancelStepsOperator
from airflow_cancel_provider.operators.emr_containers import CancelEmrContainerJobRunOperator
from airflow_cancel_provider.operators.emr_serverless import CancelJobRunOperator
from airflow_cancel_provider.operators.glue import CancelGlueJobRunOperator
from airflow_cancel_provider.operators.mrs import CancelJobExecutionOperator
from airflow_cancel_provider.sensors.batch import BatchJobTerminalSensor
from airflow_cancel_provider.sensors.emr import EmrStepTerminalSensor
from airflow_cancel_provider.sensors.emr_containers import EmrContainerJobRunTerminalSensor
from airflow_cancel_provider.sensors.emr_serverless import EmrServerlessJobRunTerminalSensor
from airflow_cancel_provider.sensors.glue import GlueJobRunTerminalSensor
from airflow_cancel_provider.sensors.mrs import MrsJobExecutionTerminalSensor


class Kind(NamedTuple):
    """What a service's classes and parameters are called."""

    cancel: type[Any]
    sensor: type[Any]
    ids: str
    scope: str | None

    def targets(self) -> dict[str, str]:
        """The jobs that a run's conf names, as templates: rendered to text, lists too."""
        named = {self.ids: "{{ params.ids }}"}
        return {**named, self.scope: "{{ params.scope }}"} if self.scope else named


KINDS = {
    "emr": Kind(CancelStepsOperator, EmrStepTerminalSensor, "step_ids", "cluster_id"),
    "batch": Kind(CancelBatchJobOperator, BatchJobTerminalSensor, "job_ids", None),
    "emr-serverless": Kind(
        CancelJobRunOperator, EmrServerlessJobRunTerminalSensor, "job_run_ids", "application_id"
    ),
    "emr-containers": Kind(
        CancelEmrContainerJobRunOperator,
        EmrContainerJobRunTerminalSensor,
        "job_run_ids",
        "virtual_cluster_id",
    ),
    "mrs": Kind(CancelJobExecutionOperator, MrsJobExecutionTerminalSensor, "job_execution_ids", "cluster_id"),
    "glue": Kind(CancelGlueJobRunOperator, GlueJobRunTerminalSensor, "job_run_ids", "job_name"),
}
PARAMS: dict[str, Any] = {"scope": "", "ids": [], "attempts": 240}
SYNC_OR_DEFERRABLE = {"sync": {"deferrable": False}, "deferrable": {"deferrable": True}}
