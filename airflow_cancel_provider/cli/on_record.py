"""The jobs that Airflow has on record for some tasks, and whether they are still theirs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pendulum
from pendulum.parsing.exceptions import ParserError

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.cli.command import log
from airflow_cancel_provider.ends_on_record import write_in_database
from airflow_cancel_provider.engine.recorded import CancelRequest
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.inventory import EntryState, Inventory, RemoteJobEntry, inventory
from airflow_cancel_provider.jobs import Identity, JobStatus, RemoteJob
from airflow_cancel_provider.owner import TaskKey, is_storable
from airflow_cancel_provider.reaper.backends.database import (
    IDS_PER_QUERY,
    session_of_airflow,
    tasks_of,
    write_ends_of_tries,
)
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.services.base import chunks
from airflow_cancel_provider.settings import Settings

TASK_OPTIONS = ("dag_id", "run_id", "task_id", "map_index")


def names_task(options: argparse.Namespace) -> bool:
    """Whether jobs are chosen by Dag, run or task."""
    return any(getattr(options, name) is not None for name in TASK_OPTIONS)


def recorded(options: argparse.Namespace, **filters: Any) -> Inventory:
    """Jobs on record of the Dag, run and task that were named.

    :raises InvalidInput: no Dag, run or task can have such an id.
    :raises AirflowUnavailable: the database does not answer.
    """
    chosen = {name: getattr(options, name) for name in TASK_OPTIONS}
    for name, value in chosen.items():
        if value is not None and not is_storable(value):
            expected = "an index from 0 on" if name == "map_index" else "text in UTF-8"
            raise InvalidInput(f"--{name.replace('_', '-')} is {value!r}; expected {expected}.")
    with session_of_airflow() as session:
        return inventory(session, **chosen, **filters)


def write_ends(cancellations: Sequence[Cancellation], tasks: Mapping[RemoteJob, TaskKey]) -> None:
    """Put on record which jobs were seen to end, where this is possible; it is no error where it is not.

    :param tasks: whose jobs they are, where that is known; else their labels tell.
    """
    by_task: dict[TaskKey, dict[RemoteJob, JobEnd]] = {}
    by_try: dict[UUID, dict[RemoteJob, JobEnd]] = {}
    own = Settings.read().deployment
    statuses = {job: status for each in cancellations for job, status in each.statuses.items()}
    ends = {job: end for each in cancellations for job, end in each.ends(Actor.USER, each.reason).items()}
    for job, end in ends.items():
        label = statuses[job].label
        if (task := tasks.get(job)) is not None:
            by_task.setdefault(task, {})[job] = end
        elif label is not None and label.deployment == own:
            by_try.setdefault(label.ti_id, {})[job] = end
    if not by_task and not by_try:
        return
    try:
        with session_of_airflow() as session:
            write_in_database(session, by_task)
            write_ends_of_tries(session, by_try)
    except Exception as error:  # noqa: BLE001  there may be no Airflow here; the jobs have ended all the same
        log.info("How jobs have ended is not put on record: %s", error)


def ends_on_record(statuses: Iterable[JobStatus]) -> dict[Identity, JobEnd]:
    """How jobs of this Airflow have ended, by the records of its tasks; empty where it can't be asked."""
    own = Settings.read().deployment
    ti_ids = {
        status.label.ti_id
        for status in statuses
        if status.state.is_terminal and status.label is not None and status.label.deployment == own
    }
    if not ti_ids:
        return {}
    try:
        with session_of_airflow() as session:
            tasks = [*set(tasks_of(session, ti_ids).values())]
            parts = (inventory(session, tasks=some) for some in chunks(tasks, IDS_PER_QUERY))
            found = [entry for part in parts for entry in part.entries]
    except Exception as error:  # noqa: BLE001  there may be no Airflow here; what services show is enough
        log.info("Who has ended jobs can't be read from Airflow's records: %s", error)
        return {}
    return {entry.job.identity: entry.end for entry in found if entry.end is not None}


def to_cancel(options: argparse.Namespace) -> list[RemoteJobEntry]:
    """The jobs of the named task that have not ended; those that it has released only where asked for.

    :raises InvalidInput: a task is named without its Dag.
    """
    if options.dag_id is None:
        raise InvalidInput("Name the Dag, too: --dag-id.")
    states = [EntryState.LIVING, EntryState.UNKNOWN, EntryState.FOREIGN]
    return list(recorded(options, states=states + [EntryState.RELEASED] * options.released).entries)


def foreign(
    entries: Mapping[RemoteJob, RemoteJobEntry], seen: Mapping[RemoteJob, JobStatus], deployment: str
) -> dict[RemoteJob, str]:
    """Jobs that are on record of a task and are not its own, by their labels, with the reason.

    Anybody who may write XComs can put a job on record, with the id of any try.
    """
    found = {}
    for job, status in seen.items():
        if (entry := entries.get(job)) is None:
            continue
        request = CancelRequest((job,), "", log, entry.record, task=entry.digest, only_of=entry.only_of)
        if (why := request.objection(status, deployment)) is not None:
            found[job] = why
    return found


def moment(option: str, text: str | None) -> datetime | None:
    """A time: ISO 8601, in UTC where it names no zone; or an age, as ``30m``, ``12h``, ``7d``.

    :raises InvalidInput: it is neither.
    """
    if text is None:
        return None
    units = {"m": "minutes", "h": "hours", "d": "days"}
    number, unit = text[:-1], text[-1:]
    try:
        if number.isdecimal() and unit in units:
            return datetime.now(UTC) - pendulum.duration(**{units[unit]: int(number)})
        at: Any = pendulum.parse(text)
        if isinstance(at, datetime):
            return at.astimezone(UTC)
    except (ParserError, OverflowError, ValueError):
        pass
    raise InvalidInput(
        f"{option} is {text!r}; expected a time, as 2026-11-20T12:00, or an age, as 30m, 12h or 7d."
    )
