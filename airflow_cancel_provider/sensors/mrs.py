"""Sensor for the job executions of MRS clusters."""

from __future__ import annotations

from airflow_cancel_provider.sensors.base import RemoteJobsTerminalSensor
from airflow_cancel_provider.tasks.kinds import MrsJobTargets


class MrsJobExecutionTerminalSensor(MrsJobTargets, RemoteJobsTerminalSensor):
    """Wait until job executions of an MRS cluster have ended.

    Parameters: :class:`MrsJobTargets`, :class:`RemoteJobsTerminalSensor` and :class:`MrsConnection`.
    OTC MRS API reference, "Querying Information About a Job" (mrs_02_0086).
    """

    template_fields = (
        *MrsJobTargets.target_fields,
        *RemoteJobsTerminalSensor.common_fields,
        *MrsJobTargets.connection_fields,
    )
