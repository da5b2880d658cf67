"""Job runs of Amazon EMR Serverless applications.

https://docs.aws.amazon.com/emr-serverless/latest/APIReference/API_CancelJobRun.html, API_GetJobRun.html
and API_ListJobRuns.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, ClassVar

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError
from airflow_cancel_provider.jobs import (
    CancelOutcome,
    CancelResult,
    JobState,
    JobStatus,
    RemoteJob,
    by_scope,
)
from airflow_cancel_provider.services.aws import AwsJobService, in_turn, pick
from airflow_cancel_provider.services.base import (
    as_asked,
    in_order,
    labelled_by_name,
    named,
    outcome_after,
    outcome_of,
    submitted,
)
from airflow_cancel_provider.services.pacing import Quotas
from airflow_cancel_provider.services.patience import Patience, Persistence

STATES = {
    "SUBMITTED": JobState.PENDING,
    "QUEUED": JobState.PENDING,
    "PENDING": JobState.PENDING,
    "SCHEDULED": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "CANCELLING": JobState.CANCELLING,
    "SUCCESS": JobState.SUCCEEDED,
    "FAILED": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
}
ENDS = frozenset(state for state, common in STATES.items() if common.is_terminal)
IDLE = frozenset({"CREATING", "STOPPED", "TERMINATED"})
"""States of an application in which no run lives: it starts with its first run, and stops after its last."""

RUNS_PER_PAGE = 50
APPLICATIONS_PER_PAGE = 50
WORTH_LISTING = 10
"""Above so many runs an application is listed. GetJobRun may be called ten times as often as ListJobRuns,
so that one page is worth ten runs."""
SHORTEST_GRACE, LONGEST_GRACE = 15, 1800

_UNKNOWN = "ResourceNotFoundException"
_INVALID = "ValidationException"


class EmrServerlessJobRunService(AwsJobService):
    """Job runs, by application.

    :param shutdown_grace_period: seconds that a run has to shut down before it is killed, 15 to 1800, or 0
        for none; needs EMR 7.9.0. None leaves it to the service: none for batch, 120 for streaming runs.
    :raises InvalidInput: ``shutdown_grace_period`` is none of these.
    """

    name = "emr-serverless"
    iam_prefix = "emr-serverless"
    scope_word = "application_id"
    scope_pattern = re.compile(r"[0-9a-z]{1,64}", re.ASCII)
    id_word = "job run id"
    quotas: ClassVar[Quotas] = {
        "CancelJobRun": (25, 1.0),
        "ListJobRuns": (25, 1.0),
        "GetJobRun": (50, 10.0),
        "ListApplications": (50, 10.0),
    }
    look_operation = "ListJobRuns"
    id_pattern = re.compile(r"[0-9a-z]{1,64}", re.ASCII)

    def __init__(
        self,
        client: Any,
        *,
        conn_id: str | None = None,
        patience: Patience | None = None,
        shutdown_grace_period: int | None = None,
    ) -> None:
        if shutdown_grace_period and not SHORTEST_GRACE <= shutdown_grace_period <= LONGEST_GRACE:
            raise InvalidInput(
                f"shutdown_grace_period {shutdown_grace_period!r} is neither 0 nor from {SHORTEST_GRACE} "
                f"to {LONGEST_GRACE} seconds."
            )
        super().__init__(client, conn_id=conn_id, patience=patience)
        self.shutdown_grace_period = shutdown_grace_period

    @property
    def can_escalate(self) -> bool:
        """Whether the first request leaves the run a grace period, which a forced one takes away."""
        return bool(self.shutdown_grace_period)

    def describe(self, jobs: Iterable[RemoteJob]) -> list[JobStatus]:
        """One GetJobRun for each run of a small group; for many, an application's live runs by 50 first."""
        jobs, series = list(dict.fromkeys(jobs)), self.patience.started()
        found: dict[RemoteJob, JobStatus] = {}
        for application, runs in by_scope(jobs).items():
            found |= self._find(series, str(application), runs)
        return in_order(jobs, found)

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """One CancelJobRun for each run, about one a second. EMR Serverless has no place for ``reason``."""
        grace = 0 if force and self.can_escalate else self.shutdown_grace_period
        series, jobs = self.patience.started(), list(dict.fromkeys(jobs))
        requests = [[run] for runs in by_scope(jobs).values() for run in runs]
        return as_asked(jobs, in_turn(requests, lambda runs: [self._cancel_one(series, runs[0], grace)]))

    def scopes(self) -> Iterator[str]:
        """Applications that are neither being made nor stopped nor deleted."""
        pages = self._pages(
            self.patience.started(),
            "ListApplications",
            f"region {self.region}",
            token=("nextToken", "nextToken"),
            maxResults=APPLICATIONS_PER_PAGE,
            states=self._states("ApplicationState", IDLE),
        )
        for page in pages:
            yield from (application["id"] for application in page["applications"])

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        self._check(self.scope_word, self.scope_pattern, scope)
        for page in self._listed(self.patience.started(), scope, **self._live):
            yield from named(page, name_prefix)

    @property
    def _live(self) -> dict[str, list[str]]:
        """The filter for runs that have not ended."""
        return {"states": self._states("JobRunState", ENDS, STATES)}

    def _cancel_one(self, series: Persistence, run: RemoteJob, grace: int | None) -> CancelResult:
        options = {} if grace is None else {"shutdownGracePeriodInSeconds": grace}
        try:
            self._call(series, "CancelJobRun", str(run), applicationId=run.scope, jobRunId=run.id, **options)
        except ServiceError as error:
            if error.code == _UNKNOWN:
                return CancelResult(run, CancelOutcome.GONE, str(error), error.code)
            if error.code == _INVALID:
                return self._explain(series, run, error, grace)
            raise
        return CancelResult(run, CancelOutcome.REQUESTED)

    def _explain(
        self, series: Persistence, run: RemoteJob, error: ServiceError, grace: int | None
    ) -> CancelResult:
        """What a refusal means: mostly that the run has ended, which the service calls invalid."""
        words = str(error)
        try:
            seen = self._get(series, run)
        except ServiceError as failure:
            # The refusal's own words have to do. Where looking is only not possible now, it is asked again.
            return CancelResult(run, outcome_after(failure), words, error.code)
        status = self._status(seen) if seen else JobStatus(run, JobState.GONE)
        if outcome := outcome_of(status):
            return CancelResult(run, outcome, status.reason or words, error.code)
        if grace is not None:
            release = (seen or {}).get("releaseLabel")
            words += f" shutdown_grace_period is {grace} s, and needs EMR 7.9.0; the run is on {release}."
        return CancelResult(run, CancelOutcome.REFUSED, words, error.code)

    def _find(
        self, series: Persistence, application: str, runs: Sequence[RemoteJob]
    ) -> dict[RemoteJob, JobStatus]:
        found: dict[RemoteJob, JobStatus] = {}
        if len(runs) > WORTH_LISTING:
            try:
                found = self._find_listed(series, application, runs)
            except ServiceError as error:
                if error.code == _UNKNOWN:
                    # An application is deleted only when nothing runs in it.
                    return {}
                if error.code != _INVALID:
                    raise
        for run in runs:
            if run not in found and (seen := self._get(series, run)):
                found |= pick([run], [[self._claim(seen)]])
        return found

    def _find_listed(
        self, series: Persistence, application: str, runs: Sequence[RemoteJob]
    ) -> dict[RemoteJob, JobStatus]:
        live = self._listed(series, application, **self._live)
        found = pick(runs, islice(live, len(runs) // WORTH_LISTING))
        missing = [run for run in runs if run not in found]
        # Newest first: the rest has mostly just ended, and is near the top.
        recent = self._listed(series, application)
        return found | pick(missing, islice(recent, len(missing) // RUNS_PER_PAGE + 2 if missing else 0))

    def _get(self, series: Persistence, run: RemoteJob) -> dict[str, Any] | None:
        try:
            answer = self._call(series, "GetJobRun", str(run), applicationId=run.scope, jobRunId=run.id)
        except ServiceError as error:
            if error.code == _UNKNOWN:
                return None
            raise
        seen: dict[str, Any] = answer["jobRun"]
        return seen

    def _listed(self, series: Persistence, application: str, **filters: Any) -> Iterator[list[JobStatus]]:
        pages = self._pages(
            series,
            "ListJobRuns",
            application,
            token=("nextToken", "nextToken"),
            applicationId=application,
            maxResults=RUNS_PER_PAGE,
            **filters,
        )
        return ([self._claim(run) for run in page["jobRuns"]] for page in pages)

    def _claim(self, run: dict[str, Any]) -> JobStatus:
        return submitted(labelled_by_name(self._status(run)), run.get("createdAt"))

    def _status(self, run: dict[str, Any]) -> JobStatus:
        return JobStatus(
            self.address(run.get("jobRunId") or run["id"], run["applicationId"]),
            # A state that the service adds some day is a live one until it is known to be an end.
            STATES.get(run["state"], JobState.RUNNING),
            service_state=run["state"],
            reason=run.get("stateDetails") or None,
            name=run.get("name"),
        )
