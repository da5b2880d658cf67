"""The parsers: words and exit codes of the AWS CLI, options from the service's model."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from airflow_cancel_provider.cli.service_commands.options import Parameter, plain_text
from airflow_cancel_provider.cli.service_commands.output import OUTPUTS
from airflow_cancel_provider.exceptions import InvalidInput

WRONG_USAGE = 2
_CHOICES_PER_LINE = 2
PAGING = {"starting_token": "StartingToken", "page_size": "PageSize", "max_items": "MaxItems"}


class UnknownOptions(InvalidInput):
    """A command got arguments that it does not have. Nothing was sent."""


class ServiceParser(argparse.ArgumentParser):
    """An argparse parser that talks as the AWS CLI does."""

    def __init__(self, program: str, model: Any) -> None:
        super().__init__(
            prog=program.rpartition(" ")[0],
            usage=usage(program),
            description=plain_text(model.documentation),
            add_help=False,
        )

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        choices = [f"{choice:<40}" for choice in action.choices]
        lines = [
            " | ".join(choices[i : i + _CHOICES_PER_LINE]) for i in range(0, len(choices), _CHOICES_PER_LINE)
        ]
        words = ["Invalid choice, valid choices are:\n", *lines]
        if close := get_close_matches(value, list(action.choices), cutoff=0.8):
            words += [
                f"\n\nInvalid choice: {value!r}, maybe you meant:\n",
                *(f"  * {each}" for each in close),
            ]
        raise argparse.ArgumentError(action, "\n".join(words))

    def error(self, message: str) -> NoReturn:
        """Write the usage and the error, and end with 2."""
        self.print_usage(sys.stderr)
        self.exit(WRONG_USAGE, f"{self.prog}: error: {message}\n")


def usage(program: str) -> str:
    """How commands are written, for all errors of use."""
    return (
        f"{program} <operation> [parameters]\n"
        f"To see help text, you can run:\n\n  {program} help\n  {program} <operation> help"
    )


def global_parser(program: str, model: Any, operations: Mapping[str, Any]) -> ServiceParser:
    """Options that every operation has, and the operation; they may stand anywhere.

    :param model: of the service.
    """
    parser = ServiceParser(program, model)
    # Unabbreviated: an operation has options of its own.
    parser.allow_abbrev = False
    parser.add_argument("--conn-id", help="Airflow connection; left out: the default one of the service")
    parser.add_argument("--region", help="Region instead of the connection's")
    parser.add_argument("--endpoint-url", help="URL instead of the connection's")
    parser.add_argument("--ca-bundle", help="File with the certificates to trust")
    parser.add_argument(
        "--no-verify-ssl", dest="verify_ssl", action="store_false", help="Don't verify certificates"
    )
    parser.add_argument("--no-paginate", dest="paginate", action="store_false", help="Read one page only")
    parser.add_argument("--output", choices=list(OUTPUTS), default="json", help="Default: json")
    parser.add_argument("--query", help="What of the reply is shown, in JMESPath")
    parser.add_argument("operation", choices=[*operations, "help"])
    return parser


def operation_parser(
    program: str,
    model: Any,
    parameters: Sequence[Parameter],
    paginator: Mapping[str, Any] | None,
    arguments: list[str],
) -> ServiceParser:
    """The parser of one operation.

    :param model: of the operation.
    :param arguments: what it is about to read: parameters are not required on the command line where the
        input comes from a file, or where only a skeleton is asked for.
    """
    parser = ServiceParser(program, model)
    is_required = not _are_elsewhere(arguments)
    for parameter in parameters:
        parameter.add_to(parser, is_required=is_required)
    if paginator is not None:
        taken = {parameter.option for parameter in parameters}
        _add_paging(parser, paginator, taken)
    parser.add_argument(
        "--cli-input-json", help="Parameters as JSON, or file:// and the path of a file with them"
    )
    parser.add_argument(
        "--generate-cli-skeleton",
        nargs="?",
        const="input",
        choices=["input", "output"],
        help="Send nothing; print a skeleton of the input, or check it and print one of the reply",
    )
    parser.epilog = f"Options of all operations: {program} help"
    return parser


def parse(parser: ServiceParser, arguments: list[str]) -> argparse.Namespace:
    """Read all arguments.

    :raises UnknownOptions: some are none of this command.
    """
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise UnknownOptions(f"Unknown options: {', '.join(unknown)}")
    return options


def _add_paging(parser: ServiceParser, paginator: Mapping[str, Any], taken: set[str]) -> None:
    options: dict[str, tuple[type, str]] = {
        "--starting-token": (str, "Where to go on: the NextToken of a reply that --max-items cut off"),
        "--max-items": (int, "Most items to return"),
    }
    if "limit_key" in paginator:
        options["--page-size"] = (int, "Items of one page")
    for option, (kind, words) in options.items():
        if option not in taken:
            parser.add_argument(option, type=kind, help=words)


def _are_elsewhere(arguments: list[str]) -> bool:
    for i, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        if option == "--cli-input-json":
            return True
        if option == "--generate-cli-skeleton":
            return (value or arguments[i + 1 : i + 2]) not in ("output", ["output"])
    return False
