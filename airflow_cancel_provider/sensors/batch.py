"""Sensor for AWS Batch jobs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow_cancel_provider.mixins.connection import AwsConnection
from airflow_cancel_provider.mixins.targets import DEFERRABLE, JobNames
from airflow_cancel_provider.sensors.base import RemoteJobsTerminalSensor
from airflow_cancel_provider.watch import ENDS


class BatchJobTerminalSensor(AwsConnection, RemoteJobsTerminalSensor):
    """Wait until AWS Batch jobs have ended.

    Other parameters: :class:`RemoteJobsTerminalSensor` and :class:`AwsConnection`.
    https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html

    :param job_ids: ids of the jobs. An array parent stands for all its children; ``id:index`` is one child.
    """

    service_name = "batch"

    def __init__(
        self,
        *,
        job_ids: JobNames = None,
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
        self.job_ids = job_ids
        self.check_literals()
