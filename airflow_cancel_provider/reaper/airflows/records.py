"""Whose a job without a label is, by what tasks have on record: addresses, and unanswered submissions."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import INTENTS_KEY, XCOM_KEY, JobStatus, RemoteJob
from airflow_cancel_provider.reaper.airflows.base import standing, task_name
from airflow_cancel_provider.reaper.decide import OwnerState, Standing

EARLY, LATE = timedelta(seconds=-5), timedelta(seconds=30)
"""When a service may say that a job was submitted, from the moment at which the task was about to do so."""

EARLIEST = timedelta(minutes=5)
"""How much later than Airflow's the service's clock may be, and then some."""

Key = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class Intent:
    """A submission without a label that was never answered, and how its task stands."""

    owner: OwnerState
    service: str
    region: str | None
    scope: str | None
    name: str
    at: datetime

    def may_have_made(self, claim: JobStatus) -> bool:
        """Whether a job is of this service, place and name, and of this time."""
        job, submitted_at = claim.job, claim.submitted_at
        if submitted_at is None or (job.service, claim.name) != (self.service, self.name):
            return False
        same_scope = job.scope is None or job.scope == self.scope
        same_region = None in (job.region, self.region) or job.region == self.region
        return same_scope and same_region and EARLY <= submitted_at - self.at <= LATE


def by_address(session: Any, claims: Collection[JobStatus]) -> dict[RemoteJob, OwnerState]:
    """Owners of the jobs that are in a task's XCom ``remote_jobs``; read row by row."""
    wanted = {_key(claim.job): claim.job for claim in claims}
    found: dict[RemoteJob, OwnerState] = {}
    for value, owner in _rows(session, XCOM_KEY, claims):
        for job in (wanted[key] for key in _keys(value) if key in wanted):
            # One job may be on record with several tasks: whoever has a right to it counts.
            if job not in found or found[job].standing is Standing.FAILED:
                found[job] = owner
    return found


def by_intent(session: Any, claims: Sequence[JobStatus], *, is_final: bool) -> dict[RemoteJob, OwnerState]:
    """Owners of the jobs that a submission without an answer may have made.

    :param is_final: only where one submission fits one job and one job one submission; before that, all
        that fit are needed to see whether it is so.
    """
    made: dict[RemoteJob, list[OwnerState]] = {}
    for value, owner in _rows(session, INTENTS_KEY, claims):
        for intent in _intents(value, owner):
            fitting = [claim.job for claim in claims if intent.may_have_made(claim)]
            if len(fitting) == 1 or not is_final:
                for job in fitting:
                    made.setdefault(job, []).append(owner)
            else:
                for job in fitting:
                    made.setdefault(job, []).extend([owner, owner])  # as good as two owners
    return {job: owners[0] for job, owners in made.items() if len(owners) == 1 or not is_final}


def _rows(session: Any, key: str, claims: Collection[JobStatus]) -> Iterator[tuple[Any, OwnerState]]:
    """What tasks have on record under this key, since the oldest of these jobs was submitted."""
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817  as everywhere in Airflow
    from airflow.models.xcom import XComModel as X

    same_run = (X.dag_id == TI.dag_id) & (X.run_id == TI.run_id)
    same_task = same_run & (X.task_id == TI.task_id) & (X.map_index == TI.map_index)
    columns = (X.value, X.dag_id, X.run_id, X.task_id, X.map_index, TI.state)
    query = select(*columns).join(TI, same_task).where(X.key == key)
    times = [claim.submitted_at for claim in claims]
    if None not in times:
        query = query.where(X.timestamp >= min(filter(None, times)) - EARLIEST)
    for value, *names, state in session.execute(query.execution_options(yield_per=1000)):
        yield _plain(value), OwnerState(standing(state), task=task_name(*names), state=state or "")


def _plain(value: Any) -> Any:
    """An XCom's value as JSON: Airflow would make objects of it, and anybody may have written it."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _keys(addresses: Any) -> Iterator[Key]:
    """Keys of the addresses in an XCom, in which anybody may have written anything."""
    for address in addresses if isinstance(addresses, list) else ():
        with suppress(InvalidInput, TypeError):
            yield _key(RemoteJob(address))


def _key(job: RemoteJob) -> Key:
    # One job may be on record under another connection, or without its region.
    return job.service, job.scope, job.id


def _intents(entries: Any, owner: OwnerState) -> Iterator[Intent]:
    for entry in entries if isinstance(entries, list) else ():
        with suppress(KeyError, TypeError, ValueError):
            yield _intent(entry, owner)


def _intent(entry: Mapping[str, Any], owner: OwnerState) -> Intent:
    at = datetime.fromisoformat(entry["at"])
    if at.tzinfo is None:
        raise ValueError("This time knows no zone.")
    return Intent(owner, entry["service"], entry["region"], entry["scope"], entry["name"], at)
