"""``list``: remote jobs of this Airflow, from its records."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from airflow_cancel_provider.cli.command import WELL
from airflow_cancel_provider.cli.on_record import moment, recorded
from airflow_cancel_provider.cli.printer import Printer, at_second
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.inventory import RemoteJobEntry
from airflow_cancel_provider.jobs import JobState
from airflow_cancel_provider.record import Actor, JobEnd
from airflow_cancel_provider.services.registry import service_info

COLUMNS = ("job", "state", "task", "submitted", "orphan", "end")


def list_jobs(options: argparse.Namespace, printer: Printer) -> int:
    """List jobs, the newest first."""
    if options.service is not None:
        service_info(options.service)
    if options.limit < 0:
        raise InvalidInput(f"--limit is {options.limit}; expected a number from 0 on.")
    since = moment("--since", options.since)
    if options.at:
        # Lists on record do without: they start faster.
        from airflow_cancel_provider.cli.list_at_services import list_at_services

        return list_at_services(options, printer, since)
    if options.airflow_conn_id:
        raise InvalidInput("--airflow-conn-id goes with --at: jobs on record are read in Airflow's database.")
    page = recorded(
        options,
        service=options.service,
        states=options.state or None,
        since=since,
        orphans_only=options.orphans,
        limit=options.limit or None,
    )
    printer.rows([_row(entry) for entry in page.entries], COLUMNS, "No remote jobs on record that match.")
    if len(page.entries) < page.total:
        printer.say(f"{len(page.entries)} of {page.total} jobs; --limit 0 lists all.")
    return WELL


def _row(entry: RemoteJobEntry) -> dict[str, Any]:
    end = entry.end
    return {
        "job": str(entry.job),
        "service": entry.job.service,
        "state": entry.state,
        "task": entry.task.with_try(entry.try_number),
        **asdict(entry.task),
        "try_number": entry.try_number,
        "ti_id": str(entry.ti_id),
        "task_state": entry.ti_state,
        "is_current_try": entry.is_current_try,
        "submitted": at_second(entry.submitted_at),
        "orphan": entry.is_orphan,
        "end": _in_words(end) if end else None,
        "ended_as": str(end.state) if end else None,
        "ended_by": end.by if end else None,
        "ended_at": at_second(datetime.fromtimestamp(end.at, UTC)) if end else None,
        "reason": end.reason or None if end else None,
    }


def _in_words(end: JobEnd) -> str:
    if end.by != Actor.SERVICE:
        return f"{end.state} by {end.by}"
    return f"{end.state} by others" if end.state is JobState.CANCELLED else f"{end.state} by itself"
