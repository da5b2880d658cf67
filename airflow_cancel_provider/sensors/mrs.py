"""Sensor for the job executions of MRS clusters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow_cancel_provider.mixins.connection import MrsConnection
from airflow_cancel_provider.mixins.targets import DEFERRABLE, JobNames
from airflow_cancel_provider.sensors.base import RemoteJobsTerminalSensor
from airflow_cancel_provider.watch import ENDS


class MrsJobExecutionTerminalSensor(MrsConnection, RemoteJobsTerminalSensor):
    """Wait until job executions of an MRS cluster have ended.

    Other parameters: :class:`RemoteJobsTerminalSensor` and :class:`MrsConnection`.
    OTC MRS API reference, "Querying Information About a Job" (mrs_02_0086).

    :param cluster_id: id of the cluster.
    :param job_execution_ids: ids of the job executions.
    """

    service_name = "mrs"

    def __init__(
        self,
        *,
        cluster_id: str | None = None,
        job_execution_ids: JobNames = None,
        remote_jobs: JobNames = None,
        target_states: str | Collection[str] = ENDS,
        deferrable: bool = DEFERRABLE,
        cancel_on_kill: bool = False,
        mrs_conn_id: str = "mrs_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            remote_jobs=remote_jobs,
            target_states=target_states,
            deferrable=deferrable,
            cancel_on_kill=cancel_on_kill,
            mrs_conn_id=mrs_conn_id,
            region_name=region_name,
            verify=verify,
            **kwargs,
        )
        self.cluster_id = cluster_id
        self.job_execution_ids = job_execution_ids
        self.check_literals()
