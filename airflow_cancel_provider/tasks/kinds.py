"""Whose jobs are meant, in each service's own words."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.tasks.connections import AwsConnection, MrsConnection
from airflow_cancel_provider.tasks.targets import Targets


class EmrTargets(AwsConnection, Targets):
    """Steps of one cluster.

    :param cluster_id: id of the cluster (``j-…``).
    :param step_ids: ids of the steps (``s-…``): a list, one text, or a template that renders to either.
    """

    service_name = "emr"
    scope_param = "cluster_id"
    ids_param = "step_ids"
    target_fields = ("cluster_id", "step_ids")

    def __init__(self, *, cluster_id: str | None = None, step_ids: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cluster_id = cluster_id
        self.step_ids = step_ids


class BatchTargets(AwsConnection, Targets):
    """AWS Batch jobs.

    :param job_ids: ids of jobs: a list, one text, or a template that renders to either. An array parent
        stands for all its children; ``id:index`` is one child.
    """

    service_name = "batch"
    scope_param = None
    ids_param = "job_ids"
    target_fields: tuple[str, ...] = ("job_ids",)

    def __init__(self, *, job_ids: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_ids = job_ids


class EmrServerlessTargets(AwsConnection, Targets):
    """Job runs of one application.

    :param application_id: id of the application.
    :param job_run_ids: ids of the runs: a list, one text, or a template that renders to either.
    """

    service_name = "emr-serverless"
    scope_param = "application_id"
    ids_param = "job_run_ids"
    target_fields = ("application_id", "job_run_ids")

    def __init__(self, *, application_id: str | None = None, job_run_ids: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.application_id = application_id
        self.job_run_ids = job_run_ids


class MrsJobTargets(MrsConnection, Targets):
    """Job executions of one cluster.

    :param cluster_id: id of the cluster.
    :param job_execution_ids: ids of the job executions: a list, one text, or a template that renders to
        either.
    """

    service_name = "mrs"
    scope_param = "cluster_id"
    ids_param = "job_execution_ids"
    target_fields = ("cluster_id", "job_execution_ids")

    def __init__(
        self, *, cluster_id: str | None = None, job_execution_ids: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.cluster_id = cluster_id
        self.job_execution_ids = job_execution_ids
