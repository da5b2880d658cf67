"""Operator for the job runs of EMR Serverless applications."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.operators.base import CancelRemoteJobsOperator
from airflow_cancel_provider.tasks.connections import AwsConnection
from airflow_cancel_provider.tasks.kinds import EmrServerlessTargets


class CancelJobRunOperator(EmrServerlessTargets, CancelRemoteJobsOperator):
    """Cancel job runs of an EMR Serverless application, and see them end.

    Parameters also as :class:`EmrServerlessTargets`, :class:`CancelRemoteJobsOperator` and
    :class:`AwsConnection`. The service takes one run a call and one call a second, and has no place for
    ``reason``. https://docs.aws.amazon.com/emr-serverless/latest/APIReference/API_CancelJobRun.html

    :param shutdown_grace_period: seconds that a run has to shut down, 0 or 15 to 1,800; None leaves it to
        the service. EMR 7.9.0 and later.
    """

    template_fields = (
        *EmrServerlessTargets.target_fields,
        *CancelRemoteJobsOperator.common_fields,
        *AwsConnection.connection_fields,
        "shutdown_grace_period",
    )

    def __init__(self, *, shutdown_grace_period: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shutdown_grace_period = shutdown_grace_period

    def service_options(self) -> dict[str, Any]:
        """Options of :class:`EmrServerlessJobRunService`, checked."""
        seconds = self.shutdown_grace_period
        if seconds is None:
            return {}
        if not str(seconds).isdecimal() or not (int(seconds) == 0 or 15 <= int(seconds) <= 1800):
            raise InvalidInput(f"shutdown_grace_period is {seconds!r}; it must be 0 or 15 to 1800 seconds.")
        return {"shutdown_grace_period": int(seconds)}
