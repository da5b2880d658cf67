"""Job runs of the virtual clusters of Amazon EMR on EKS.

https://docs.aws.amazon.com/emr-on-eks/latest/APIReference/API_CancelJobRun.html, API_DescribeJobRun.html
and API_ListJobRuns.html.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from airflow_cancel_provider.jobs import CancelResult, JobStatus
from airflow_cancel_provider.services.aws.errors import error_code, error_words
from airflow_cancel_provider.services.aws.job_runs import INVALID, JobRunService
from airflow_cancel_provider.services.emr_containers.states import (
    ANSWERS,
    IDLE,
    NO_CLUSTER,
    NO_RUN,
    RESOURCE_ID,
    STATES,
)
from airflow_cancel_provider.services.emr_containers.submission import QUOTAS, label_of
from airflow_cancel_provider.services.results import submitted


class EmrContainersJobRunService(JobRunService):
    """Job runs, by virtual cluster.

    One request ends a run with all attempts of its driver that its retry policy allows.
    """

    name = "emr-containers"
    iam_prefix = "emr-containers"
    scope_word = "virtual_cluster_id"
    scope_pattern = RESOURCE_ID
    scope_example = "0000000000000000000000000"
    id_word = "job run id"
    id_pattern = RESOURCE_ID
    id_example = "0000000000000000000"
    cancel_probe = ("CancelJobRun", "virtualClusterId", "id")
    quotas = QUOTAS
    answers = ANSWERS
    subjects: ClassVar[dict[str, dict[str, str]]] = {
        "CancelJobRun": {"id": "id", "virtualClusterId": "virtualClusterId"},
        "DescribeJobRun": {"id": "jobRun.id", "virtualClusterId": "jobRun.virtualClusterId"},
        "ListJobRuns": {"virtualClusterId": "jobRuns.virtualClusterId"},
        "DescribeVirtualCluster": {"id": "virtualCluster.id"},
    }
    states = STATES
    scope_param, run_param = "virtualClusterId", "id"
    run_operation = "DescribeJobRun"
    scope_operation = ("DescribeVirtualCluster", "id")
    scope_listing = ("ListVirtualClusters", "virtualClusters")
    scope_states = ("VirtualClusterState", IDLE)
    created_after = "createdAfter"
    worth_listing = 4

    def _is_unknown_scope(self, operation: str, error: Exception) -> bool:
        """It may also call an unknown virtual cluster an invalid request, as moto does."""
        is_invalid = operation == self.scope_operation[0] and error_code(error) == INVALID
        return super()._is_unknown_scope(operation, error) or (
            is_invalid and bool(NO_CLUSTER.search(error_words(error)))
        )

    def _was_unknown(self, said: CancelResult) -> bool:
        return bool(NO_RUN.search(said.detail or ""))

    def _claim(self, run: dict[str, Any]) -> JobStatus:
        why = ": ".join(filter(None, (run.get("failureReason"), run.get("stateDetails"))))
        status = self._status(run["virtualClusterId"], run["id"], run, why)
        return submitted(replace(status, label=label_of(run)), run.get("createdAt"))
