"""Job runs of Amazon EMR Serverless applications.

https://docs.aws.amazon.com/emr-serverless/latest/APIReference/API_CancelJobRun.html, API_GetJobRun.html
and API_ListJobRuns.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from airflow_cancel_provider.jobs import JobStatus
from airflow_cancel_provider.services.aws.job_runs import RUNS_PER_PAGE, JobRunService
from airflow_cancel_provider.services.emr_serverless.states import ANSWERS, IDLE, RUN_ID, STATES
from airflow_cancel_provider.services.emr_serverless.submission import QUOTAS, grace_period
from airflow_cancel_provider.services.results import labelled_by_name, submitted
from airflow_cancel_provider.services.retry import Patience

_GRACE = "shutdownGracePeriodInSeconds"


class EmrServerlessJobRunService(JobRunService):
    """Job runs, by application.

    :param shutdown_grace_period: seconds that a run has to shut down before it is killed, 15 to 1800, or 0
        for none; needs EMR 7.9.0. None leaves it to the service: none for batch, 120 for streaming runs.
    :raises InvalidInput: ``shutdown_grace_period`` is none of these.
    """

    name = "emr-serverless"
    iam_prefix = "emr-serverless"
    scope_word = "application_id"
    scope_pattern = RUN_ID
    scope_example = "0000000000000000"
    id_word = "job run id"
    id_pattern = RUN_ID
    id_example = "0000000000000001"
    cancel_probe = ("CancelJobRun", "applicationId", "jobRunId")
    quotas = QUOTAS
    answers = ANSWERS
    subjects: ClassVar[dict[str, dict[str, str]]] = {
        "CancelJobRun": {"applicationId": "applicationId", "jobRunId": "jobRunId"},
        "GetJobRun": {"applicationId": "jobRun.applicationId", "jobRunId": "jobRun.jobRunId"},
        "ListJobRuns": {"applicationId": "jobRuns.applicationId"},
        "GetApplication": {"applicationId": "application.applicationId"},
    }
    states = STATES
    scope_param, run_param = "applicationId", "jobRunId"
    run_operation = "GetJobRun"
    scope_operation = ("GetApplication", "applicationId")
    scope_listing = ("ListApplications", "applications")
    scope_states = ("ApplicationState", IDLE)
    page_size: ClassVar[dict[str, int]] = {"maxResults": RUNS_PER_PAGE}
    created_after = "createdAtAfter"
    worth_listing = 10

    def __init__(
        self,
        client: Any,
        *,
        conn_id: str | None = None,
        patience: Patience | None = None,
        shutdown_grace_period: int | str | None = None,
    ) -> None:
        super().__init__(client, conn_id=conn_id, patience=patience)
        given = shutdown_grace_period
        self.shutdown_grace_period = None if given is None else grace_period("shutdown_grace_period", given)

    def _cancel_options(self, *, force: bool) -> dict[str, Any]:
        """With ``force`` a run has no grace period."""
        grace = 0 if force and self.shutdown_grace_period else self.shutdown_grace_period
        return {} if grace is None else {_GRACE: grace}

    def _refusal_help(self, options: Mapping[str, Any]) -> str:
        if _GRACE not in options:
            return ""
        return f"shutdown_grace_period is {options[_GRACE]} s; the application needs EMR 7.9.0 for it."

    def _claim(self, run: dict[str, Any]) -> JobStatus:
        run_id = run.get("jobRunId") or run["id"]
        status = self._status(run["applicationId"], run_id, run, run.get("stateDetails"))
        return submitted(labelled_by_name(status), run.get("createdAt"))
