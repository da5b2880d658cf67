"""Operator for the job runs of EMR Serverless applications."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.mixins.connection import AwsConnection
from airflow_cancel_provider.mixins.targets import DEFERRABLE, JobNames, check_literal
from airflow_cancel_provider.operators.base import CancelRemoteJobsOperator
from airflow_cancel_provider.services.emr_serverless.submission import grace_period


class CancelJobRunOperator(AwsConnection, CancelRemoteJobsOperator):
    """Cancel job runs of an EMR Serverless application, and see them end.

    Other parameters: :class:`CancelRemoteJobsOperator` and :class:`AwsConnection`. The service takes
    one run a call and one call a second, and has no place for ``reason``.
    https://docs.aws.amazon.com/emr-serverless/latest/APIReference/API_CancelJobRun.html

    :param application_id: id of the application.
    :param job_run_ids: ids of the job runs.
    :param shutdown_grace_period: seconds that a run has to shut down, 0 or 15 to 1,800; None leaves it to
        the service. EMR 7.9.0 and later.
    """

    service_name = "emr-serverless"
    service_fields = ("shutdown_grace_period",)

    def __init__(
        self,
        *,
        application_id: str | None = None,
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
        shutdown_grace_period: int | None = None,
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
        self.application_id = application_id
        self.job_run_ids = job_run_ids
        self.shutdown_grace_period = shutdown_grace_period
        check_literal(self, grace_period, "shutdown_grace_period")
        self.check_literals()

    def service_options(self) -> dict[str, Any]:
        """Options of :class:`EmrServerlessJobRunService`, which checks them."""
        return {"shutdown_grace_period": self.shutdown_grace_period}
