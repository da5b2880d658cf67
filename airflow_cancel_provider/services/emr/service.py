"""Steps of Amazon EMR clusters.

https://docs.aws.amazon.com/emr/latest/APIReference/API_CancelSteps.html and API_ListSteps.html.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

from airflow_cancel_provider.exceptions import InvalidInput, ServiceError, UnknownScope
from airflow_cancel_provider.jobs import (
    CancelOutcome,
    CancelResult,
    JobStatus,
    RemoteJob,
    by_scope,
)
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.aws.cancel_requests import Said, in_turn, is_refusal, is_unclear
from airflow_cancel_provider.services.aws.errors import error_words
from airflow_cancel_provider.services.aws.pages import pick
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.base import chunks
from airflow_cancel_provider.services.emr.states import (
    ANSWERS,
    CLUSTER_ENDS,
    CLUSTER_ID,
    ENDS,
    NO_CLUSTER,
    NO_STEP,
    STATES,
    STEP_ID,
    result_of,
    said_of,
    status_of,
)
from airflow_cancel_provider.services.emr.submission import CANCELLATION_OPTIONS, QUOTAS, CancellationOption
from airflow_cancel_provider.services.polls import PollMemory, shows_enough
from airflow_cancel_provider.services.results import as_asked, in_order, labelled_by_name, named, submitted
from airflow_cancel_provider.services.retry import CallSeries, Patience
from airflow_cancel_provider.services.submissions import LABEL_PROPERTY

STEPS_PER_CANCEL = 256
STEPS_PER_LOOKUP = 10
STEPS_PER_PAGE = 50
WORTH_LISTING = 50
"""From so many steps on, listing a cluster's live steps (at most 256, so 6 pages) beats asking by id."""

_OVER = frozenset({CancelOutcome.ALREADY_ENDED, CancelOutcome.GONE})
_RELEASES = "EMR cancels RUNNING steps from release 5.28.0 on, PENDING ones from 4.8.0 on except 5.0.0"


