"""Job runs: what the services whose jobs are the runs of an application share.

One request cancels one run, one describes one run, and a listing shows an application's runs, newest first.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from typing import Any, ClassVar

from airflow_cancel_provider.exceptions import AccessDenied, IdentityError, ServiceError, UnknownScope
from airflow_cancel_provider.jobs import (
    CancelOutcome,
    CancelResult,
    JobState,
    JobStatus,
    RemoteJob,
    by_scope,
)
from airflow_cancel_provider.services.aws.cancel_requests import in_turn, is_refusal
from airflow_cancel_provider.services.aws.errors import error_code
from airflow_cancel_provider.services.aws.pages import pick, pick_listed
from airflow_cancel_provider.services.aws.service import POLLS_AT_ONCE, AwsJobService
from airflow_cancel_provider.services.polls import FULL_EVERY, PollMemory
from airflow_cancel_provider.services.results import as_asked, in_order, named, outcome_of, undone
from airflow_cancel_provider.services.retry import CallSeries
from airflow_cancel_provider.services.threads import side_by_side

RUNS_PER_PAGE = 50

_CANCEL, _LIST = "CancelJobRun", "ListJobRuns"
_UNKNOWN = "ResourceNotFoundException"
INVALID = "ValidationException"


class JobRunService(AwsJobService):
    """Job runs, by what they are part of: an application, or a virtual cluster."""

    scope_param: ClassVar[str]
    """Parameter with the scope in calls about runs."""
    run_param: ClassVar[str]
    """Parameter with a run's id."""
    run_operation: ClassVar[str]
    """Operation that shows one run."""
    scope_operation: ClassVar[tuple[str, str]]
    """Operation that shows a scope, and its parameter."""
    scope_listing: ClassVar[tuple[str, str]]
    """Operation that lists the scopes, and the list in its answer."""
    scope_states: ClassVar[tuple[str, Container[str]]]
    """Enumeration of a scope's states in the client's model, and those in which no run lives."""
    page_size: ClassVar[Mapping[str, int]] = {}
    """Parameter that sets the size of pages; empty: the service decides."""
    created_after: ClassVar[str]
    """Parameter of the listing: only runs created since then."""
    states: ClassVar[Mapping[str, JobState]]
    """The service's states of runs in the common words."""
    poll_operation = _LIST

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """One CancelJobRun for each run that lives, as far as it was described before.

        The service has no place for ``reason``, and a second request changes nothing for a run that is
        ending.
        """
        series, jobs = self.patience.started(urgent=True), list(dict.fromkeys(jobs))
        results, options = self._needless(jobs), self._cancel_options(force=force)
        requests = [[run] for runs in by_scope(jobs).values() for run in runs if run not in results]

        def ask(runs: Sequence[RemoteJob]) -> list[CancelResult]:
            return [self._cancel_one(series, runs[0], options)]

        return as_asked(jobs, self._settled([*results.values(), *in_turn(requests, ask)]))

    def poll_open(
        self,
        jobs: Sequence[RemoteJob],
        memory: PollMemory,
        fresh: Collection[RemoteJob],
        *,
        may_leave_out: bool,
    ) -> list[JobStatus]:
        """As every service; where the quota is too small, only the runs that have ended.

        What is left out then: news of runs that have not.
        """
        if may_leave_out and memory.may_leave_out(jobs, fresh):
            before = self.poll_calls
            found = self._ended(self.patience.started(), jobs, memory, fresh)
            if found is not None:
                memory.note(found.values(), self.poll_calls - before, is_full=False)
                return in_order(jobs, memory.filled(jobs, found))
            memory.fulls_left = FULL_EVERY
        return super().poll_open(jobs, memory, fresh, may_leave_out=may_leave_out)

    def _ended(
        self,
        series: CallSeries,
        runs: Sequence[RemoteJob],
        memory: PollMemory,
        fresh: Collection[RemoteJob],
    ) -> dict[RemoteJob, JobStatus] | None:
        """Runs that ended, of those created since the oldest one; None where these are too many pages."""
        needed, scope = memory.needed(runs, fresh), str(runs[0].scope)
        others = [run for run in runs if run not in set(needed)]
        since = [memory.seen[run.id].submitted_at for run in others]
        found = {run: self._get_status(series, run) for run in needed}
        if not since:
            return found
        if None in since:
            return None
        begin = min(filter(None, since)) - timedelta(seconds=1)
        ends = {"states": [state for state, common in self.states.items() if common.is_terminal]}
        pages = self._listed(series, scope, **ends, **{self.created_after: begin})
        within = list(islice(pages, memory.most_calls))
        if next(pages, None) is not None:
            return None
        return found | pick(others, within)

    def _get_status(self, series: CallSeries, run: RemoteJob) -> JobStatus:
        return self._get(series, run) or JobStatus(run, JobState.GONE)

    def scopes(self) -> Iterator[str]:
        """Those in which a run may live."""
        (operation, items), (shape, idle) = self.scope_listing, self.scope_states
        pages = self._pages(
            self.patience.started(),
            operation,
            f"region {self.region}",
            states=self._states(shape, idle),
            **self.page_size,
        )
        for page in pages:
            found = [scope["id"] for scope in page[items]]
            self._known.update(found)
            yield from found

    def _cancel_options(self, *, force: bool) -> dict[str, Any]:
        """Parameters of a cancel request beside the run."""
        return {}

    def _refusal_help(self, options: Mapping[str, Any]) -> str:
        """What else may be why a run that lives is not cancelled."""
        return ""

    @abstractmethod
    def _claim(self, run: dict[str, Any]) -> JobStatus:
        """A run as a reply shows it, with label and time of submission."""

    def _status(self, scope: str, id: str, run: Mapping[str, Any], reason: str | None) -> JobStatus:
        status = JobStatus(
            self.address(id, scope),
            # A state that the service adds some day is a live one until it is known to be an end.
            self.states.get(run["state"], JobState.RUNNING),
            service_state=run["state"],
            reason=reason or None,
            name=run.get("name"),
        )
        return self._noted(status)

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        series = self.patience.started()
        try:
            for page in self._listed(series, scope, **self._live):
                yield from named(page, name_prefix)
        except ServiceError as error:
            if error.code == INVALID:
                self._check_known(series, scope)
            raise
        self._check_known(series, scope)

    @property
    def _live(self) -> dict[str, list[str]]:
        """The filter for runs that have not ended."""
        ends = {state for state, common in self.states.items() if common.is_terminal}
        return {"states": self._states("JobRunState", ends, self.states)}

    def _needless(self, jobs: Sequence[RemoteJob]) -> dict[RemoteJob, CancelResult]:
        """Results for runs that need no request: ended, ending, or of an unknown scope."""
        results: list[CancelResult] = []

        def described(series: CallSeries, runs: Sequence[RemoteJob]) -> dict[RemoteJob, JobStatus]:
            return self._find(series, str(runs[0].scope), runs)

        for runs, found in self._seen_before(list(by_scope(jobs).values()), described):
            if isinstance(found, UnknownScope):
                results += undone(runs, found)
                continue
            for run, status in found.items():
                if outcome := outcome_of(status, asked=run in self._unsure):
                    results.append(CancelResult(run, outcome, status.reason))
        return {result.job: result for result in results}

    def _cancel_one(self, series: CallSeries, run: RemoteJob, options: Mapping[str, Any]) -> CancelResult:
        try:
            with self._asking([run]):
                self._call(series, _CANCEL, str(run), **self._about(run), **options)
        except ServiceError as error:
            if error.code == _UNKNOWN:
                self._check_known(series, str(run.scope), str(error))
                return CancelResult(run, CancelOutcome.GONE, str(error), error.code)
            if is_refusal(error):
                refused = CancelResult(run, CancelOutcome.REFUSED, str(error), error.code)
                return self._explained(series, {run: refused}, lambda: self._refusal_help(options))[0]
            raise
        return CancelResult(run, CancelOutcome.REQUESTED)

    def _find(self, series: CallSeries, scope: str, runs: Sequence[RemoteJob]) -> dict[RemoteJob, JobStatus]:
        """One call for each run of a small group; for many, a scope's live runs page by page first."""
        found: dict[RemoteJob, JobStatus] = {}
        if self._is_listed(len(runs)):
            live, recent = (self._listed(series, scope, **some) for some in (self._live, {}))
            try:
                found = pick_listed(
                    runs, islice(live, max(1, len(runs) // self.worth_listing)), recent, RUNS_PER_PAGE
                )
            except ServiceError as error:
                if error.code != INVALID:
                    raise
        missing = [run for run in runs if run not in found]
        answers = side_by_side(
            lambda run: self._get(series, run), missing, min(len(missing), POLLS_AT_ONCE), 1
        )
        for run, seen in zip(missing, answers, strict=True):
            found |= {run: seen} if seen else {}
        return found

    def _get(self, series: CallSeries, run: RemoteJob) -> JobStatus | None:
        try:
            answer = self._call(series, self.run_operation, str(run), **self._about(run))
        except ServiceError as error:
            if error.code == _UNKNOWN:
                self._check_known(series, str(run.scope), str(error))
                return None
            raise
        self._known.add(str(run.scope))
        return replace(self._claim(answer["jobRun"]), job=run)

    def _listed(self, series: CallSeries, scope: str, **filters: Any) -> Iterator[list[JobStatus]]:
        asked = {self.scope_param: scope, **self.page_size, **filters}
        for page in self._pages(series, _LIST, scope, **asked):
            if page["jobRuns"]:
                self._known.add(scope)
            yield [self._claim(run) for run in page["jobRuns"]]

    def _check_known(self, series: CallSeries, scope: str, said: str = "") -> None:
        """Make sure that it is only a run that the service does not know, and not its scope.

        :param said: what the service says of a run; where the identity may not ask for the scope, the run may
            live in another account.
        :raises UnknownScope: the service does not know the scope, or does not say whether it does.
        """
        if scope in self._known:
            return
        operation, param = self.scope_operation
        try:
            self._call(series, operation, scope, **{param: scope})
        except IdentityError:
            raise
        except AccessDenied as error:
            if said:
                raise UnknownScope(f"{said} {error}", operation, _UNKNOWN) from error
        else:
            self._known.add(scope)

    def _is_unknown_scope(self, operation: str, error: Exception) -> bool:
        return operation in (_LIST, self.scope_operation[0]) and error_code(error) == _UNKNOWN

    def _about(self, run: RemoteJob) -> dict[str, Any]:
        return {self.scope_param: run.scope, self.run_param: run.id}
