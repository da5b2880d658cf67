"""``doctor``: what the protection of remote jobs needs, what is broken, and what is not guaranteed here."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict

from airflow_cancel_provider.cli.checks import Check, Result
from airflow_cancel_provider.cli.checks.airflow import airflow_checks
from airflow_cancel_provider.cli.checks.process import process_checks
from airflow_cancel_provider.cli.checks.services import service_checks
from airflow_cancel_provider.cli.command import TROUBLED, WELL
from airflow_cancel_provider.cli.printer import Printer
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.reaper.places import places
from airflow_cancel_provider.settings import Settings

COLUMNS = ("check", "result", "detail")


def doctor(options: argparse.Namespace, printer: Printer) -> int:
    """Check everything, and write what was found."""
    checks = list(_checks(options))
    printer.rows([asdict(check) for check in checks], COLUMNS, "")
    is_broken = any(check.result is Result.BROKEN for check in checks)
    return TROUBLED if is_broken else WELL


def _checks(options: argparse.Namespace) -> Iterator[Check]:
    # A wrong place is wrong input, before anything is checked.
    named = places(options.at) if options.at else None
    yield from process_checks()
    yield from airflow_checks(is_offline=options.offline)
    if named is None:
        with suppress(InvalidInput):  # the checks of this process have said so
            named = places(Settings.read().reaper_places)
    if not named:
        named = []
        yield Check("services", Result.SKIPPED, "No place is known: name one, as --at aws://aws_default.")
    yield from service_checks(named, is_offline=options.offline)
