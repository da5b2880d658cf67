"""``dead-letters``: jobs that a reaper could not cancel, and what a person decides on them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_cancel_provider.cli.addresses import NamedJobs, named_jobs
from airflow_cancel_provider.cli.command import TROUBLED, WELL, airflow_of
from airflow_cancel_provider.cli.printer import Printer
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.reaper.dead_letters import DeadLetters, unacknowledged

COLUMNS = ("job", "why", "since", "task", "change")
ALL = ["all"]


def dead_letters(options: argparse.Namespace, printer: Printer) -> int:
    """List the dead letters, after changing those that are to be changed."""
    is_all = options.retry == ALL
    acknowledged = _chosen(options.acknowledge)
    retried = [] if is_all else _chosen(options.retry)
    letters = DeadLetters(airflow_of(options))
    before = letters.read()
    retried = list(before) if is_all else retried
    if unknown := [job for job in acknowledged + retried if job not in before]:
        raise InvalidInput(f"There is no dead letter for {', '.join(unknown)}.")
    after = before
    if acknowledged:
        after = letters.acknowledge(acknowledged)
    if retried:
        after = letters.drop(retried)
    changes = dict.fromkeys(acknowledged, "acknowledged") | dict.fromkeys(retried, "to be cancelled again")
    shown = unacknowledged(after) if printer.is_for_people else after
    jobs = [job for job in before if job in shown or job in changes]
    rows = [_row(job, after.get(job, before[job]), changes.get(job)) for job in jobs]
    printer.rows(rows, COLUMNS, "No dead letters.")
    return TROUBLED if unacknowledged(after) else WELL


def _chosen(words: Sequence[str]) -> list[str]:
    """The addresses of jobs; a wrong one on standard input counts as one of the arguments.

    :raises InvalidInput: some are no addresses.
    """
    named = named_jobs(words) if words else NamedJobs([])
    if named.troubles:
        raise InvalidInput("\n".join(named.troubles))
    return list(map(str, named.jobs))


def _row(job: str, letter: Mapping[str, Any], change: str | None) -> dict[str, Any]:
    """A dead letter; a person may have changed what is in it."""
    names = ("why", "code", "since", "task")
    values = {name: None if (value := letter.get(name)) is None else str(value) for name in names}
    return {"job": job, **values, "acknowledged": bool(letter.get("acknowledged")), "change": change}
