"""Polls that many waits share: what they cost, and what a cheaper one may leave out.

A *full* poll asks for every job that is waited for. Where the quota is too small for full polls at all
clusters or applications, a poll may show only what has changed, and leave the rest as last seen:

========================  ==========================  ===================================================
service                   full poll                   only what has changed
========================  ==========================  ===================================================
EMR                       live steps by 50, or by     live steps from the oldest on, up to those that have
                          10 ids                      not started; by ids what is missing among them
EMR Serverless, EMR on    live runs by 50, or each    runs that have ended, of those created since the
EKS                       by its id                   oldest one that is waited for
Batch                     100 ids                     (a full poll is cheap enough)
Glue, MRS                 newest by 200 or 100, or    (the services list nothing less)
                          each by its id
========================  ==========================  ===================================================

A full poll takes the way that takes fewer calls. What a listing costs is known only when there was one: it
shows the jobs of others, too.

A listing never proves that a job is gone. One that a listing does not show, although it should, is asked for
by its id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob

FULL_EVERY = 8
"""Polls of a cluster or application of which one is full, whatever the quota: what was left out is seen.
A job that is polled more rarely than the others is asked for after so many polls."""
MOST_ASKED = 20
"""Jobs that a short poll asks for by their ids because they must not be left out, where each is a call."""


@dataclass(slots=True)
class PollMemory:
    """What the polls of one cluster or application have shown, for the poll that comes next.

    :param seen: live jobs as last seen, by id.
    :param ends: by id, jobs that have ended, as polls have shown that failed at another job.
    :param seen_in: by id, the number of the poll that showed the job.
    :param polls: polls so far.
    :param full_calls: what the last full poll cost; 0 before there was one.
    :param calls: what the last poll cost.
    :param since_full: polls since the last full one.
    :param listing_calls: what the last poll by a listing cost in all, or was not to cost; 0: try one.
    :param since_listing: polls by ids since then.
    :param offset: polls by which the second full poll comes sooner, so that not all clusters and
        applications have theirs at the same turn.
    :param fulls_left: full polls before a cheaper one is tried again, because that was not cheaper.
    :param order: the order in which the service lists live jobs.
    """

    seen: dict[str, JobStatus] = field(default_factory=dict)
    ends: dict[str, JobStatus] = field(default_factory=dict)
    seen_in: dict[str, int] = field(default_factory=dict)
    polls: int = 0
    offset: int = 0
    full_calls: int = 0
    calls: int = 1
    listing_calls: int = 0
    since_listing: int = 0
    since_full: int = 0
    fulls_left: int = 0
    order: LiveOrder = field(default_factory=lambda: LiveOrder())  # noqa: PLW0108  it is defined below

    def keep(self, ids: Collection[str]) -> None:
        """Forget the jobs that nobody waits for any more."""
        self.seen = {id_: status for id_, status in self.seen.items() if id_ in ids}
        self.ends = {id_: status for id_, status in self.ends.items() if id_ in ids}
        self.seen_in = {id_: poll for id_, poll in self.seen_in.items() if id_ in ids}

    def ends_of(self, jobs: Iterable[RemoteJob]) -> dict[RemoteJob, JobStatus]:
        """Those of jobs that have ended, as a poll has shown before it failed."""
        return {job: replace(self.ends[job.id], job=job) for job in jobs if job.id in self.ends}

    def may_leave_out(
        self, jobs: Sequence[RemoteJob], fresh: Collection[RemoteJob], most_asked: int = MOST_ASKED
    ) -> bool:
        """Whether a short poll may do now.

        :param most_asked: jobs that may be asked for by their ids.
        """
        is_due = not self.full_calls or self.since_full + 1 >= FULL_EVERY
        return not is_due and not self.fulls_left and len(self.needed(jobs, fresh)) <= most_asked

    def needed(self, jobs: Iterable[RemoteJob], fresh: Collection[RemoteJob]) -> list[RemoteJob]:
        """Jobs that can't be left as last seen."""
        last = self.polls - FULL_EVERY
        return [
            job for job in jobs if job in fresh or job.id not in self.seen or self.seen_in[job.id] <= last
        ]

    def note(self, statuses: Iterable[JobStatus], calls: int, *, is_full: bool) -> None:
        """Take in a poll that shows these."""
        self.calls = max(1, calls)
        self.polls += 1
        if is_full:
            self.full_calls, self.since_full, self.offset = self.calls, self.offset, 0
            self.fulls_left = max(0, self.fulls_left - 1)
        else:
            self.since_full += 1
        for status in statuses:
            if status.state.is_terminal:
                self.seen.pop(status.job.id, None)
            else:
                self.seen[status.job.id] = status
                self.seen_in[status.job.id] = self.polls

    def is_worth_listing(self, by_ids: int) -> bool:
        """Whether a listing may take fewer calls.

        :param by_ids: calls that show the jobs by their ids.
        """
        return by_ids > max(1, self.listing_calls)

    def note_listing(self, calls: int | None) -> None:
        """Take in what a full poll by a listing cost in all; None: the poll was by ids.

        A listing that was dear is tried again after some polls: it shows the jobs of others, too.
        """
        if calls is not None:
            self.listing_calls, self.since_listing = calls, 0
            return
        self.since_listing += 1
        if self.since_listing >= FULL_EVERY:
            self.listing_calls = self.since_listing = 0

    @property
    def most_calls(self) -> int:
        """What a short poll may cost: half a full one."""
        return self.full_calls // 2

    def filled(
        self, jobs: Iterable[RemoteJob], found: Mapping[RemoteJob, JobStatus]
    ) -> dict[RemoteJob, JobStatus]:
        """What was found, and as last seen what was left out."""
        last = {job: replace(self.seen[job.id], job=job) for job in jobs if job.id in self.seen}
        return {job: found.get(job) or last[job] for job in jobs if job in found or job in last}


