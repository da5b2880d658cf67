"""Jobs of AWS Batch.

https://docs.aws.amazon.com/batch/latest/APIReference/API_TerminateJobs.html, API_CancelJobs.html,
API_DescribeJobs.html and API_ListJobs.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

from botocore import xform_name
from botocore.exceptions import ClientError

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobStatus, RemoteJob
from airflow_cancel_provider.services.addresses import trimmed
from airflow_cancel_provider.services.aws.cancel_requests import Said, in_turn, is_unclear, result_of
from airflow_cancel_provider.services.aws.errors import error_code, error_words
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.base import LONGEST_REASON, batches, chunks
from airflow_cancel_provider.services.batch.states import (
    ANSWERS,
    ENDS,
    JOB_ID,
    NO_QUEUE,
    QUEUE_ENDS,
    SERVICE_QUEUE,
    STATES,
    JobAnswer,
    answer_of,
    gone,
    needless,
    status_of,
)
from airflow_cancel_provider.services.batch.submission import QUOTAS
from airflow_cancel_provider.services.cancel_requests import REQUESTS_AT_ONCE
from airflow_cancel_provider.services.progress import advance
from airflow_cancel_provider.services.results import as_asked, in_order, named
from airflow_cancel_provider.services.retry import CallSeries, Patience
from airflow_cancel_provider.services.threads import side_by_side

JOBS_PER_LOOKUP = 100
QUEUES_PER_PAGE = 100
JOBS_PER_CANCEL = 50
DEFAULT_REASON = "Cancelled on request."

_QUEUE = re.compile(r"(?:arn:[^\s/]+:batch:[^\s/]+:job-queue/)?[A-Za-z0-9_-]{1,128}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)

# How an endpoint says that it does not have an operation: plainly, or as a gateway that has no such path.
_NO_BULK = {"404", "UnknownOperationException", "UnknownOperation", "MissingAuthenticationTokenException"}
_Answers = dict[RemoteJob, JobAnswer]


class _NoBulkError(Exception):
    """The endpoint has no TerminateJobs, or no CancelJobs."""


class BatchJobService(AwsJobService):
    """Jobs, array jobs and their children, multi-node jobs; a job id stands alone.

    The parent of an array takes its children along. A job that depends on others shows CANCELLING until
    these have ended.

    :param pending_only: leave alone what has started; a forced cancel still takes everything.
    """

    name = "batch"
    iam_prefix = "batch"
    iam_actions: ClassVar[dict[str, str]] = {"TerminateJobs": "TerminateJob", "CancelJobs": "CancelJob"}
    scope_word = None
    scope_pattern = None
    scope_example = None
    id_word = "job id"
    quotas = QUOTAS
    id_pattern = JOB_ID
    id_example = "00000000-0000-0000-0000-000000000000"
    cancel_probe = ("TerminateJob", None, "jobId")
    answers = ANSWERS
    subjects: ClassVar[dict[str, dict[str, str]]] = {"DescribeJobs": {"jobs": "jobs.jobId"}}

    def __init__(
        self,
        client: Any,
        *,
        conn_id: str | None = None,
        patience: Patience | None = None,
        pending_only: bool = False,
    ) -> None:
        super().__init__(client, conn_id=conn_id, patience=patience)
        self.pending_only = pending_only
        self._single_only: set[str] = set()

    def describe(self, jobs: Iterable[RemoteJob]) -> list[JobStatus]:
        """One DescribeJobs for each 100 jobs."""
        jobs, series, seen = list(dict.fromkeys(jobs)), self.patience.started(), _Answers()
        lookups = list(_lookups(jobs))
        answers = side_by_side(partial(self._described_twice, series), lookups, REQUESTS_AT_ONCE, 1)
        for asked, found in zip(lookups, answers, strict=True):
            seen |= found
            advance(len(asked))
        return in_order(jobs, {job: each.status for job, each in seen.items()})

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """One DescribeJobs for each 100 jobs, one TerminateJobs for each 50 that are to end.

        Where the client or the endpoint has no TerminateJobs: one TerminateJob for each. With
        ``pending_only``, and without ``force``, it is CancelJobs and CancelJob.

        :param reason: shown as the jobs' statusReason; the first 1,024 characters are sent.
        """
        jobs, series = list(dict.fromkeys(jobs)), self.patience.started(urgent=True)
        gently = self.pending_only and not force
        seen, unknown = self._described_before(jobs)
        settled = [
            result
            for job, each in seen.items()
            if (result := needless(each, gently=gently, asked=job in self._unsure))
        ]
        done = {result.job for result in settled}
        operation = "CancelJob" if gently else "TerminateJob"
        # What Batch does not know may have been submitted a moment ago, so it is sent, too.
        to_send = [job for job in jobs if job not in done]
        sent = self._send(series, operation, to_send, reason.strip()[:LONGEST_REASON] or DEFAULT_REASON)
        sent = [gone(result) if result.job in unknown else result for result in sent]
        unclear = {result.job: result for result in sent if is_unclear(result)}
        return as_asked(jobs, self._settled([*settled, *sent, *self._explained(series, unclear)]))

    def scopes(self) -> Iterator[str]:
        """Names of the queues, also of those that take or start no more jobs; not those for service jobs."""
        pages = self._pages(
            self.patience.started(),
            "DescribeJobQueues",
            f"region {self.region}",
            maxResults=QUEUES_PER_PAGE,
        )
        for page in pages:
            yield from (
                queue["jobQueueName"]
                for queue in page["jobQueues"]
                if queue.get("status") not in QUEUE_ENDS and queue.get("jobQueueType") != SERVICE_QUEUE
            )

    def claims(self, scope: str) -> Iterator[JobStatus]:
        """As every service's, with one DescribeJobs for each 100 jobs: no listing shows their labels."""

        def described(some: Sequence[JobStatus]) -> list[JobStatus]:
            seen = self._described(self.patience.started(), [claim.job for claim in some])
            return [seen[claim.job].status if claim.job in seen else claim for claim in some]

        listed = batches(self._alive(self.place(scope)), JOBS_PER_LOOKUP)
        for claims in side_by_side(described, listed, REQUESTS_AT_ONCE):
            yield from (claim for claim in claims if not claim.state.is_terminal)

    def place(self, scope: Any) -> str:
        """As every service's: a queue."""
        plain = trimmed(_QUEUE, scope)
        if not isinstance(plain, str) or not _QUEUE.fullmatch(plain):
            raise InvalidInput(f"{scope!r} is neither the name nor the ARN of a Batch job queue.")
        return plain

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        """Jobs of a queue, by name or ARN; of an array its parent only."""
        if name_prefix:
            yield from self._alive_named(scope, name_prefix)
            return
        series, known = self.patience.started(), set[str]()
        # In the order in which a job goes through them, so that one that moves on meanwhile is not missed.
        for state in self._states("JobStatus", ENDS, STATES):
            for claim in self._listed(series, scope, jobStatus=state):
                if claim.job.id not in known:
                    known.add(claim.job.id)
                    yield claim

    def _alive_named(self, queue: str, prefix: str) -> Iterator[JobStatus]:
        if not _NAME.fullmatch(prefix):
            raise InvalidInput(f"{prefix!r} cannot begin the name of a Batch job.")
        filters = [{"name": "JOB_NAME", "values": [f"{prefix}*"]}]
        found = self._listed(self.patience.started(), queue, filters=filters)
        # The filter ignores case, and also finds jobs that have ended.
        return (claim for claim in named(found, prefix) if not claim.state.is_terminal)

    def _listed(self, series: CallSeries, queue: str, **wanted: Any) -> Iterator[JobStatus]:
        for page in self._pages(series, "ListJobs", queue, jobQueue=queue, **wanted):
            for job in page["jobSummaryList"]:
                yield status_of(self.address(job["jobId"]), job)

    def _described(self, series: CallSeries, jobs: Sequence[RemoteJob]) -> _Answers:
        """What Batch shows of the jobs; what it does not know is left out."""
        ids = list(dict.fromkeys(job.id for job in jobs))
        answers = self._call(series, "DescribeJobs", _all(jobs), jobs=ids)["jobs"]
        # Of a job that is shown twice, in doubt it lives.
        answers.sort(key=lambda answer: answer["status"] not in ENDS)
        by_id = {answer["jobId"]: answer for answer in answers}
        seen = {job: answer_of(job, by_id[job.id]) for job in jobs if job.id in by_id}
        for each in seen.values():
            self._noted(each.status)
        return seen

    def _described_twice(self, series: CallSeries, jobs: Sequence[RemoteJob]) -> _Answers:
        """The same. What is missing is asked for once more: a job is unknown by nothing but its absence."""
        seen = self._described(series, jobs)
        missing = [job for job in jobs if job not in seen]
        return seen | (self._described(series, missing) if missing else {})

    def _find(self, series: CallSeries, scope: str, jobs: Sequence[RemoteJob]) -> dict[RemoteJob, JobStatus]:
        found: dict[RemoteJob, JobStatus] = {}
        for some in _lookups(jobs):
            found |= {job: each.status for job, each in self._described_twice(series, some).items()}
        return found

    def _described_before(self, jobs: Sequence[RemoteJob]) -> tuple[_Answers, set[RemoteJob]]:
        """What Batch says of the jobs, and the jobs it says that it does not know."""
        seen, asked_for = _Answers(), set[RemoteJob]()
        for some, found in self._seen_before(list(_lookups(jobs)), self._described_twice):
            if isinstance(found, dict):
                seen |= found
                asked_for.update(some)
        return seen, asked_for - set(seen)

    def _send(
        self, series: CallSeries, operation: str, jobs: Sequence[RemoteJob], reason: str
    ) -> list[CancelResult]:
        def ask(some: Sequence[RemoteJob]) -> list[CancelResult]:
            with self._asking(some):
                if self._has_bulk(operation):
                    return self._send_bulk(series, operation, some, reason)
                if len(some) > 1:  # another request has shown since that there are no bulk calls
                    return self._send(series, operation, some, reason)
                self._call(series, operation, str(some[0]), jobId=some[0].id, reason=reason)
                return [CancelResult(some[0], CancelOutcome.REQUESTED)]

        return in_turn(self._portions(operation, jobs), ask)

    def _portions(self, operation: str, jobs: Sequence[RemoteJob]) -> Iterator[Sequence[RemoteJob]]:
        while jobs:
            size = JOBS_PER_CANCEL if self._has_bulk(operation) else 1
            yield jobs[:size]
            jobs = jobs[size:]

    def _has_bulk(self, operation: str) -> bool:
        # botocore has CancelJobs and TerminateJobs from 1.43.93 on.
        return operation not in self._single_only and hasattr(self.client, xform_name(f"{operation}s"))

    def _send_bulk(
        self, series: CallSeries, operation: str, jobs: Sequence[RemoteJob], reason: str
    ) -> list[CancelResult]:
        bulk = f"{operation}s"
        try:
            said = self._asked_together(
                series, bulk, _all(jobs), jobs, lambda ids: self._ask(bulk, ids, reason)
            )
        except _NoBulkError:
            self._single_only.add(operation)
            return self._send(series, operation, jobs, reason)
        return [result_of(job, said.get(job.id), f"{self.iam_prefix}:{operation}") for job in jobs]

    def _ask(self, bulk: str, ids: list[str], reason: str) -> dict[str, Said]:
        try:
            answer = self._request(bulk, jobs=ids, reason=reason)
        except ClientError as error:
            if error_code(error) in _NO_BULK:
                raise _NoBulkError(error_words(error)) from error
            raise
        taken: dict[str, Said] = {job: {} for job in answer.get("successful") or []}
        return taken | {error["job"]: error for error in answer.get("errors") or []}

    def _is_unknown_scope(self, operation: str, error: Exception) -> bool:
        return (
            operation == "ListJobs"
            and error_code(error) == "ClientException"
            and bool(NO_QUEUE.search(error_words(error)))
        )


def _lookups(jobs: Sequence[RemoteJob]) -> Iterator[Sequence[RemoteJob]]:
    return chunks(jobs, JOBS_PER_LOOKUP)


def _all(jobs: Sequence[RemoteJob]) -> str:
    return str(jobs[0]) if len(jobs) == 1 else f"{len(jobs)} jobs ({jobs[0]} …)"
