"""Hook for the job runs of Amazon EMR on EKS."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_cancel_provider.hooks.aws import AwsJobsHook
from airflow_cancel_provider.jobs import CancelResult, JobStatus
from airflow_cancel_provider.services.emr_containers.service import EmrContainersJobRunService


class EmrContainerJobRunsHook(AwsJobsHook[EmrContainersJobRunService]):
    """Job runs over an ``aws`` connection. Parameters: :class:`AwsJobsHook`."""

    service_class = EmrContainersJobRunService

    def cancel_job_runs(self, virtual_cluster_id: str, job_run_ids: Sequence[str]) -> list[CancelResult]:
        """Request the end of job runs (one call a run).

        :raises InvalidInput: an id is malformed.

        https://docs.aws.amazon.com/emr-on-eks/latest/APIReference/API_CancelJobRun.html
        """
        return self.service.cancel(self.service.addresses(job_run_ids, virtual_cluster_id), "")

    def describe_job_runs(self, virtual_cluster_id: str, job_run_ids: Sequence[str]) -> list[JobStatus]:
        """State of job runs: DescribeJobRun for a few, ListJobRuns for many."""
        return self.service.describe(self.service.addresses(job_run_ids, virtual_cluster_id))

    def list_live_job_runs(self, virtual_cluster_id: str) -> list[JobStatus]:
        """Job runs of a virtual cluster that have not ended."""
        return list(self.service.living(virtual_cluster_id))
