"""Job runs of Amazon EMR Serverless applications.

https://docs.aws.amazon.com/emr-serverless/latest/APIReference/API_CancelJobRun.html, API_GetJobRun.html
and API_ListJobRuns.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, ClassVar

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    IdentityError,
    InvalidInput,
    ServiceError,
    UnknownScope,
)
from airflow_cancel_provider.jobs import (
    CancelOutcome,
    CancelResult,
    JobState,
    JobStatus,
    RemoteJob,
    by_scope,
)
from airflow_cancel_provider.services.aws.errors import error_code
from airflow_cancel_provider.services.aws.service import (
    AwsJobService,
    in_turn,
    is_malformed,
    pick,
    pick_listed,
)
from airflow_cancel_provider.services.base import (
    as_asked,
    labelled_by_name,
    named,
    outcome_after,
    outcome_of,
    submitted,
    undone,
)
from airflow_cancel_provider.services.emr_serverless.states import ANSWERS, ENDS, IDLE, RUN_ID, STATES
from airflow_cancel_provider.services.ratelimit import Quotas
from airflow_cancel_provider.services.retry import CallSeries, Patience

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
    scope_pattern = RUN_ID
    id_word = "job run id"
    quotas: ClassVar[Quotas] = {
        "CancelJobRun": (25, 1.0),
        "ListJobRuns": (25, 1.0),
        "GetJobRun": (50, 10.0),
        "ListApplications": (50, 10.0),
        "GetApplication": (50, 10.0),
    }
    look_operation = "ListJobRuns"
    id_pattern = RUN_ID
    answers = ANSWERS
    subjects: ClassVar[dict[str, dict[str, str]]] = {
        "CancelJobRun": {"applicationId": "applicationId", "jobRunId": "jobRunId"},
        "GetJobRun": {"applicationId": "jobRun.applicationId", "jobRunId": "jobRun.jobRunId"},
        "ListJobRuns": {"applicationId": "jobRuns.applicationId"},
        "GetApplication": {"applicationId": "application.applicationId"},
    }

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
        self._known: set[str] = set()
        """Applications that the service knows."""

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """One CancelJobRun for each run that lives, about one a second, after a look, which is cheaper.

        EMR Serverless has no place for ``reason``, and ignores a second request for a run that is ending.
        With ``force`` a run has no grace period.
        """
        grace = 0 if force and self.shutdown_grace_period else self.shutdown_grace_period
        series, jobs = self.patience.started(), list(dict.fromkeys(jobs))
        results = self._needless(jobs)
        requests = [[run] for runs in by_scope(jobs).values() for run in runs if run not in results]

        def ask(runs: Sequence[RemoteJob]) -> list[CancelResult]:
            return [self._cancel_one(series, runs[0], grace)]

        return as_asked(jobs, self._settled([*results.values(), *in_turn(requests, ask)]))

    def _needless(self, jobs: Sequence[RemoteJob]) -> dict[RemoteJob, CancelResult]:
        """Results for runs that need no request: ended, ending, or of an unknown application."""
        results: dict[RemoteJob, CancelResult] = {}
        series = self.patience.brief.started()
        for application, runs in by_scope(jobs).items():
            try:
                found = self._find(series, str(application), runs)
            except UnknownScope as error:
                results |= {result.job: result for result in undone(runs, error)}
            except ServiceError as error:
                # Cancelling without having looked does no harm; not cancelling does.
                if not is_malformed(error):
                    break
            else:
                outcomes = {run: outcome_of(s, asked=run in self._unsure) for run, s in found.items()}
                over = {run: outcome for run, outcome in outcomes.items() if outcome}
                results |= {
                    run: CancelResult(run, outcome, found[run].reason) for run, outcome in over.items()
                }
        return results

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
            found = [application["id"] for application in page["applications"]]
            self._known.update(found)
            yield from found

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        self._check(self.scope_word, self.scope_pattern, scope)
        series = self.patience.started()
        try:
            for page in self._listed(series, scope, **self._live):
                yield from named(page, name_prefix)
        except ServiceError as error:
            if error.code == _INVALID:
                self._check_known(series, scope)
            raise
        self._check_known(series, scope)

    @property
    def _live(self) -> dict[str, list[str]]:
        """The filter for runs that have not ended."""
        return {"states": self._states("JobRunState", ENDS, STATES)}

    def _cancel_one(self, series: CallSeries, run: RemoteJob, grace: int | None) -> CancelResult:
        options = {} if grace is None else {"shutdownGracePeriodInSeconds": grace}
        about = {"applicationId": run.scope, "jobRunId": run.id}
        try:
            with self._asking([run]):
                self._call(series, "CancelJobRun", str(run), **about, **options)
        except ServiceError as error:
            if error.code == _UNKNOWN:
                self._check_known(series, str(run.scope), str(error))
                return CancelResult(run, CancelOutcome.GONE, str(error), error.code)
            if error.code == _INVALID:
                return self._explain(series, run, error, grace)
            raise
        return CancelResult(run, CancelOutcome.REQUESTED)

    def _explain(
        self, series: CallSeries, run: RemoteJob, error: ServiceError, grace: int | None
    ) -> CancelResult:
        """What a refusal means: mostly that the run has ended, which the service calls invalid."""
        words = str(error)
        try:
            seen = self._get(series, run)
        except ServiceError as failure:
            # The refusal's own words have to do. Where looking is only not possible now, it is asked again.
            return CancelResult(run, outcome_after(failure), words, error.code)
        status = self._status(seen) if seen else JobStatus(run, JobState.GONE)
        if outcome := outcome_of(status, asked=run in self._unsure):
            return CancelResult(run, outcome, status.reason or words, error.code)
        if grace is not None:
            release = (seen or {}).get("releaseLabel")
            words += f" shutdown_grace_period is {grace} s, and needs EMR 7.9.0; the run is on {release}."
        return CancelResult(run, CancelOutcome.REFUSED, words, error.code)

    def _find(
        self, series: CallSeries, application: str, runs: Sequence[RemoteJob]
    ) -> dict[RemoteJob, JobStatus]:
        """One GetJobRun for each run of a small group; for many, the application's live runs by 50 first."""
        found: dict[RemoteJob, JobStatus] = {}
        if len(runs) > WORTH_LISTING:
            live, recent = (self._listed(series, application, **some) for some in (self._live, {}))
            try:
                found = pick_listed(runs, islice(live, len(runs) // WORTH_LISTING), recent, RUNS_PER_PAGE)
            except ServiceError as error:
                if error.code != _INVALID:
                    raise
        for run in runs:
            if run not in found and (seen := self._get(series, run)):
                found |= pick([run], [[self._claim(seen)]])
        return found

    def _get(self, series: CallSeries, run: RemoteJob) -> dict[str, Any] | None:
        try:
            answer = self._call(series, "GetJobRun", str(run), applicationId=run.scope, jobRunId=run.id)
        except ServiceError as error:
            if error.code == _UNKNOWN:
                self._check_known(series, str(run.scope), str(error))
                return None
            raise
        self._known.add(str(run.scope))
        seen: dict[str, Any] = answer["jobRun"]
        return seen

    def _listed(self, series: CallSeries, application: str, **filters: Any) -> Iterator[list[JobStatus]]:
        pages = self._pages(
            series,
            "ListJobRuns",
            application,
            token=("nextToken", "nextToken"),
            applicationId=application,
            maxResults=RUNS_PER_PAGE,
            **filters,
        )
        for page in pages:
            if page["jobRuns"]:
                self._known.add(application)
            yield [self._claim(run) for run in page["jobRuns"]]

    def _check_known(self, series: CallSeries, application: str, said: str = "") -> None:
        """Make sure that it is only a run that the service does not know, and not its application.

        :param said: what the service says of the run, which has to do where the identity may not ask.
        :raises UnknownScope: the service does not know the application.
        """
        if application in self._known:
            return
        try:
            self._call(series, "GetApplication", application, applicationId=application)
        except IdentityError:
            raise
        except AccessDenied:
            if re.search(rf"\bapplication\b\W+{application}\b", said.partition(_UNKNOWN)[2], re.I):
                raise UnknownScope(said, "GetApplication", _UNKNOWN) from None
        self._known.add(application)

    def _is_unknown_scope(self, operation: str, error: Exception) -> bool:
        return operation in ("ListJobRuns", "GetApplication") and error_code(error) == _UNKNOWN

    def _claim(self, run: dict[str, Any]) -> JobStatus:
        return submitted(labelled_by_name(self._status(run)), run.get("createdAt"))

    def _status(self, run: dict[str, Any]) -> JobStatus:
        return JobStatus(
            self.address(run.get("jobRunId") or run["id"], run["applicationId"]),
            # A state that is not in the table counts as running: it may be a new one.
            STATES.get(run["state"], JobState.RUNNING),
            service_state=run["state"],
            reason=run.get("stateDetails") or None,
            name=run.get("name"),
        )
