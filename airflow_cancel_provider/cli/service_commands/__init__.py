"""The services' own operations, for hands that know the AWS CLI: ``airflow remote-jobs emr cancel-steps``.

Every Airflow command reads this list: it imports no SDK. Which operations there are is in the services'
registry; their options, types and replies are in botocore's models of the services.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from airflow.cli import cli_config
from airflow.cli.cli_config import ActionCommand

from airflow_cancel_provider.cli.definitions import load
from airflow_cancel_provider.services.registry import SERVICES, ServiceInfo

_Base: Any = cli_config.Arg  # which has no types


class _Everything(_Base):  # type: ignore[misc]
    """All that follows the name of the service, options too: :mod:`.run` reads it."""

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        """Leave everything to another parser, and keep the words that led here."""
        # No argument begins with this: so --help, too, is one of those that are handed on.
        parser.prefix_chars = "\0"
        parser.add_argument("arguments", nargs=argparse.REMAINDER)
        parser.set_defaults(program=parser.prog)


def _command(info: ServiceInfo) -> Any:
    def run(options: argparse.Namespace) -> None:
        module = load(info.name, "service_commands.run")
        sys.exit(module.run(info, options.program, options.arguments))

    return ActionCommand(
        name=info.name,
        help=f"Cancel and show jobs of {info.title}, with the options of the AWS CLI",
        func=run,
        args=(_Everything(("arguments",)),),
    )


COMMANDS = tuple(_command(info) for info in SERVICES.values())
