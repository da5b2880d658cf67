"""Hook for the job runs of AWS Glue."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_cancel_provider.hooks.aws import AwsJobsHook
from airflow_cancel_provider.jobs import CancelResult, JobStatus
from airflow_cancel_provider.services.glue.service import GlueJobRunService


class GlueJobRunsHook(AwsJobsHook[GlueJobRunService]):
    """Runs of Glue jobs over an ``aws`` connection. Parameters: :class:`AwsJobsHook`."""

    service_class = GlueJobRunService

    def batch_stop_job_runs(self, job_name: str, job_run_ids: Sequence[str]) -> list[CancelResult]:
        """Request the end of runs of a job (any number; 25 a call), and return the outcome of each request.

        :raises InvalidInput: an id is malformed.

        https://docs.aws.amazon.com/glue/latest/webapi/API_BatchStopJobRun.html
        """
        return self.service.cancel(self.service.addresses(job_run_ids, job_name), "")

    def describe_job_runs(self, job_name: str, job_run_ids: Sequence[str]) -> list[JobStatus]:
        """State of runs: GetJobRun for a few, GetJobRuns by 200 for many."""
        return self.service.describe(self.service.addresses(job_run_ids, job_name))

    def list_live_job_runs(self, job_name: str) -> list[JobStatus]:
        """Runs of a job that have not ended."""
        return list(self.service.living(job_name))
