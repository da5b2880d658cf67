"""Sensor for the job runs of EMR Serverless applications."""

from __future__ import annotations

from airflow_cancel_provider.sensors.base import RemoteJobsTerminalSensor
from airflow_cancel_provider.tasks.kinds import EmrServerlessTargets


class EmrServerlessJobRunTerminalSensor(EmrServerlessTargets, RemoteJobsTerminalSensor):
    """Wait until job runs of an EMR Serverless application have ended.

    Parameters: :class:`EmrServerlessTargets`, :class:`RemoteJobsTerminalSensor` and :class:`AwsConnection`.
    https://docs.aws.amazon.com/emr-serverless/latest/APIReference/API_ListJobRuns.html
    """

    template_fields = (
        *EmrServerlessTargets.target_fields,
        *RemoteJobsTerminalSensor.common_fields,
        *EmrServerlessTargets.connection_fields,
    )
