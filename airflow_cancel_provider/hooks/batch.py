"""Hook for AWS Batch jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_cancel_provider.hooks.aws import AwsJobsHook
from airflow_cancel_provider.hooks.connections import AWS_DEFAULT
from airflow_cancel_provider.jobs import CancelResult, JobStatus
from airflow_cancel_provider.services.batch.service import BatchJobService


class BatchJobsHook(AwsJobsHook[BatchJobService]):
    """Batch jobs over an ``aws`` connection. Parameters: :class:`AwsJobsHook`.

    :param pending_only: cancel only what has not started (``CancelJob``'s own meaning).
    """

    service_class = BatchJobService

    def __init__(
        self,
        aws_conn_id: str | None = AWS_DEFAULT,
        region_name: str | None = None,
        *,
        verify: bool | str | None = None,
        config: Any = None,
        pending_only: bool = False,
    ) -> None:
        options = {"pending_only": pending_only}
        super().__init__(aws_conn_id, region_name, verify=verify, config=config, options=options)

    def terminate_jobs(self, job_ids: Sequence[str], reason: str) -> list[CancelResult]:
        """Request the end of jobs in any state (any number; 50 a call where botocore has TerminateJobs).

        :param reason: shows as the job's ``statusReason``; the first 1,024 characters are sent.
        :raises InvalidInput: an id is malformed.

        https://docs.aws.amazon.com/batch/latest/APIReference/API_TerminateJob.html
        """
        return self.service.cancel(self.service.addresses(job_ids), reason, force=True)

    def cancel_jobs(self, job_ids: Sequence[str], reason: str) -> list[CancelResult]:
        """As :meth:`terminate_jobs`, but with ``pending_only`` jobs that have started are left alone.

        https://docs.aws.amazon.com/batch/latest/APIReference/API_CancelJob.html
        """
        return self.service.cancel(self.service.addresses(job_ids), reason)

    def describe_jobs(self, job_ids: Sequence[str]) -> list[JobStatus]:
        """State of jobs, by DescribeJobs (100 a call)."""
        return self.service.describe(self.service.addresses(job_ids))

    def list_live_jobs(self, job_queue: str) -> list[JobStatus]:
        """Jobs of a queue that have not ended."""
        return list(self.service.living(job_queue))