class LiveOrder:
    """The order in which a service lists live jobs, as far as it was seen.

    It is only a guess: what it leads to is asked for by id. A wrong guess costs calls.
    """

    def __init__(self) -> None:
        self._ranks: dict[str, int] = {}

    def take_in(self, listed: Collection[str], asked: Iterable[JobStatus], *, is_full: bool) -> None:
        """Learn from a poll.

        :param listed: ids, as the service listed them.
        :param asked: jobs that the listing did not show, and that were asked for.
        """
        asked = list(asked)
        living = [status for status in asked if not status.state.is_terminal]
        passed = self.passed(set(listed))
        if is_full or any(status.job.id in passed for status in living):
            # For the second reason, the service lists jobs in another order than before.
            self._ranks = {}
        for status in asked:
            if status.state.is_terminal:
                self._ranks.pop(status.job.id, None)
        living.sort(key=lambda status: status.submitted_at.timestamp() if status.submitted_at else inf)
        following = max(self._ranks.values(), default=-1) + 1
        new = [id_ for id_ in (*listed, *(each.job.id for each in living)) if id_ not in self._ranks]
        self._ranks |= {id_: following + place for place, id_ in enumerate(dict.fromkeys(new))}

    def passed(self, listed: Collection[str]) -> set[str]:
        """Jobs that the first part of a listing should show, and does not."""
        last = max((self._ranks[id_] for id_ in listed if id_ in self._ranks), default=-1)
        return {id_ for id_, rank in self._ranks.items() if rank < last and id_ not in listed}


def shows_enough(
    memory: PollMemory, jobs: Iterable[RemoteJob], listed: Mapping[str, JobStatus], last: JobStatus
) -> bool:
    """Whether the rest of a listing of live jobs only shows jobs that have not started yet.

    :param listed: what its first part shows, by id, the ``last`` one included.
    """
    if last.state is not JobState.PENDING:
        return False
    passed = memory.order.passed(listed.keys())
    started = (
        job.id
        for job in jobs
        if (status := memory.seen.get(job.id)) is not None and status.state is not JobState.PENDING
    )
    return all(id_ in listed or id_ in passed for id_ in started)
