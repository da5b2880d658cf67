"""What the AWS services share: describing jobs, and what becomes of cancel requests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from botocore.exceptions import ClientError

from airflow_cancel_provider.exceptions import (
    ServiceError,
    UnknownScope,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobStatus, RemoteJob, by_scope
from airflow_cancel_provider.services.aws.answers import NoAnswer
from airflow_cancel_provider.services.aws.attempts import watched
from airflow_cancel_provider.services.aws.calls import AwsCalls
from airflow_cancel_provider.services.aws.cancel_requests import (
    UNSAID,
    Said,
    is_malformed,
    is_open,
)
from airflow_cancel_provider.services.cancel_requests import REQUESTS_AT_ONCE
from airflow_cancel_provider.services.progress import advance
from airflow_cancel_provider.services.results import in_order, outcome_after, outcome_of
from airflow_cancel_provider.services.retry import CallSeries, Patience
from airflow_cancel_provider.services.threads import side_by_side

T = TypeVar("T")

POLLS_AT_ONCE = 4
"""Clusters, applications or runs that are polled side by side: each call takes tens of milliseconds."""


class AwsJobService(AwsCalls):
    """The jobs of a service of AWS."""

    cancel_probe: ClassVar[tuple[str, str | None, str]]
    """The operation that cancels a job, and its parameters for scope and id; a list of ids ends in ``s``."""

    def __init__(self, client: Any, *, conn_id: str | None = None, patience: Patience | None = None) -> None:
        super().__init__(client, conn_id=conn_id, patience=patience)
        self._unsure: set[RemoteJob] = set()
        """Jobs whose cancel request may have been carried out, although its answer was lost."""
        self._known: set[str] = set()
        """Scopes that the service knows, where it has one code for unknown scopes and unknown jobs."""

    def describe(self, jobs: Iterable[RemoteJob]) -> list[JobStatus]:
        """State of each job, some clusters or applications side by side."""
        jobs, series = list(dict.fromkeys(jobs)), self.patience.started()
        scopes = by_scope(jobs)
        answers = side_by_side(
            lambda scope: self._find(series, str(scope), scopes[scope]),
            scopes,
            min(len(scopes), POLLS_AT_ONCE),
        )
        found: dict[RemoteJob, JobStatus] = {}
        for some, seen in zip(scopes.values(), answers, strict=True):
            found |= seen
            advance(len(some))
        return in_order(jobs, found)

    def _find(self, series: CallSeries, scope: str, jobs: Sequence[RemoteJob]) -> dict[RemoteJob, JobStatus]:
        """Statuses of those of a scope's jobs that the service knows; :meth:`describe` asks for them."""
        raise NotImplementedError

    def probe_cancel(self) -> bool:
        """One request, with the ids of the examples."""
        operation, scope, ids = self.cancel_probe
        params: dict[str, Any] = {ids: [self.id_example] if ids.endswith("s") else self.id_example}
        params |= {scope: self.scope_example} if scope else {"reason": "To see whether it is permitted"}
        job = self.address(self.id_example, self.scope_example)
        self._call(self.patience.started(urgent=True), operation, str(job), **params)
        return True

    def _asked_together(
        self,
        series: CallSeries,
        operation: str,
        about: str,
        jobs: Sequence[RemoteJob],
        send: Callable[[list[str]], Mapping[str, Said]],
    ) -> dict[str, Said]:
        """What a call says of each of several jobs, repeated for those that the service was too busy for.

        :param send: makes the call for some ids; gives what the answer says, by id.
        :raises ServiceError: it failed, and nothing was said of any job.
        """
        said: dict[str, Said] = {}

        def ask() -> None:
            asked = [id_ for id_ in dict.fromkeys(job.id for job in jobs) if is_open(said.get(id_))]
            said.update({id_: words for id_, words in send(asked).items() if id_ in asked})
            if busy := [said[id_] for id_ in asked if id_ in said and is_open(said[id_])]:
                code, message = str(busy[0].get("code")), busy[0].get("message") or ""
                raise ClientError({"Error": {"Code": code, "Message": message}}, operation)
            if not said.keys() >= set(asked):
                raise NoAnswer(why=UNSAID.rstrip("."))

        try:
            self._repeat(series, operation, about, ask)
        except ServiceError:
            if not said:
                raise
        return said

    @contextmanager
    def _asking(self, jobs: Collection[RemoteJob]) -> Iterator[None]:
        """Send a cancel request for these jobs, and note whether its answer was lost."""
        with watched() as attempts:
            try:
                yield
            finally:
                if attempts.lost:
                    self._unsure.update(jobs)

    def _seen_before(
        self,
        groups: Sequence[Sequence[RemoteJob]],
        describe: Callable[[CallSeries, Sequence[RemoteJob]], T],
    ) -> Iterator[tuple[Sequence[RemoteJob], T | UnknownScope]]:
        """Describe jobs before they are cancelled, group by group, as long as there are answers.

        Cancelling what was not described does no harm; not cancelling does.
        """
        series = self.patience.brief.started(urgent=True)

        def found_of(some: Sequence[RemoteJob]) -> T | ServiceError:
            try:
                return describe(series, some)
            except ServiceError as error:
                return error

        answers = side_by_side(found_of, groups, REQUESTS_AT_ONCE, 1)
        for some, found in zip(groups, answers, strict=True):
            if isinstance(found, UnknownScope) or not isinstance(found, ServiceError):
                yield some, found
            elif not is_malformed(found):
                return

    def _explained(
        self,
        series: CallSeries,
        refused: Mapping[RemoteJob, CancelResult],
        more: Callable[[], str] = str,
    ) -> list[CancelResult]:
        """What refusals mean, after the jobs, all of one scope, were described: mostly that they have ended.

        :param more: gives words for those that live.
        :raises UnknownScope: the service does not know the scope.
        """
        if not refused:
            return []
        scope = next(iter(refused)).scope
        try:
            statuses = in_order(refused, self._find(series, str(scope), list(refused)))
        except UnknownScope:
            raise
        except ServiceError as error:
            # The refusal's own words have to do. If describing may work later, it is asked again.
            return [replace(result, outcome=outcome_after(error)) for result in refused.values()]
        outcomes = {status: outcome_of(status, asked=status.job in self._unsure) for status in statuses}
        words = more() if None in outcomes.values() else ""
        return [
            replace(said, outcome=outcome, detail=status.reason or said.detail)
            if outcome
            else self._refused(said, words)
            for status, outcome in outcomes.items()
            for said in [refused[status.job]]
        ]

    def _refused(self, said: CancelResult, words: str) -> CancelResult:
        """The refusal of a job that lives. One that was not known is shown only now, and is asked again."""
        if self._was_unknown(said):
            return replace(said, outcome=CancelOutcome.GONE)
        return replace(said, outcome=CancelOutcome.REFUSED, detail=f"{said.detail or ''} {words}".strip())

    def _was_unknown(self, said: CancelResult) -> bool:
        """Whether a refusal says that the service does not know the job."""
        return False

    def _settled(self, results: list[CancelResult]) -> list[CancelResult]:
        """The same results; what was answered is not in doubt any more."""
        self._unsure -= {result.job for result in results if result.outcome is not CancelOutcome.UNANSWERED}
        return results
