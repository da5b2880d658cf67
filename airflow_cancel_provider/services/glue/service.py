"""Job runs of AWS Glue.

https://docs.aws.amazon.com/glue/latest/webapi/API_BatchStopJobRun.html, API_GetJobRun.html,
API_GetJobRuns.html and API_ListJobs.html.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError, UnknownScope
from airflow_cancel_provider.jobs import CancelResult, JobStatus, RemoteJob, by_scope
from airflow_cancel_provider.services.aws.cancel_requests import Said, in_turn, is_unclear, result_of
from airflow_cancel_provider.services.aws.errors import error_code
from airflow_cancel_provider.services.aws.pages import pick
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.base import chunks
from airflow_cancel_provider.services.glue.states import (
    ANSWERS,
    JOB_NAME,
    RUN_ID,
    is_long_over,
    said_of,
    status_of,
)
from airflow_cancel_provider.services.glue.submission import QUOTAS
from airflow_cancel_provider.services.results import as_asked, undone
from airflow_cancel_provider.services.retry import CallSeries

RUNS_PER_STOP = 25
RUNS_PER_PAGE = 200
JOBS_PER_PAGE = 1000

_UNKNOWN = "EntityNotFoundException"


class GlueJobRunService(AwsJobService):
    """Job runs, by the name of their job."""

    name = "glue"
    iam_prefix = "glue"
    scope_word = "job_name"
    scope_pattern = JOB_NAME
    scope_example = "no-such-job"
    id_word = "job run id"
    id_pattern = RUN_ID
    id_example = "jr_0000000000000000000000000000000000000000000000000000000000000000"
    cancel_probe = ("BatchStopJobRun", "JobName", "JobRunIds")
    quotas = QUOTAS
    worth_listing = 10
    """Above so many runs a job's newest runs are listed: a page shows 200."""
    answers = ANSWERS
    next_page = "NextToken"
    subjects: ClassVar[dict[str, dict[str, str]]] = {"GetJobRun": {"RunId": "JobRun.Id"}}

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """One BatchStopJobRun for each 25 runs of a job. Glue has no place for ``reason``.

        Describing first would take a request for each run. What Glue refuses is described: it may have ended.
        """
        series, jobs = self.patience.started(urgent=True), list(dict.fromkeys(jobs))
        requests = [some for runs in by_scope(jobs).values() for some in chunks(runs, RUNS_PER_STOP)]
        results = in_turn(requests, lambda runs: self._stop(series, runs))
        unclear = {result.job: result for result in results if is_unclear(result)}
        return as_asked(jobs, self._settled([*results, *self._explained_all(series, unclear)]))

    def scopes(self) -> Iterator[str]:
        """Names of the jobs. Which of them have runs, Glue does not tell."""
        pages = self._pages(
            self.patience.started(),
            "ListJobs",
            f"region {self.region}",
            MaxResults=JOBS_PER_PAGE,
        )
        for page in pages:
            yield from page["JobNames"]

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        """Runs that live. Glue lists all, the newest first; the pages end where no older one can live."""
        if name_prefix:
            raise InvalidInput(f"name_prefix is {name_prefix!r}; runs of a Glue job have no names.")
        now = datetime.now(UTC)
        for runs in self._listed(self.patience.started(), scope):
            statuses = (self._status(scope, run) for run in runs)
            yield from (status for status in statuses if not status.state.is_terminal)
            if runs and all(is_long_over(run, now) for run in runs):
                return

    def _stop(self, series: CallSeries, runs: Sequence[RemoteJob]) -> list[CancelResult]:
        job, operation = str(runs[0].scope), "BatchStopJobRun"

        def send(ids: list[str]) -> dict[str, Said]:
            return said_of(self._request(operation, JobName=job, JobRunIds=ids))

        try:
            with self._asking(runs):
                said = self._asked_together(series, operation, job, runs, send)
        except ServiceError as error:
            if error.code == _UNKNOWN:
                self._check_known(series, job)
            raise
        return [result_of(run, said.get(run.id), f"glue:{operation}") for run in runs]

    def _explained_all(
        self, series: CallSeries, unclear: dict[RemoteJob, CancelResult]
    ) -> Iterator[CancelResult]:
        for runs in by_scope(unclear).values():
            try:
                yield from self._explained(series, {run: unclear[run] for run in runs})
            except UnknownScope as error:
                yield from undone(runs, error)

    def _was_unknown(self, said: CancelResult) -> bool:
        return said.code == _UNKNOWN

    def _find(self, series: CallSeries, job: str, runs: Sequence[RemoteJob]) -> dict[RemoteJob, JobStatus]:
        found: dict[RemoteJob, JobStatus] = {}
        if self._is_listed(len(runs)):
            pages = islice(self._listed(series, job), len(runs) // RUNS_PER_PAGE + 2)
            found = pick(runs, ([self._status(job, run) for run in page] for page in pages))
        for run in runs:
            if run not in found and (seen := self._get(series, run)):
                found[run] = seen
        return found

    def _get(self, series: CallSeries, run: RemoteJob) -> JobStatus | None:
        try:
            answer = self._call(series, "GetJobRun", str(run), JobName=run.scope, RunId=run.id)
        except ServiceError as error:
            if error.code != _UNKNOWN:
                raise
            self._check_known(series, str(run.scope))
            return None
        return status_of(run, answer["JobRun"])

    def _check_known(self, series: CallSeries, job: str) -> None:
        """Make sure that Glue only does not know a run, and knows its job: there is one code for both.

        :raises UnknownScope: Glue does not know the job.
        """
        if job not in self._known:
            self._call(series, "GetJobRuns", job, JobName=job, MaxResults=1)
            self._known.add(job)

    def _listed(self, series: CallSeries, job: str) -> Iterator[list[dict[str, Any]]]:
        pages = self._pages(
            series,
            "GetJobRuns",
            job,
            JobName=job,
            MaxResults=RUNS_PER_PAGE,
        )
        return (page["JobRuns"] for page in pages)

    def _status(self, job: str, run: dict[str, Any]) -> JobStatus:
        return status_of(self.address(run["Id"], job), run)

    def _is_unknown_scope(self, operation: str, error: Exception) -> bool:
        return operation == "GetJobRuns" and error_code(error) == _UNKNOWN
