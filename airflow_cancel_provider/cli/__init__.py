"""Cancel remote jobs, and find those whose task is over.

``airflow remote-jobs``; before Airflow 3.2, ``airflow-remote-jobs``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from airflow.cli.cli_config import GroupCommand

from airflow_cancel_provider.cli import service_commands
from airflow_cancel_provider.cli.definitions import COMMANDS as OWN
from airflow_cancel_provider.cli.definitions import GROUP, VERSION

COMMANDS = (*OWN, *service_commands.COMMANDS)


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
    VERSION.add_to_parser(parser)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name,
            help=command.help,
            description=command.help,
            epilog=command.epilog and command.epilog.replace(f"airflow {GROUP}", f"airflow-{GROUP}"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for arg in command.args:
            arg.add_to_parser(subparser)
        subparser.set_defaults(func=command.func)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command."""
    options = get_parser().parse_args(arguments)
    options.func(options)
