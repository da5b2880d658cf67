"""Operator for the job runs of Amazon EMR on EKS."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.mixins.connection import AwsConnection
from airflow_cancel_provider.mixins.targets import DEFERRABLE, JobNames
from airflow_cancel_provider.operators.base import CancelRemoteJobsOperator


class CancelEmrContainerJobRunOperator(AwsConnection, CancelRemoteJobsOperator):
    """Cancel job runs of an EMR on EKS virtual cluster, and see them end.

    Other parameters: :class:`CancelRemoteJobsOperator` and :class:`AwsConnection`. The service takes
    one run a call, and has no place for ``reason``.
    https://docs.aws.amazon.com/emr-on-eks/latest/APIReference/API_CancelJobRun.html

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
        all_live: bool = False,
        name_prefix: str | None = None,
        reason: str | None = None,
        wait_for_completion: bool = True,
        waiter_delay: float = 10,
        waiter_max_attempts: int = 360,
        deferrable: bool = DEFERRABLE,
        fail_if_not_running: bool = False,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            remote_jobs=remote_jobs,
            all_live=all_live,
            name_prefix=name_prefix,
            reason=reason,
            wait_for_completion=wait_for_completion,
            waiter_delay=waiter_delay,
            waiter_max_attempts=waiter_max_attempts,
            deferrable=deferrable,
            fail_if_not_running=fail_if_not_running,
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            botocore_config=botocore_config,
            **kwargs,
        )
        self.virtual_cluster_id = virtual_cluster_id
        self.job_run_ids = job_run_ids
        self.check_literals()
