"""Sensor for the job runs of Amazon EMR on EKS."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow_cancel_provider.mixins.connection import AwsConnection
from airflow_cancel_provider.mixins.targets import DEFERRABLE, JobNames
from airflow_cancel_provider.sensors.base import RemoteJobsTerminalSensor
from airflow_cancel_provider.watch import ENDS


class EmrContainerJobRunTerminalSensor(AwsConnection, RemoteJobsTerminalSensor):
    """Wait until job runs of an EMR on EKS virtual cluster have ended.

    Other parameters: :class:`RemoteJobsTerminalSensor` and :class:`AwsConnection`.
    https://docs.aws.amazon.com/emr-on-eks/latest/APIReference/API_ListJobRuns.html

    :param virtual_cluster_id: id of the virtual cluster.
    :param job_run_ids: ids of the job runs.
    """

    service_name = "emr-containers"

    def __init__(
        self,
        *,
        virtual_cluster_id: str | None = None,
        job_run_ids: JobNames = None,
        remote_jobs: JobNames = None,
        target_states: str | Collection[str] = ENDS,
        deferrable: bool = DEFERRABLE,
        cancel_on_kill: bool = False,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            remote_jobs=remote_jobs,
            target_states=target_states,
            deferrable=deferrable,
            cancel_on_kill=cancel_on_kill,
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            botocore_config=botocore_config,
            **kwargs,
        )
        self.virtual_cluster_id = virtual_cluster_id
        self.job_run_ids = job_run_ids
        self.check_literals()
