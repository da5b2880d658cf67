"""The jobs that a try has started, and its submissions of unknown outcome: the sum of its events.

The task's process, the sentinel and the stored record all use :class:`TryLedger`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from airflow_cancel_provider.clock import Clock
from airflow_cancel_provider.engine.label_search import Intent
from airflow_cancel_provider.guard.events import (
    AttemptLost,
    Event,
    JobsEnded,
    JobsPlaced,
    JobsReleased,
    JobsStarted,
    RecordInherited,
    SubmissionClosed,
    SubmissionIntended,
)
from airflow_cancel_provider.guard.forks import Locked
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import JobEnd, StoredIntent, TryRecord, TryState
from airflow_cancel_provider.services.client_spec import ClientSpec


@dataclass(frozen=True, slots=True)
class StartedJob:
    """What is known of a job; the first fields are those of :class:`JobsStarted`.

    :param client: None for a recorded job whose client is not known yet.
    :param submitted: when the guard recorded its submission, in epoch seconds; 0 where it did not.
    :param end: how it has ended, where that is known.
    """

    client: ClientSpec | None
    at: float = 0.0
    not_before: float = 0.0
    ti_id: UUID | None = None
    has_ended: bool = False
    submitted: float = 0.0
    end: JobEnd | None = None

    @property
    def is_certain(self) -> bool:
        """Whether this process recorded the submission: then the job is cancelled without a check first."""
        return self.ti_id is None and not self.not_before


class TryLedger(Locked):
    """The jobs that a try has started, and the submissions of unknown outcome: the sum of its events.

    Every event takes constant time for each of its jobs, and may be applied twice. Safe to use in any
    thread and in a signal handler.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        """The clock of its events."""
        self._intents: dict[str, Intent] = {}
        self._jobs: dict[RemoteJob, StartedJob] = {}
        self._by_id: dict[tuple[str, str], dict[RemoteJob, None]] = {}
        self._released: dict[tuple[str, str | None, str], RemoteJob] = {}
        self._has_unknown_releases = False
        self._reducers: dict[type[Any], Callable[[Any], None]] = {
            SubmissionIntended: self._intended,
            AttemptLost: self._lost,
            JobsStarted: self._started,
            JobsPlaced: self._placed,
            SubmissionClosed: lambda event: self._answered(event.token),
            JobsEnded: self._ended,
            JobsReleased: self._release,
            RecordInherited: self._inherited,
        }

    def apply(self, event: Event) -> None:
        """Apply an event."""
        with self._lock:
            self._reducers[type(event)](event)

    @property
    def jobs(self) -> list[RemoteJob]:
        """Jobs that were started and not released, including those that have ended."""
        with self._lock:
            return list(self._jobs)

    @property
    def started(self) -> dict[RemoteJob, StartedJob]:
        """The jobs that are not known to have ended, and what is known of them."""
        with self._lock:
            return {job: known for job, known in self._jobs.items() if not known.has_ended}

    @property
    def intents(self) -> list[Intent]:
        """Submissions whose outcome is not completely known."""
        with self._lock:
            return list(self._intents.values())

    @property
    def released(self) -> list[RemoteJob]:
        """Jobs that were released."""
        with self._lock:
            return list(self._released.values())

    @property
    def has_unknown_releases(self) -> bool:
        """Whether jobs were released that are not in :attr:`released`: by their label they can't be told."""
        with self._lock:
            return self._has_unknown_releases

    @property
    def is_empty(self) -> bool:
        """Whether no job was started, and no submission is open."""
        with self._lock:
            return not self._jobs and not self._intents

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing left to cancel."""
        return not self.intents and not self.started

    @property
    def is_reached(self) -> bool:
        """Whether the client of each job and each submission is known."""
        clients = [known.client for known in self.started.values()]
        return None not in [*clients, *(intent.client for intent in self.intents)]

    @property
    def size(self) -> int:
        """Number of jobs and intents."""
        with self._lock:
            return len(self._jobs) + len(self._intents)

    def intent(self, token: str) -> Intent | None:
        """The open submission with this token."""
        with self._lock:
            return self._intents.get(token)

    def is_running(self, job: RemoteJob) -> bool:
        """Whether a job was started, and is neither released nor known to have ended."""
        with self._lock:
            return job in self._jobs and not self._jobs[job].has_ended

    def is_released(self, job: RemoteJob) -> bool:
        """Whether a job was released, whatever connection its address names."""
        with self._lock:
            return job.identity in self._released

    def find(self, service: str, scope: str | None, id: str) -> list[RemoteJob]:
        """The jobs with this id; ``scope`` is None where it is not known."""
        with self._lock:
            found = list(self._by_id.get((service, id), ()))
        return [job for job in found if scope is None or job.scope is None or job.scope == scope]

    def record(self, ti_id: UUID, state: TryState) -> TryRecord:
        """The stored form: the try's own jobs, and beside them those that it took over from earlier tries."""
        with self._lock:
            jobs, intents = dict(self._jobs), list(self._intents.values())
            has_released = bool(self._released) or self._has_unknown_releases
        tries = [ti_id, *(known.ti_id for known in jobs.values() if known.ti_id)]
        tries += [intent.ti_id for intent in intents if intent.ti_id]
        own, *earlier = (
            _record_of(
                one,
                state,
                {job: known for job, known in jobs.items() if (known.ti_id or ti_id) == one},
                [intent for intent in intents if (intent.ti_id or ti_id) == one],
            )
            for one in dict.fromkeys(tries)
        )
        return replace(own, earlier=tuple(earlier), has_released=has_released)

    def history(self) -> Iterator[Event]:
        """Events that lead to the present state, for a reader that starts late."""
        with self._lock:
            intents, jobs = self.intents, dict(self._jobs)
            releases = JobsReleased(tuple(self._released.values()), self._has_unknown_releases)
        for intent in intents:
            yield from history_of(intent)
        for job, known in jobs.items():
            if known.client is not None:
                yield JobsStarted("", (job,), known.client, known.at, known.not_before, known.ti_id)
        ended = tuple(job for job, known in jobs.items() if known.has_ended)
        ends = {job: known.end for job, known in jobs.items() if known.end}
        yield from ([JobsEnded(ended, ends)] if ended else [])
        yield from ([releases] if releases.jobs or releases.has_more else [])

    def _intended(self, event: SubmissionIntended) -> None:
        client = event.client
        stored = StoredIntent(
            client.service, client.conn_id, client.region, event.scope, event.label, event.at
        )
        self._intents[event.token] = Intent(event.token, stored, client, event.unlabelled, ti_id=event.ti_id)

    def _lost(self, event: AttemptLost) -> None:
        if intent := self._intents.get(event.token):
            stored = replace(intent.stored, at=event.at)
            self._intents[event.token] = replace(intent, stored=stored, is_under_way=False, is_lost=True)

    def _started(self, event: JobsStarted) -> None:
        new = StartedJob(event.client, event.at, event.not_before, event.ti_id, submitted=event.at)
        for job in event.jobs:
            if job.identity in self._released:
                continue
            self._add(job, _known_again(before, new) if (before := self._jobs.get(job)) else new)
        # Last: a signal that comes before finds a submission that is under way.
        self._answered(event.token)

    def _placed(self, event: JobsPlaced) -> None:
        if intent := self._intents.get(event.token):
            # Each attempt makes a cluster of its own: jobs of a lost attempt are not in this one.
            scope = intent.stored.scope if intent.is_lost else event.scope
            stored = replace(intent.stored, scope=scope, at=event.at)
            self._intents[event.token] = replace(intent, stored=stored, is_under_way=False, is_placed=True)

    def _answered(self, token: str) -> None:
        """Close a submission that was answered, unless one of its attempts was lost."""
        intent = self._intents.get(token)
        if intent is None:
            return
        if intent.is_lost:
            self._intents[token] = replace(intent, is_under_way=False)
        else:
            del self._intents[token]

    def _ended(self, event: JobsEnded) -> None:
        for job in event.jobs:
            if known := self._jobs.get(job):
                end = event.ends.get(job) or known.end
                self._jobs[job] = replace(known, has_ended=True, end=end)

    def _release(self, event: JobsReleased) -> None:
        for named in event.jobs:
            for job in [each for each in self.find(*named.identity) if each.identity == named.identity]:
                del self._jobs[job]
                del self._by_id[job.service, job.id][job]
            self._released[named.identity] = named
        self._has_unknown_releases |= event.has_more

    def _inherited(self, event: RecordInherited) -> None:
        for record in (event.record, *event.record.earlier):
            for job in record.jobs:
                not_before, at = record.not_before.get(job, 0.0), record.submitted.get(job, 0.0)
                # An end on record may be anybody's word: the job counts as running all the same.
                end = record.ends.get(job)
                self._add(job, StartedJob(None, 0.0, not_before, record.ti_id, submitted=at, end=end))
            for number, stored in enumerate(record.intents):
                token = f"{record.ti_id}.{number}"
                self._intents[token] = Intent(
                    token, stored, None, is_under_way=False, is_lost=True, ti_id=record.ti_id
                )

    def _add(self, job: RemoteJob, known: StartedJob) -> None:
        self._jobs[job] = known
        self._by_id.setdefault((job.service, job.id), {})[job] = None


