"""The address at which the sentinel of a try reports how jobs have ended; see ``guard/end_reports.py``.

Nobody has to be logged in: the key that is sent must be that of the try's record in XCom. It opens one thing:
to put down ends of the jobs of this record, which its task could have put down by itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from hmac import compare_digest
from typing import Any
from uuid import UUID

from airflow_cancel_provider.ends_on_record import ends_from_json, write_in_database
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.plugin.bodies import Refusal
from airflow_cancel_provider.record import Actor, JobEnd, TryRecord, proof_of

USER = "airflow"
"""In the event log."""


def keep_ends_of_try(_: Any, body: bytes) -> dict[str, Any]:
    """Put on record, and into the event log, how jobs of a try have ended.

    :raises Refusal: the key is not that of the record of this try; or the record is away since it was read,
        because the next try starts: then the sentinel reports again.
    """
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow, tasks_of

    ti_id, proof, ends = _report(body)
    with session_of_airflow() as session:
        task = tasks_of(session, [ti_id]).get(ti_id)
        record = next(_records_for(session, task, ti_id, proof), None) if task else None
        if task is None or record is None:
            raise Refusal(403, "There is no record of this try with this key.")
        own = {job: end for job, end in ends.items() if job in record.jobs and _is_news(record.ends.get(job))}
        if own and task not in write_in_database(session, {task: own}):
            raise Refusal(409, "The record of this try is being written. Report again.")
        _log_events(session, task, own)
    return {"written": len(own)}


def _is_news(known: JobEnd | None) -> bool:
    """Whether the sentinel may know more of an end."""
    return known is None or known.by == Actor.SERVICE


def _report(body: bytes) -> tuple[UUID, str, dict[RemoteJob, JobEnd]]:
    """The try, the digest of its key, and how jobs have ended."""
    try:
        values = json.loads(body)
        return UUID(values["ti_id"]), proof_of(str(values["key"])), ends_from_json(values["ends"])
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise Refusal(
            422, 'Expected {"ti_id", "key", "ends": {job: {"state", "by", "reason", "at"}}}.'
        ) from None


def _records_for(session: Any, task: TaskKey, ti_id: UUID, proof: str) -> Iterator[TryRecord]:
    """The record of a try, if this is the digest of its key."""
    from airflow_cancel_provider.plugin.page.on_record import records

    for _, record, _ in records(session, [task]):
        # Anybody may write an XCom, and in any alphabet.
        if record.ti_id == ti_id and compare_digest(ascii(record.proof), ascii(proof)):
            yield record


def _log_events(session: Any, task: TaskKey, ends: Mapping[RemoteJob, JobEnd]) -> None:
    from airflow_cancel_provider.plugin.event_log import FINISHED, write

    for job, end in ends.items():
        write(session, FINISHED, USER, task, job=job, why=end.reason, end=str(end.state))
