"""Hook for the steps of Amazon EMR clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_cancel_provider.hooks.aws import AwsJobsHook
from airflow_cancel_provider.hooks.connections import AWS_DEFAULT
from airflow_cancel_provider.jobs import CancelResult, JobStatus
from airflow_cancel_provider.services.emr.service import EmrStepService
from airflow_cancel_provider.services.emr.submission import CancellationOption


class EmrStepsHook(AwsJobsHook[EmrStepService]):
    """Steps of EMR clusters over an ``aws`` connection. Parameters: :class:`AwsJobsHook`.

    :param cancellation_option: ``SEND_INTERRUPT`` (default) or ``TERMINATE_PROCESS``.
    """

    service_class = EmrStepService

    def __init__(
        self,
        aws_conn_id: str | None = AWS_DEFAULT,
        region_name: str | None = None,
        *,
        verify: bool | str | None = None,
        config: Any = None,
        cancellation_option: CancellationOption = "SEND_INTERRUPT",
    ) -> None:
        options = {"cancellation_option": cancellation_option}
        super().__init__(aws_conn_id, region_name, verify=verify, config=config, options=options)

    def cancel_steps(
        self, cluster_id: str, step_ids: Sequence[str], *, force: bool = False
    ) -> list[CancelResult]:
        """Request the end of steps (any number; 256 a call), and return the outcome of each request.

        :param force: ``TERMINATE_PROCESS`` whatever the hook's ``cancellation_option``.
        :raises InvalidInput: an id is malformed.

        https://docs.aws.amazon.com/emr/latest/APIReference/API_CancelSteps.html
        """
        return self.service.cancel(self.service.addresses(step_ids, cluster_id), "", force=force)

    def describe_steps(self, cluster_id: str, step_ids: Sequence[str]) -> list[JobStatus]:
        """State of steps, by ListSteps (10 ids a call; for more than 50, the live ones by 50 first)."""
        return self.service.describe(self.service.addresses(step_ids, cluster_id))

    def list_live_steps(self, cluster_id: str) -> list[JobStatus]:
        """Steps of a cluster that have not ended."""
        return list(self.service.living(cluster_id))
