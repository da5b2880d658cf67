"""Sensor for the job runs of AWS Glue."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow_cancel_provider.mixins.connection import AwsConnection
from airflow_cancel_provider.mixins.targets import DEFERRABLE, JobNames
from airflow_cancel_provider.sensors.base import RemoteJobsTerminalSensor
from airflow_cancel_provider.watch import ENDS


class GlueJobRunTerminalSensor(AwsConnection, RemoteJobsTerminalSensor):
    """Wait until runs of an AWS Glue job have ended.

    Other parameters: :class:`RemoteJobsTerminalSensor` and :class:`AwsConnection`.
    https://docs.aws.amazon.com/glue/latest/webapi/API_GetJobRun.html

    :param job_name: name of the job, whose definition the runs are of.
    :param job_run_ids: ids of the runs (``jr_…``).
    """

    service_name = "glue"

    def __init__(
        self,
        *,
        job_name: str | None = None,
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
        self.job_name = job_name
        self.job_run_ids = job_run_ids
        self.check_literals()