def _known_again(before: StartedJob, new: StartedJob) -> StartedJob:
    """A job that was known: from the record, as an idempotency token was sent twice, or it is tracked, too.

    The time of its submission stays, and the client that this process saw submit it. It is no younger than
    its first submission, and not somebody else's.
    """
    if before.client is not None and before.ti_id is None and new.ti_id is not None:
        return before
    not_before = min(before.not_before, new.not_before)
    return replace(new, not_before=not_before, submitted=before.submitted or new.submitted)


def history_of(intent: Intent) -> Iterator[Event]:
    """Events that lead to what is known of a submission; none where its client is not known."""
    if intent.client is None:
        return
    stored = intent.stored
    yield SubmissionIntended(
        intent.token, intent.client, stored.scope, stored.label, intent.unlabelled, stored.at, intent.ti_id
    )
    if intent.is_lost:
        yield AttemptLost(intent.token, stored.at)
    if intent.is_placed and stored.scope is not None:
        yield JobsPlaced(intent.token, stored.scope, stored.at)


def _record_of(
    ti_id: UUID, state: TryState, jobs: Mapping[RemoteJob, StartedJob], intents: list[Intent]
) -> TryRecord:
    return TryRecord(
        ti_id,
        state,
        tuple(jobs),
        tuple(intent.stored for intent in intents),
        {job: known.not_before for job, known in jobs.items() if known.not_before},
        submitted={job: round(known.submitted, 3) for job, known in jobs.items() if known.submitted},
        ends={job: known.end for job, known in jobs.items() if known.end},
    )
