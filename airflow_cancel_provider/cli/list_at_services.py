"""``list --at``: jobs that live now, as services list them, with what the reaper's rules say of each."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from airflow_cancel_provider.cli.command import airflow_of, complain
from airflow_cancel_provider.cli.on_record import TASK_OPTIONS
from airflow_cancel_provider.cli.printer import Printer, at_second
from airflow_cancel_provider.cli.reach import CommandAccess
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.reaper.dead_letters import DeadLetters
from airflow_cancel_provider.reaper.judge import DecisionKind, Found, Judge
from airflow_cancel_provider.reaper.living_jobs import listed
from airflow_cancel_provider.reaper.places import Scopes, places
from airflow_cancel_provider.reaper.services import Services
from airflow_cancel_provider.settings import Settings

COLUMNS = ("job", "state", "task", "submitted", "orphan", "because")
_TASK = re.compile(
    r"(?P<dag_id>.+?) / (?P<run_id>.+) / (?P<task_id>.+?)"
    r"(?:\[(?P<map_index>\d+)\])?(?: try (?P<try_number>\d+))?"
)


def list_at_services(options: argparse.Namespace, printer: Printer, since: datetime | None) -> int:
    """List living jobs, the newest first.

    :param since: only those that were submitted then or later.
    """
    if options.state:
        raise InvalidInput("--state is for jobs on record; services list the jobs that live.")
    troubles: list[str] = []
    rows = []
    for found in _found(options, troubles):
        row = _row_of_service(found)
        at = found.claim.submitted_at
        is_wanted = _is_wanted(row, options) and (since is None or at is None or at >= since)
        rows += [row] if is_wanted else []
    rows.sort(key=lambda row: row["submitted"] or "", reverse=True)
    shown = rows[: options.limit or None]
    printer.rows(shown, COLUMNS, "No jobs live there.")
    if len(shown) < len(rows):
        printer.say(f"{len(shown)} of {len(rows)} jobs; --limit 0 lists all.")
    return complain(dict.fromkeys(troubles))


def _found(options: argparse.Namespace, troubles: list[str]) -> Iterator[Found]:
    access, airflow = CommandAccess(), airflow_of(options)
    wanted = [place for place in places(options.at) if options.service in (None, place.service)]
    access.check_connections(wanted)
    letters = DeadLetters(airflow).read()
    judge = Judge(airflow, Settings.read().deployment, timedelta(), letters, troubles)
    services = Services(wanted, lambda place: access.service(*place)).open(troubles)
    for batch in listed(services, Scopes()):
        if batch.trouble:
            troubles.append(f"{batch.place}: {batch.trouble}")
        yield from judge.decide(batch.claims)


def _row_of_service(found: Found) -> dict[str, Any]:
    claim, names = found.claim, _TASK.fullmatch(found.task)
    task = names.groupdict() if names else {}
    return {
        "job": str(found.job),
        "service": found.job.service,
        "state": str(claim.state),
        "service_state": claim.service_state,
        "name": claim.name,
        "task": found.task or None,
        "dag_id": task.get("dag_id"),
        "run_id": task.get("run_id"),
        "task_id": task.get("task_id"),
        "map_index": int(task["map_index"] or -1) if task else None,
        "ti_id": str(claim.label.ti_id) if claim.label else None,
        "submitted": at_second(claim.submitted_at),
        "orphan": found.decision.kind in (DecisionKind.SUSPECT, DecisionKind.ORPHAN),
        "kind": str(found.decision.kind),
        "because": found.decision.because.removesuffix("; a second check has to agree"),
    }


def _is_wanted(row: dict[str, Any], options: argparse.Namespace) -> bool:
    if options.orphans and not row["orphan"]:
        return False
    return all(getattr(options, name) in (None, row[name]) for name in TASK_OPTIONS)
