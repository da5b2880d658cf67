"""Hook for the job runs of EMR Serverless applications."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_cancel_provider.hooks.aws import AwsJobsHook
from airflow_cancel_provider.hooks.connections import AWS_DEFAULT
from airflow_cancel_provider.jobs import CancelResult, JobStatus
from airflow_cancel_provider.services.emr_serverless.service import EmrServerlessJobRunService


class EmrServerlessJobRunsHook(AwsJobsHook[EmrServerlessJobRunService]):
    """Job runs over an ``aws`` connection. Parameters: :class:`AwsJobsHook`.

    :param shutdown_grace_period: seconds, 0 or 15 to 1,800; None leaves it to the service.
    """

    service_class = EmrServerlessJobRunService

    def __init__(
        self,
        aws_conn_id: str | None = AWS_DEFAULT,
        region_name: str | None = None,
        *,
        verify: bool | str | None = None,
        config: Any = None,
        shutdown_grace_period: int | None = None,
    ) -> None:
        options = {"shutdown_grace_period": shutdown_grace_period}
        super().__init__(aws_conn_id, region_name, verify=verify, config=config, options=options)

    def cancel_job_runs(self, application_id: str, job_run_ids: Sequence[str]) -> list[CancelResult]:
        """Request the end of job runs (one call a run; the service's quota is one a second).

        :raises InvalidInput: an id is malformed.

        https://docs.aws.amazon.com/emr-serverless/latest/APIReference/API_CancelJobRun.html
        """
        return self.service.cancel(self.service.addresses(job_run_ids, application_id), "")

    def describe_job_runs(self, application_id: str, job_run_ids: Sequence[str]) -> list[JobStatus]:
        """State of job runs: GetJobRun for a few, ListJobRuns by 50 for many."""
        return self.service.describe(self.service.addresses(job_run_ids, application_id))

    def list_live_job_runs(self, application_id: str) -> list[JobStatus]:
        """Job runs of an application that have not ended."""
        return list(self.service.living(application_id))
