"""Cancel remote jobs, and find those whose task is over.

``airflow remote-jobs``; before Airflow 3.2, ``airflow-remote-jobs``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from airflow.cli import cli_config
from airflow.cli.cli_config import ActionCommand, GroupCommand

from airflow_cancel_provider.cli import service_commands
from airflow_cancel_provider.reaper.rules import SHARE, Rules
from airflow_cancel_provider.services.registry import SERVICES

_new: Any = cli_config.Arg  # which has no types
GROUP = "remote-jobs"
_FAMILIES = [row.family for row in SERVICES.values() if row.family]
_SERVICES = ", ".join(dict.fromkeys([*_FAMILIES, *SERVICES]))


def _arg(*flags: str, help: str, **options: Any) -> Any:  # as argparse calls it
    return _new(flags, help=help, **options)


def _list(flag: str, help: str, metavar: str) -> Any:
    return _arg(flag, help=f"{help}; may be repeated", action="append", default=[], metavar=metavar)


def _flag(*flags: str, help: str) -> Any:
    return _arg(*flags, help=help, action="store_true")


def _seconds(flag: str, help: str, default: float | None) -> Any:
    return _arg(flag, help=help, type=float, default=default)


_JOBS = _arg("jobs", help="addresses, as emr://aws_default@us-east-1/j-2AXX/s-3BYY", nargs="+", metavar="JOB")
_JSON = _flag("--json", help="write JSON to standard output, one object a sweep")
_AIRFLOW = _arg(
    "--airflow-conn-id",
    help="ask Airflow's API server, with the service account of this connection, instead of its database",
    metavar="CONN_ID",
)
_REAP = (
    _list(
        "--at",
        f"a place to look at, as service://connection@region, with a service of {_SERVICES}; "
        "default: reaper_places of section cancel_provider",
        "PLACE",
    ),
    _list("--scope", "a pattern of cluster ids, queue names and application ids to look at", "PATTERN"),
    _list("--except-scope", "a pattern of those to leave out", "PATTERN"),
    _AIRFLOW,
    _flag("--loop", help="sweep again and again, until SIGTERM or SIGINT"),
    _seconds(
        "--interval",
        "seconds within which an orphan is found and its cancel requested, both looks included: more than "
        "--grace",
        300.0,
    ),
    _flag("-n", "--dry-run", help="list what would be cancelled; cancel nothing"),
    _JSON,
    _seconds("--grace", "seconds between the two looks that have to agree", Rules.grace),
    _seconds(
        "--confirm-seconds",
        f"how long to wait for cancelled jobs to end; default: {Rules.confirm_seconds:g}, and 0 in a loop, "
        "whose next sweep looks at them",
        None,
    ),
    _seconds(
        "--escalate-after", "seconds after which a job that won't end is forced to", Rules.escalate_after
    ),
    _arg(
        "--brake",
        help="most orphans that one sweep may cancel; if there are more, none of them is cancelled",
        type=int,
        default=Rules.brake,
    ),
    _arg(
        "--share",
        help="share of the published API quotas to keep to; above 1 where the account's were raised",
        type=float,
        default=SHARE,
    ),
)
_CANCEL = (
    _JOBS,
    _flag("--force", help="use the strongest cancel that the service has, at once"),
    _seconds("--wait", "seconds to wait for the jobs to end; 0: only request the cancel", 120.0),
    _flag("--ignore-missing", help="jobs that their service does not know are no failure"),
    _JSON,
)
_CHOSEN: dict[str, Any] = {"nargs": "+", "default": [], "metavar": "JOB"}
_DEAD_LETTERS = (
    _arg("--acknowledge", help="don't list these any more, and don't cancel them", **_CHOSEN),
    _arg("--retry", help="have the next sweep cancel these again; 'all': all of them", **_CHOSEN),
    _AIRFLOW,
    _JSON,
)


def _run(name: str) -> Any:
    """A command that is imported when it is called: each ``airflow`` command reads the list of commands."""

    def run(options: argparse.Namespace) -> None:
        try:
            commands = import_module("airflow_cancel_provider.cli.commands")
        except ImportError as error:
            sys.exit(f"{GROUP} {name} can't start, because a package is missing or too old: {error}")
        sys.exit(getattr(commands, name)(options))

    return run


COMMANDS = (
    ActionCommand(
        name="reap",
        help="Cancel running jobs whose task is over",
        func=_run("reap"),
        args=_REAP,
        epilog="Exit code 0: all well; 1: something could not be looked at or cancelled; 2: wrong input.",
    ),
    ActionCommand(
        name="cancel",
        help="Cancel jobs, and wait for them to end",
        func=_run("cancel"),
        args=_CANCEL,
        epilog="Exit code 0: all have ended; 1: some could not be cancelled or are unknown to their service; "
        "2: wrong input, nothing was sent.",
    ),
    ActionCommand(
        name="describe",
        help="Show the state of jobs",
        func=_run("describe"),
        args=(_JOBS, _JSON),
        epilog="Exit code 0: all are known; 1: some are unknown to their service; 2: wrong input.",
    ),
    ActionCommand(
        name="dead-letters",
        help="List the jobs that a reaper could not cancel",
        func=_run("dead_letters"),
        args=_DEAD_LETTERS,
        epilog="Exit code 0: there are none; 1: there are some; 2: wrong input.",
    ),
    *service_commands.COMMANDS,
)


def get_cli_commands() -> list[GroupCommand]:
    """What Airflow 3.2 and later add to ``airflow``."""
    return [
        GroupCommand(
            name=GROUP, help="Cancel remote jobs, and find those whose task is over", subcommands=COMMANDS
        )
    ]


def get_parser() -> argparse.ArgumentParser:
    """The same commands, without ``airflow``."""
    parser = argparse.ArgumentParser(prog=f"airflow-{GROUP}", description=(__doc__ or "").partition("\n")[0])
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = subparsers.add_parser(command.name, help=command.help, epilog=command.epilog)
        for arg in command.args:
            arg.add_to_parser(subparser)
        subparser.set_defaults(func=command.func)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command."""
    options = get_parser().parse_args(arguments)
    options.func(options)