class EmrStepService(AwsJobService):
    """Steps, by cluster.

    :param cancellation_option: what the first request sends to the step's process; a forced one always
        sends ``TERMINATE_PROCESS``.
    :raises InvalidInput: ``cancellation_option`` is neither.
    """

    name = "emr"
    iam_prefix = "elasticmapreduce"
    scope_word = "cluster_id"
    scope_pattern = CLUSTER_ID
    scope_example = "j-0000000000000"
    id_word = "step id"
    id_pattern = STEP_ID
    id_example = "s-0000000000000"
    cancel_probe = ("CancelSteps", "ClusterId", "StepIds")
    answers = ANSWERS
    next_page = "Marker"
    subjects: ClassVar[dict[str, dict[str, str]]] = {
        "ListSteps": {"StepIds": "Steps.Id"},
        "DescribeCluster": {"ClusterId": "Cluster.Id"},
    }
    # EMR refuses to list a step that it does not know.
    complete = ("ListSteps", "DescribeCluster")
    quotas = QUOTAS
    poll_operation = "ListSteps"
    first_option: ClassVar[CancellationOption] = "SEND_INTERRUPT"

    def __init__(
        self,
        client: Any,
        *,
        conn_id: str | None = None,
        patience: Patience | None = None,
        cancellation_option: CancellationOption = first_option,
    ) -> None:
        if cancellation_option not in CANCELLATION_OPTIONS:
            options = ", ".join(CANCELLATION_OPTIONS)
            raise InvalidInput(f"cancellation_option {cancellation_option!r} is not one of {options}.")
        super().__init__(client, conn_id=conn_id, patience=patience)
        self.cancellation_option = cancellation_option

    @property
    def can_escalate(self) -> bool:
        """Whether the first request only interrupts."""
        return self.cancellation_option == "SEND_INTERRUPT"

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        """One CancelSteps for each 256 steps of a cluster. EMR has no place for ``reason``.

        Describing first would take a request for each 50 steps, and as scarce ones. What has ended, or is
        ending, EMR says in its answer.
        """
        option = "TERMINATE_PROCESS" if force else self.cancellation_option
        series = self.patience.started(urgent=True)
        jobs = list(dict.fromkeys(jobs))
        requests = [some for steps in by_scope(jobs).values() for some in chunks(steps, STEPS_PER_CANCEL)]
        results = in_turn(requests, lambda steps: self._cancel_some(series, steps, option))
        return as_asked(jobs, self._settled(results))

    def poll_open(
        self,
        jobs: Sequence[RemoteJob],
        memory: PollMemory,
        fresh: Collection[RemoteJob],
        *,
        may_leave_out: bool,
    ) -> list[JobStatus]:
        """By ids where that takes fewer calls; else the live steps, oldest first, and by ids what is missing.

        What may be left out: the pages behind the last step that has started, because steps start in order.
        """
        series, cluster, before = self.patience.started(), str(jobs[0].scope), self.poll_calls
        most_asked = STEPS_PER_LOOKUP * memory.most_calls
        is_full = not (may_leave_out and memory.may_leave_out(jobs, fresh, most_asked))
        lookups = -(-len(jobs) // STEPS_PER_LOOKUP)
        lists = not is_full or memory.is_worth_listing(lookups)
        if lists:
            found = self._by_order(series, cluster, jobs, memory, None if is_full else fresh)
        else:
            found = self._by_ids(series, cluster, jobs)
        calls = self.poll_calls - before
        memory.note(found.values(), calls, is_full=is_full)
        if is_full:
            memory.note_listing(calls if lists else None)
        return in_order(jobs, found if is_full else memory.filled(jobs, found))

    def scopes(self) -> Iterator[str]:
        """Clusters that have not ended and are not ending."""
        pages = self._pages(
            self.patience.started(),
            "ListClusters",
            f"region {self.region}",
            ClusterStates=self._states("ClusterState", CLUSTER_ENDS),
        )
        for page in pages:
            yield from (cluster["Id"] for cluster in page["Clusters"])

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        for page in self._listed(self.patience.started(), scope, **self._live):
            yield from named(page, name_prefix)

    @property
    def _live(self) -> dict[str, list[str]]:
        """The filter for steps that have not ended."""
        return {"StepStates": self._states("StepState", ENDS, STATES)}

    def _cancel_some(self, series: CallSeries, steps: Sequence[RemoteJob], option: str) -> list[CancelResult]:
        cluster, operation = str(steps[0].scope), "CancelSteps"

        def send(ids: list[str]) -> dict[str, Said]:
            params = {"ClusterId": cluster, "StepIds": ids, "StepCancellationOption": option}
            return said_of(self._request(operation, **params))

        try:
            with self._asking(steps):
                said = self._asked_together(series, operation, cluster, steps, send)
        except ServiceError as error:
            if is_refusal(error):
                return self._cancel_valid(series, steps, option, error)
            raise
        results = {step: result_of(step, said.get(step.id), asked=step in self._unsure) for step in steps}
        # With these, one that is "already RUNNING" is asked about for the release of its cluster.
        unclear = {step: result for step, result in results.items() if is_unclear(result)}
        results |= {result.job: result for result in self._explained_here(series, unclear)}
        return list(results.values())

    def _cancel_valid(
        self, series: CallSeries, steps: Sequence[RemoteJob], option: str, error: ServiceError
    ) -> list[CancelResult]:
        """Ask again without the steps that may have made EMR refuse all: ended, unknown and named ones."""
        refused = {step: CancelResult(step, CancelOutcome.REFUSED, str(error), error.code) for step in steps}
        results = self._explained_here(series, refused)
        words = str(error.__cause__)
        meant = [result for result in results if result.outcome in _OVER or result.job.id in words]
        others = [step for step in steps if step not in {result.job for result in meant}]
        return meant + self._cancel_some(series, others, option) if meant and others else results

    def _explained_here(
        self, series: CallSeries, unclear: dict[RemoteJob, CancelResult]
    ) -> list[CancelResult]:
        """What answers really mean; where a step lives that was refused, with the cluster's release."""
        try:
            return self._explained(
                series, unclear, lambda: self._release(series, str(next(iter(unclear)).scope))
            )
        except UnknownScope:
            return [replace(result, outcome=CancelOutcome.REFUSED) for result in unclear.values()]

    def _was_unknown(self, said: CancelResult) -> bool:
        # EMR may refuse a whole request for the sake of one of its steps.
        return _is_unknown(said.job, said.detail or "")

    def _release(self, series: CallSeries, cluster: str) -> str:
        try:
            answer = self._call(series, "DescribeCluster", cluster, ClusterId=cluster)
        except ServiceError:
            return f"({_RELEASES}.)"
        return f"({cluster} runs {answer['Cluster'].get('ReleaseLabel') or 'no release'}; {_RELEASES}.)"

    def _find(
        self, series: CallSeries, cluster: str, steps: Sequence[RemoteJob]
    ) -> dict[RemoteJob, JobStatus]:
        """One ListSteps for each 10 steps; for many, the cluster's newest or live ones by 50 first."""
        found = self._newest(series, cluster, steps) if len(steps) > WORTH_LISTING else {}
        missing = [step for step in steps if step not in found]
        if len(missing) > WORTH_LISTING:
            return found | self._by_order(series, cluster, missing, PollMemory(), None)
        return found | self._by_ids(series, cluster, missing)

    def _by_order(
        self,
        series: CallSeries,
        cluster: str,
        steps: Sequence[RemoteJob],
        memory: PollMemory,
        fresh: Collection[RemoteJob] | None,
    ) -> dict[RemoteJob, JobStatus]:
        """Live steps from the oldest on, and by ids those that the listing should show, and does not.

        :param fresh: steps that must not be left out; None: leave out none.
        """
        listed: dict[str, JobStatus] = {}
        wanted = {step.id for step in steps}
        for pages, page in enumerate(self._listed(series, cluster, **self._live), 1):
            listed |= {status.job.id: status for status in page}
            if wanted <= listed.keys():
                break
            if fresh is None and pages * STEPS_PER_LOOKUP >= len(steps):
                # Among many steps of others: by ids takes no more.
                break
            if fresh is not None and page and shows_enough(memory, steps, listed, page[-1]):
                wanted = memory.order.passed(listed) | {step.id for step in memory.needed(steps, fresh)}
                break
        found = pick(steps, [listed.values()])
        asked = [step for step in steps if step.id in wanted and step not in found]
        newer = max(len(listed), len(memory.seen)) + len(memory.ends)
        found |= self._left(series, cluster, asked, newer)
        memory.order.take_in(listed, [found[step] for step in asked], is_full=fresh is None)
        return found

    def _left(
        self, series: CallSeries, cluster: str, steps: Sequence[RemoteJob], newer: int
    ) -> dict[RemoteJob, JobStatus]:
        """Steps that are not live any more: by ids, or among all steps from the newest on if that costs less.

        GONE is what EMR does not know.

        :param newer: number of steps that come before these in the listing of all: mostly live ones.
        """
        pages = -(-(newer + len(steps)) // STEPS_PER_PAGE)
        found: dict[RemoteJob, JobStatus] = {}
        if pages < len(steps) / STEPS_PER_LOOKUP:
            found = pick(steps, islice(self._listed(series, cluster), pages))
        found |= self._by_ids(series, cluster, [step for step in steps if step not in found])
        return dict(zip(steps, in_order(steps, found), strict=True))

    def _by_ids(
        self, series: CallSeries, cluster: str, steps: Sequence[RemoteJob]
    ) -> dict[RemoteJob, JobStatus]:
        found: dict[RemoteJob, JobStatus] = {}
        for some in chunks(steps, STEPS_PER_LOOKUP):
            found |= self._look_up(series, cluster, some)
        return found

    def _newest(
        self, series: CallSeries, cluster: str, steps: Sequence[RemoteJob]
    ) -> dict[RemoteJob, JobStatus]:
        """The newest steps by 50, live or not, as long as most of a page are wanted.

        Many steps that are wanted together were mostly added together. To list the live ones first would
        take as many pages, and after a cancel, which ends them, all pages of these once more.
        """
        wanted, found = {step.id for step in steps}, dict[str, JobStatus]()
        for page in self._listed(series, cluster):
            shown = {job.id: status for job, status in pick(steps, [page]).items()}
            new = len(shown.keys() - found.keys())
            found = shown | found
            if len(found) == len(wanted) or new < STEPS_PER_PAGE / 2:
                break
        return pick(steps, [found.values()])

    def _look_up(
        self, series: CallSeries, cluster: str, steps: Sequence[RemoteJob]
    ) -> dict[RemoteJob, JobStatus]:
        """ListSteps by id. EMR refuses the whole call for one unknown id: halve until it is found."""
        try:
            return pick(steps, self._listed(series, cluster, StepIds=_ids(steps)))
        except ServiceError as error:
            if isinstance(error, UnknownScope) or not any(_is_unknown(step, str(error)) for step in steps):
                raise
        if len(steps) == 1:
            return {}
        middle = len(steps) // 2
        return self._look_up(series, cluster, steps[:middle]) | self._look_up(series, cluster, steps[middle:])

    def _listed(self, series: CallSeries, cluster: str, **filters: Any) -> Iterator[list[JobStatus]]:
        pages = self._pages(series, "ListSteps", cluster, ClusterId=cluster, **filters)
        return ([self._claim(cluster, step) for step in page["Steps"]] for page in pages)

    def _claim(self, cluster: str, step: dict[str, Any]) -> JobStatus:
        timeline = step["Status"].get("Timeline", {})
        status = self._noted(status_of(self.address(step["Id"], cluster), step))
        claim = submitted(labelled_by_name(status), timeline.get("CreationDateTime"))
        properties = step.get("Config", {}).get("Properties", {})
        return replace(claim, label=claim.label or Label.find(properties.get(LABEL_PROPERTY)))

    def _is_unknown_scope(self, operation: str, error: Exception) -> bool:
        return bool(NO_CLUSTER.search(error_words(error)))


def _is_unknown(step: RemoteJob, words: str) -> bool:
    """Whether EMR says that it does not know this step, and not another one."""
    found = NO_STEP.search(words)
    return found is not None and step.id in found[0]


def _ids(steps: Iterable[RemoteJob]) -> list[str]:
    """Each id once: a step may be named with its region and without."""
    return list(dict.fromkeys(step.id for step in steps))
