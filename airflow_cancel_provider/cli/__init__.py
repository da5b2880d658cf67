"""``airflow remote-jobs``; before Airflow 3.2, ``python -m airflow_cancel_provider.cli``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from airflow.cli import cli_config
from airflow.cli.cli_config import ActionCommand, GroupCommand

from airflow_cancel_provider.services.registry import SERVICES

Arg: Any = cli_config.Arg  # which has no types
GROUP = "remote-jobs"
_PLACE = Arg(
    ("--at",),
    help=f"a place to look at: aws://connection@region, or {', '.join(SERVICES)} instead of aws; "
    "may be repeated; default: reaper_places of section cancel_provider",
    action="append",
    default=[],
    metavar="PLACE",
)
_SCOPE = Arg(
    ("--scope",),
    help="a pattern of cluster ids, queue names and application ids to look at; may be repeated",
    action="append",
    default=[],
    metavar="PATTERN",
)
_EXCEPT_SCOPE = Arg(
    ("--except-scope",),
    help="a pattern of those to leave out; may be repeated",
    action="append",
    default=[],
    metavar="PATTERN",
)
_AIRFLOW = Arg(
    ("--airflow-conn-id",),
    help="ask Airflow's API server, with the service account of this connection, instead of its database",
    metavar="CONN_ID",
)
_LOOP = Arg(("--loop",), help="sweep again and again, until SIGTERM or SIGINT", action="store_true")
_INTERVAL = Arg(
    ("--interval",),
    help="seconds within which an orphan is found and asked to end, both looks included: more than --grace",
    type=float,
    default=300.0,
)
_DRY = Arg(("-n", "--dry-run"), help="say what would be cancelled; cancel nothing", action="store_true")
_JSON = Arg(("--json",), help="one JSON object a sweep on standard output", action="store_true")
_GRACE = Arg(("--grace",), help="seconds between the two looks that have to agree", type=float, default=30.0)
_CONFIRM = Arg(
    ("--confirm-seconds",),
    help="how long to wait to see jobs end; default: 120, and 0 in a loop, whose next sweep sees it",
    type=float,
)
_ESCALATE = Arg(
    ("--escalate-after",),
    help="seconds after which a job that won't end is forced to",
    type=float,
    default=60.0,
)
_BRAKE = Arg(
    ("--brake",),
    help="most orphans that one sweep may cancel; where there are more, none of them is cancelled",
    type=int,
    default=100,
)
_SHARE = Arg(
    ("--share",),
    help="share of the published API quotas to keep to; above 1 where the account's were raised",
    type=float,
    default=0.5,
)
_JOBS = Arg(
    ("jobs",), help="addresses, as emr://aws_default@us-east-1/j-2AXX/s-3BYY", nargs="+", metavar="JOB"
)
_FORCE = Arg(("--force",), help="the hardest way the service has, at once", action="store_true")
_MISSING = Arg(
    ("--ignore-missing",), help="jobs that their service does not know are no failure", action="store_true"
)
_WAIT = Arg(
    ("--wait",), help="seconds to wait to see them end; 0: only request it", type=float, default=120.0
)
_ACKNOWLEDGE = Arg(
    ("--acknowledge",), help="list these no more, and leave them alone", nargs="+", default=[], metavar="JOB"
)
_RETRY = Arg(
    ("--retry",),
    help="have the next sweep try these again; 'all': all of them",
    nargs="+",
    default=[],
    metavar="JOB",
)


def _run(name: str) -> Any:
    """A command that is loaded when it is called: Airflow reads the list of commands each time it starts."""

    def run(options: argparse.Namespace) -> None:
        try:
            commands = import_module("airflow_cancel_provider.cli.commands")
        except ImportError as error:
            sys.exit(f"{GROUP} {name} can't start, as the installation is not whole: {error}")
        sys.exit(getattr(commands, name)(options))

    return run


COMMANDS = (
    ActionCommand(
        name="reap",
        help="Cancel living jobs whose task is over",
        func=_run("reap"),
        args=(
            *(_PLACE, _SCOPE, _EXCEPT_SCOPE, _AIRFLOW, _LOOP, _INTERVAL, _DRY, _JSON),
            *(_GRACE, _CONFIRM, _ESCALATE, _BRAKE, _SHARE),
        ),
        epilog="Exit code 0: all well; 1: something could not be looked at or cancelled; 2: wrong input.",
    ),
    ActionCommand(
        name="cancel",
        help="Cancel jobs, and see them end",
        func=_run("cancel"),
        args=(_JOBS, _FORCE, _WAIT, _MISSING, _JSON),
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
        args=(_ACKNOWLEDGE, _RETRY, _AIRFLOW, _JSON),
    ),
)


def get_cli_commands() -> list[GroupCommand]:
    """What Airflow 3.2 and later add to ``airflow``."""
    return [
        GroupCommand(
            name=GROUP, help="Cancel remote jobs, and reap those that were left", subcommands=COMMANDS
        )
    ]


def get_parser() -> argparse.ArgumentParser:
    """The same commands, without ``airflow``."""
    parser = argparse.ArgumentParser(prog=f"airflow-{GROUP}", description=__doc__)
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
