"""``describe``: jobs as they are now."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from airflow_cancel_provider.cli.addresses import errors_by_service, named_jobs
from airflow_cancel_provider.cli.command import complain
from airflow_cancel_provider.cli.on_record import ends_on_record
from airflow_cancel_provider.cli.printer import Printer, at_second
from airflow_cancel_provider.cli.watched_jobs import described, gone, row
from airflow_cancel_provider.jobs import JobState

COLUMNS = ("job", "state", "service_state", "name", "submitted", "ended_by", "reason", "detail")


def describe(options: argparse.Namespace, printer: Printer) -> int:
    """Show jobs as they are."""
    named = named_jobs(options.jobs)
    pool, jobs = named.pool(), named.jobs
    seen, errors = described(pool, jobs, is_quiet=options.quiet)
    ends = ends_on_record(seen.values())
    rows = []
    for job in jobs:
        status, end = seen.get(job), ends.get(job.identity)
        label = status.label if status else None
        rows.append(
            row(job, status, error=errors.get(job))
            | {
                "submitted": at_second(status.submitted_at if status else None),
                "task": label.owner.task if label and label.owner else None,
                "label": str(label) if label else None,
                "ended_by": end.by if end else None,
                "ended_at": at_second(datetime.fromtimestamp(end.at, UTC)) if end else None,
                "reason": end.reason or None if end else None,
            }
        )
    printer.rows(rows, COLUMNS, "No jobs.")
    missing = [job for job in jobs if job in seen and seen[job].state is JobState.GONE]
    return complain([*named.troubles, *errors_by_service(jobs, errors), *map(gone, missing)])
