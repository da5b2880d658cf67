"""Sensor for the steps of Amazon EMR clusters."""

from __future__ import annotations

from airflow_cancel_provider.sensors.base import RemoteJobsTerminalSensor
from airflow_cancel_provider.tasks.kinds import EmrTargets


class EmrStepTerminalSensor(EmrTargets, RemoteJobsTerminalSensor):
    """Wait until steps of an Amazon EMR cluster have ended.

    Parameters: :class:`EmrTargets`, :class:`RemoteJobsTerminalSensor` and :class:`AwsConnection`.
    https://docs.aws.amazon.com/emr/latest/APIReference/API_ListSteps.html
    """

    template_fields = (
        *EmrTargets.target_fields,
        *RemoteJobsTerminalSensor.common_fields,
        *EmrTargets.connection_fields,
    )
