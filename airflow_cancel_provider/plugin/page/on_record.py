"""The jobs that a browser names, as they are on record: nothing is done with a job that is not."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.inventory import RemoteJobEntry, inventory, stored_records
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import TaskKey, is_storable
from airflow_cancel_provider.plugin.bodies import Refusal
from airflow_cancel_provider.record import EARLIER_KEY, TryRecord, records_from_json


@dataclass(frozen=True, slots=True)
class Named:
    """A job, and the task instance on whose record it is to be."""

    job: RemoteJob
    task: TaskKey


def read_named(body: bytes, most: int) -> list[Named]:
    """The jobs of a request.

    :param most: jobs that may be named.
    :raises Refusal: this is no such request.
    """
    try:
        jobs = json.loads(body)["jobs"]
        named = [_named(each) for each in jobs] if isinstance(jobs, list) else []
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError, InvalidInput):
        named = []
    if not 0 < len(named) <= most:
        raise Refusal(
            422, f'Expected {{"jobs": [{{"job", "dag_id", "run_id", "task_id", "map_index"}}]}}, 1 to {most}.'
        )
    return named


def _named(values: Mapping[str, Any]) -> Named:
    dag_id, run_id, task_id = names = [values[name] for name in ("dag_id", "run_id", "task_id")]
    if not all(isinstance(name, str) for name in names):
        raise TypeError("ids are texts")
    map_index = int(values["map_index"])
    if not all(map(is_storable, (*names, map_index))):
        raise ValueError("no database holds such an id")
    return Named(RemoteJob(values["job"]), TaskKey(dag_id, run_id, task_id, map_index))


def recorded(session: Any, named: Collection[Named]) -> dict[Named, RemoteJobEntry]:
    """Look these jobs up on the records of their task instances."""
    tasks, jobs = {each.task for each in named}, {each.job for each in named}
    found = inventory(session, tasks=tasks, jobs=jobs).entries
    entries = {Named(entry.job, entry.task): entry for entry in found}
    return {each: entries[each] for each in named if each in entries}


def records(session: Any, tasks: Collection[TaskKey]) -> Iterator[tuple[TaskKey, TryRecord, bool]]:
    """The records of these task instances, and whether each is of an earlier try; in two queries."""
    for task, stored in stored_records(session, tasks):
        with suppress(InvalidInput):  # anybody may write an XCom
            record = TryRecord.from_json(stored)
            yield task, record, False
            yield from ((task, earlier, True) for earlier in record.earlier)
    for task, stored in stored_records(session, tasks, EARLIER_KEY):
        with suppress(InvalidInput):
            yield from ((task, earlier, True) for earlier in records_from_json(stored))
