"""Help texts from a service's model."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from html import unescape
from typing import Any

from airflow_cancel_provider.cli.service_commands.model import Operation

_GLOBAL_OPTIONS = (
    ("--conn-id <string>", "Airflow connection; the service's default connection if it is left out."),
    ("--region <string>", "The region to use, instead of the connection's."),
    ("--endpoint-url <string>", "The URL to use, instead of the connection's."),
    ("--output json|yaml|text", "The formatting style for command output."),
    ("--query <string>", "A JMESPath query to use in filtering the response data."),
    ("--no-paginate", "Make only one call, for the first page of results."),
    ("--no-verify-ssl", "Don't verify SSL certificates."),
    ("--ca-bundle <string>", "The CA certificate bundle to use when verifying SSL certificates."),
)
_INPUT_OPTIONS = (
    (
        "--cli-input-json <string>, --cli-input-yaml <string>",
        "Parameters as JSON or YAML, or file://path of a file with them. The command line overrides them.",
    ),
    (
        "--generate-cli-skeleton [input|output]",
        "Send nothing; print a skeleton of the input, or (output) check it and print one of the reply.",
    ),
)
_PAGING_OPTIONS = (
    ("--max-items <integer>", "The total number of items to return."),
    ("--starting-token <string>", "Where to go on: the NextToken of a response that --max-items cut off."),
)


_WIDEST = 100


def of_service(program: str, model: Any, operations: Mapping[str, Operation], columns: int) -> str:
    """Help on a service: its operations."""
    return _page(
        columns,
        ("NAME", [program]),
        ("DESCRIPTION", _paragraphs(model.documentation)),
        ("AVAILABLE COMMANDS", [f"  {name}" for name in operations]),
        ("GLOBAL OPTIONS", _options(_GLOBAL_OPTIONS)),
    )


def of_operation(program: str, operation: Operation, columns: int) -> str:
    """Help on an operation: what it does, and its options."""
    written = [_written(each) for each in operation.parameters]
    described = [
        (option, " ".join(_paragraphs(each.shape.documentation)) + _choices(each.shape))
        for each, option in zip(operation.parameters, written, strict=True)
    ]
    paging = _PAGING_OPTIONS if operation.paginator is not None else ()
    options = [*described, *paging, *_INPUT_OPTIONS]
    needed = [
        option if each.is_required else f"[{option}]"
        for each, option in zip(operation.parameters, written, strict=True)
    ]
    return _page(
        columns,
        ("NAME", [f"{program} {operation.command}"]),
        ("DESCRIPTION", _paragraphs(operation.model.documentation)),
        ("SYNOPSIS", [" ".join([operation.command, *needed, "[<global options>]"])]),
        ("OPTIONS", _options(options)),
        ("GLOBAL OPTIONS", _options(_GLOBAL_OPTIONS)),
        ("OUTPUT", list(_members(operation.model.output_shape))),
    )


def _written(parameter: Any) -> str:
    kind = parameter.shape.type_name
    if kind == "boolean":
        return f"{parameter.option} | --no-{parameter.option[2:]}"
    return f"{parameter.option} <value>" + (" [<value> ...]" if kind == "list" else "")


def _choices(shape: Any) -> str:
    member = shape.member if shape.type_name == "list" else shape
    enum = getattr(member, "enum", None)
    return f" Possible values: {', '.join(enum)}." if enum else ""


def _members(shape: Any) -> Iterator[str]:
    for name, member in (shape.members if shape else {}).items():
        yield f"{name} -> ({member.type_name})"


def _paragraphs(html: str) -> list[str]:
    """The paragraphs of a documentation in HTML."""
    marked = re.sub(r"</?(p|li|ul|ol|note|br|important|dl|dt|dd)\b[^>]*>", "\n", html)
    lines = (" ".join(unescape(re.sub(r"<[^>]+>", "", part)).split()) for part in marked.split("\n"))
    return [line for line in lines if line]


def _options(options: Iterable[tuple[str, str]]) -> list[str]:
    return [line for option, words in options for line in (option, f"  {words}")]


def _page(columns: int, *sections: tuple[str, list[str]]) -> str:
    width = min(columns, _WIDEST)
    lines: list[str] = []
    for title, paragraphs in sections:
        lines.append(title)
        for paragraph in paragraphs:
            indent = "    " + " " * (len(paragraph) - len(paragraph.lstrip()))
            lines += textwrap.wrap(
                paragraph.strip(),
                width,
                initial_indent=indent,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
        lines.append("")
    return "\n".join(lines)
