"""What a try does first with what was left before it: take it over, or cancel it."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_cancel_provider.guard.inherited import end_earlier, inherited, reached
from airflow_cancel_provider.guard.parts import TryParts
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.record import JobEnd, TryRecord, TryState


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
