"""Sensor for AWS Batch jobs."""

from __future__ import annotations

from airflow_cancel_provider.sensors.base import RemoteJobsTerminalSensor
from airflow_cancel_provider.tasks.kinds import BatchTargets


class BatchJobTerminalSensor(BatchTargets, RemoteJobsTerminalSensor):
    """Wait until AWS Batch jobs have ended.

    Parameters: :class:`BatchTargets`, :class:`RemoteJobsTerminalSensor` and :class:`AwsConnection`.
    https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html
    """

    template_fields = (
        *BatchTargets.target_fields,
        *RemoteJobsTerminalSensor.common_fields,
        *BatchTargets.connection_fields,
    )
