"""Jobs on record from before this process: of this try before a deferral, or of earlier tries of the task.

What a try does first is to take them over, or to cancel them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from airflow_cancel_provider.exceptions import CancelProviderError
from airflow_cancel_provider.guard.cancel_loop import CancelLoop
from airflow_cancel_provider.guard.client_pool import client_of, client_over
from airflow_cancel_provider.guard.events import Event, JobsReleased, JobsStarted, RecordInherited
from airflow_cancel_provider.guard.ledger import TryLedger, history_of
from airflow_cancel_provider.guard.parts import TryParts
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.hooks.variables import read_release
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Owner
from airflow_cancel_provider.record import Actor, JobEnd, TryRecord, TryState
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.settings import Settings

LATER_TRY = "The task is tried again"
NOBODY = UUID(int=0)
UNKNOWN_SECONDS = 10.0
"""Longest time for which a new try looks for a job of an earlier one that the service does not know: the
service may have deleted it, as AWS Batch does after a week."""
_NOT_SOUGHT = (
    "Jobs of submissions without an answer are not looked for: they could not be told from those that this "
    "try released before it was deferred."
)


def take_over_or_cancel(parts: TryParts) -> Mapping[RemoteJob, JobEnd]:
    """Take over the recorded jobs of this try or of earlier ones, or cancel those of earlier ones.

    :return: how those have ended that were cancelled, as far as that was seen.
    """
    tries, store = parts.tries, parts.store
    if tries.is_resumed:
        take_over(parts, store.before_deferral())
        # From now on a trigger that is moved, or fires late, leaves the jobs to this process.
        store.flush(TryState.RUNNING)
        return {}
    if tries.is_first and not tries.is_rescheduled:
        return {}
    return _see_to(parts, left) if (left := store.of_earlier()) is not None else {}


def _see_to(parts: TryParts, left: TryRecord) -> Mapping[RemoteJob, JobEnd]:
    """See to what the processes before this one have left, which are those of another try or of this one."""
    tries, own = parts.tries, parts.owner.ti_id
    # Airflow also reschedules a try whose Dag it can't read yet: then the record is an earlier try's.
    if tries.is_rescheduled and left.ti_id == own:
        take_over(parts, left)
        return {}
    if tries.go_on or left.state is not TryState.DEFERRED:
        left = left.without(own)  # this try has not started anything yet
    if not tries.go_on:
        ends = end_earlier(left, parts.owner, parts.settings, parts.access, parts.log)
        parts.store.close_earlier(left, ends)
        return ends
    take_over(parts, left)
    if not tries.is_followed:
        # The last try: its jobs are cancelled if it fails.
        for event in reached(parts.ledger, parts.access, parts.log):
            parts.recorder.tell(event)
    return {}


def take_over(parts: TryParts, record: TryRecord | None) -> None:
    """Go on with the jobs of a record. Their clients are not known yet."""
    if record is not None:
        for event in inherited(record, parts.owner, parts.log):
            parts.ledger.apply(event)


def reached(
    ledger: TryLedger, access: Access, log: Any, troubles: list[Exception] | None = None
) -> list[Event]:
    """Events that add the clients of inherited jobs, made from the connections in their addresses.

    Asks Airflow for the connections: not for signal handlers.

    :param access: what the task's operator sets beside its connection.
    :param troubles: gets the errors, which are logged here.
    """
    events, pool = list[Event](), access.pool()
    troubles = [] if troubles is None else troubles
    for job, known in ledger.started.items():
        if known.client is None:
            try:
                client = client_of(pool, job)
            except Exception as error:  # noqa: BLE001  reported; the other jobs are still reached
                troubles.append(error)
                log.error("%s can't be reached and may run on: %s", job, error)  # noqa: TRY400
            else:
                events.append(JobsStarted("", (job,), client, not_before=known.not_before, ti_id=known.ti_id))
    for intent in ledger.intents:
        if intent.client is None:
            stored = intent.stored
            try:
                client = client_over(pool, *stored.service_key)
            except Exception as error:  # noqa: BLE001  as above
                troubles.append(error)
                log.error("%s can't be looked up; jobs that it started may run on: %s", intent, error)  # noqa: TRY400
            else:
                events += history_of(replace(intent, client=client))
    return events


def inherited(record: TryRecord, owner: Owner, log: Any) -> Iterator[Event]:
    """Events for the jobs of a record, without those that its tries have released.

    Where a release can't be read, the jobs of that try are left alone. Jobs that this try released before it
    was deferred are not in its record; they matter where jobs are searched by label, now or later.
    Asks Airflow: see :func:`reached`.
    """
    released: list[RemoteJob] = []
    has_more = False
    for one in (record, *record.earlier):
        is_own = one.ti_id == owner.ti_id
        if not one.intents and not (one.has_released if is_own else one.jobs):
            continue
        try:
            release = read_release(one.ti_id)
        except CancelProviderError as error:
            left = "those that it has released" if is_own else ", ".join(one.jobs)
            log.warning("Jobs of try %s are left alone: %s %s", one.ti_id, error, left)
            release = Release(all=True)
        if release is not None and release.all:
            if is_own:
                has_more = True
                log.warning(_NOT_SOUGHT)
            record = replace(record, intents=()) if is_own else record.without(one.ti_id)
        released += release.jobs if release is not None else ()
    yield RecordInherited(record.without_foreign_intents(owner.deployment, log.warning))
    if released or has_more:
        yield JobsReleased(tuple(released), has_more)


def end_earlier(
    record: TryRecord, owner: Owner, settings: Settings, access: Access, log: Any
) -> Mapping[RemoteJob, JobEnd]:
    """Cancel the running jobs of earlier tries, and wait for their end, for up to ``confirm_seconds``.

    An earlier try may have the same id: where no worker could resume a deferred task, Airflow tries it again
    without a new one.

    Jobs that can't be reached are only logged: this try is guarded all the same.

    :param access: as for :func:`reached`.
    :return: how they have ended, as far as that was seen.
    """
    ledger = TryLedger()
    for event in inherited(record, owner, log):
        ledger.apply(event)
    for event in reached(ledger, access, log):
        ledger.apply(event)
    if not any(known.client for known in ledger.started.values()) and not ledger.intents:
        return {}
    log.info("Checking jobs of earlier tries: %s", ", ".join(ledger.jobs) or "none is known by its id")
    loop = CancelLoop(
        ledger,
        log,
        # Nothing here is this try's own, whatever its id: a label has to show that it is of this task.
        own=replace(owner.label, ti_id=NOBODY),
        reason=owner.reason,
        patience=settings.confirm_seconds,
        escalate_after=settings.escalate_after,
        unknown_seconds=UNKNOWN_SECONDS,
    )
    loop.run(lambda _: None, time.sleep)
    ends = loop.engine.cancellation.ends(Actor.TASK, LATER_TRY)
    counts = Counter(str(each.state) for each in ends.values())
    words = ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"
    log.info("Jobs of earlier tries that have ended: %s.", words)
    return ends
