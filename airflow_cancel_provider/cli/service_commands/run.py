"""Run one operation of a service, as the AWS CLI does: options, output, words of errors, exit codes.

Exit codes are those of version 1 of the AWS CLI: 0, 2 for wrong use, 130 for an interrupt, 255 for all else
that goes wrong.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.paginate import Paginator
from botocore.utils import ArgumentGenerator
from botocore.validate import validate_parameters

from airflow_cancel_provider.cli.answers import fill_in_streams, standard_output, warnings_only
from airflow_cancel_provider.cli.service_commands.clients import (
    ClientOptions,
    client_of,
    silence_of,
)
from airflow_cancel_provider.cli.service_commands.model import Operation, service_model
from airflow_cancel_provider.cli.service_commands.options import bad_value, from_file, from_json
from airflow_cancel_provider.cli.service_commands.output import searcher, written
from airflow_cancel_provider.cli.service_commands.parser import (
    PAGING,
    UnknownOptions,
    global_parser,
    operation_parser,
    parse,
    usage,
)
from airflow_cancel_provider.exceptions import InvalidInput, ServiceError
from airflow_cancel_provider.services.aws.answers import NoAnswer
from airflow_cancel_provider.services.credentials import without_logins
from airflow_cancel_provider.services.registry import ServiceInfo

WELL, INTERRUPTED, FAILED = 0, 130, 255
_HELP = frozenset({"help", "--help", "-h"})


def run(info: ServiceInfo, program: str, arguments: list[str]) -> int:
    """Run ``program`` with what follows the service's name, and give the exit code.

    :raises SystemExit: wrong use, which argparse ends with 2.
    """
    fill_in_streams()
    try:
        # The AWS CLI writes its answer alone: connections and clients log only what is wrong.
        with warnings_only(), standard_output() as out:
            out.write(_answered(info, program, arguments))
    except BrokenPipeError:  # nobody reads any more
        return WELL
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return INTERRUPTED
    except UnknownOptions as error:
        sys.stderr.write(f"usage: {usage(program)}\n\n{error}\n")
    except Exception as error:  # noqa: BLE001  the AWS CLI says whatever went wrong in one sentence
        sys.stderr.write(f"\n{_words(error)}\n")
    else:
        return WELL
    return FAILED


def _words(error: Exception) -> str:
    """What went wrong. Errors that nobody expects have their type's name before them."""
    is_known = type(error).__module__.startswith(("airflow", "botocore"))
    return without_logins(str(error) if is_known else f"{type(error).__name__}: {error}")


def _answered(info: ServiceInfo, program: str, arguments: list[str]) -> str:
    """As :func:`_answer`; a connection to a service that breaks is no reader that went away."""
    try:
        return _answer(info, program, arguments)
    except BrokenPipeError as error:
        raise ConnectionError(str(error)) from error


def _answer(info: ServiceInfo, program: str, arguments: list[str]) -> str:
    """What a command writes to standard output."""
    model, operations = service_model(info)
    parser = global_parser(program, model, operations)
    if arguments and arguments[0] in _HELP:
        return parser.format_help()
    chosen, rest = parser.parse_known_args(arguments)
    if chosen.operation in _HELP:
        return parser.format_help()
    operation = operations[chosen.operation]
    parser = operation_parser(program, operation.model, operation.parameters, operation.paginator, rest)
    if rest == ["help"] or _HELP.intersection(rest) - {"help"}:
        return parser.format_help()
    search = searcher(chosen.query)
    client_options = _client_options(chosen)
    options = parse(parser, rest)
    parameters = _parameters(operation, options)
    if options.generate_cli_skeleton == "input":
        return written(ArgumentGenerator().generate_skeleton(operation.model.input_shape), "json")
    paging = _paging(operation, options, parameters, is_wanted=chosen.paginate)
    validate_parameters(parameters, operation.model.input_shape)
    if options.generate_cli_skeleton:
        reply = ArgumentGenerator(use_member_names=True).generate_skeleton(operation.model.output_shape)
    else:
        with silence_of(info, client_options).broken():
            client = client_of(info, client_options)  # a role is assumed
            reply = _called(operation, client, parameters, paging)
    return written(search(reply), chosen.output)


def _client_options(chosen: Namespace) -> ClientOptions:
    """:raises InvalidInput: the endpoint is no URL, or the region is blank."""
    if chosen.endpoint_url is not None and not urlsplit(chosen.endpoint_url).scheme:
        raise InvalidInput(
            f'Bad value for --endpoint-url "{chosen.endpoint_url}": scheme is missing.  Must be of the form '
            "http://<hostname>/ or https://<hostname>/"
        )
    if chosen.region is not None and not chosen.region.strip():
        raise InvalidInput(f"Bad value for --region {chosen.region!r}: expected the name of a region.")
    verify = chosen.ca_bundle if chosen.verify_ssl else False
    return ClientOptions(chosen.conn_id, chosen.region, chosen.endpoint_url, verify)


def _parameters(operation: Operation, options: Namespace) -> dict[str, Any]:
    """The parameters of the call: those of the command line, and others from the input.

    :raises InvalidInput: a value can't be read.
    """
    given = {
        parameter.name: parameter.read(value)
        for parameter in operation.parameters
        if (value := getattr(options, parameter.dest)) is not None
    }
    return {**_input(options), **given}


def _input(options: Namespace) -> Mapping[str, Any]:
    option, text = "--cli-input-json", options.cli_input_json
    if text is None:
        return {}
    found = from_json(option, from_file(option, text))
    if not isinstance(found, dict):
        raise bad_value(option, f"Expected an object with parameters, received: {found!r}")
    return found


def _paging(
    operation: Operation, options: Namespace, parameters: Mapping[str, Any], *, is_wanted: bool
) -> dict[str, Any] | None:
    """How pages are asked for; None where one call is made, as it stands.

    :raises InvalidInput: paging is switched off and asked for.
    """
    if operation.paginator is None:
        return None
    named = {
        key: value for name, key in PAGING.items() if (value := getattr(options, name, None)) is not None
    }
    if is_wanted and not operation.page_members & parameters.keys():
        if named.get("MaxItems", 1) <= 0:
            sys.stderr.write(
                "warning: Non-positive values for --max-items may result in undefined behavior.\n"
            )
        return named
    if named:
        used = ", ".join("--" + name.replace("_", "-") for name, key in PAGING.items() if key in named)
        raise InvalidInput(
            "Error during pagination: Cannot specify --no-paginate along with pagination arguments: " + used
        )
    return None


def _called(
    operation: Operation, client: Any, parameters: dict[str, Any], paging: dict[str, Any] | None
) -> Any:
    """The reply of the service, all pages in one; without what botocore adds to it."""
    method = getattr(client, operation.method)
    try:
        if paging is None:
            reply = method(**parameters)
        else:
            paginator: Any = Paginator(method, dict(operation.paginator or {}), operation.model)
            reply = paginator.paginate(**parameters, PaginationConfig=paging).build_full_result()
    except NoAnswer as error:
        words = f"{operation.model.name} was not answered by the service: {error}. It may have been done."
        raise ServiceError(words, operation.model.name) from error
    except ServiceError as error:
        if not error.code:
            raise
        raise ServiceError(
            f"An error occurred ({error.code}) when calling the {operation.model.name} operation: {error}",
            operation.model.name,
            error.code,
        ) from error
    return {name: value for name, value in reply.items() if name != "ResponseMetadata"}
