"""From options on the command line to parameters of a service's call, as the AWS CLI reads them."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.model import Shape

from airflow_cancel_provider.exceptions import InvalidInput

_NUMBERS = {"integer": int, "long": int, "float": float, "double": float}
_OBJECTS = frozenset({"structure", "map"})


def bad_value(option: str, words: str) -> InvalidInput:
    """The error of an option whose value can't be read, in the AWS CLI's words."""
    return InvalidInput(f"Error parsing parameter '{option}': {words}")


def option_of(name: str) -> str:
    """The option of a parameter: ``ClusterId`` is ``--cluster-id``."""
    return "--" + xform_name(name, "-").replace("_", "-")


@dataclass(frozen=True)
class Parameter:
    """One parameter of an operation, as an option of a command.

    :param name: what the service calls it.
    :param shape: its type in the service's model.
    """

    name: str
    shape: Any
    is_required: bool

    @property
    def option(self) -> str:
        """The option, with its hyphens."""
        return option_of(self.name)

    @property
    def dest(self) -> str:
        """Where argparse keeps the value."""
        return "parameter_" + self.name

    @property
    def help(self) -> str:
        """What the service's model says of it, for argparse."""
        member = self.shape.member if self.shape.type_name == "list" else self.shape
        choices = f" One of {', '.join(enum)}." if (enum := getattr(member, "enum", None)) else ""
        needed = "Required. " if self.is_required else ""
        return f"{needed}{plain_text(self.shape.documentation)}{choices}".replace("%", "%%")

    def add_to(self, parser: argparse.ArgumentParser, *, is_required: bool) -> None:
        """Declare the option."""
        required = self.is_required and is_required
        if self.shape.type_name == "boolean":
            group = parser.add_mutually_exclusive_group(required=required)
            group.add_argument(self.option, dest=self.dest, action="store_true", default=None, help=self.help)
            group.add_argument(f"--no-{self.option[2:]}", dest=self.dest, action="store_false", default=None)
        else:
            nargs = "*" if self.shape.type_name == "list" else None
            parser.add_argument(
                self.option, dest=self.dest, nargs=nargs, required=required, metavar="VALUE", help=self.help
            )

    def read(self, given: Any) -> Any:
        """The value as the service takes it.

        :raises InvalidInput: it can't be read.
        """
        return given if isinstance(given, bool) else _read(self.shape, given, self.option)


def parameters_of(shape: Shape | None) -> Iterator[Parameter]:
    """The parameters of an operation, from the shape of its input."""
    members: Mapping[str, Any] = getattr(shape, "members", {})
    for name, member in members.items():
        yield Parameter(name, member, name in getattr(shape, "required_members", ()))


def plain_text(html: str) -> str:
    """A text of a service's model without its marks."""
    spaced = re.sub(r"</?(p|li|ul|ol|note|br|important|dl|dt|dd)\b[^>]*>", " ", html)
    return " ".join(unescape(re.sub(r"<[^>]+>", "", spaced)).split())


def from_file(option: str, text: str) -> str:
    """What a value of ``file://…`` refers to; any other value itself.

    :raises InvalidInput: the file can't be read.
    """
    if not text.startswith("file://"):
        return text
    path = Path(text.removeprefix("file://")).expanduser()
    try:
        return Path(os.path.expandvars(path)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise bad_value(option, f"Unable to load paramfile {text}: {error}") from None


def from_json(option: str, text: str) -> Any:
    """The value of a text in JSON.

    :raises InvalidInput: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_value(option, f"Invalid JSON: {error}\nJSON received: {text}") from None


def _read(shape: Any, given: Any, option: str) -> Any:
    if shape.type_name == "list":
        return _list(shape, given, option)
    text = from_file(option, given)
    if shape.type_name in _OBJECTS:
        return from_json(option, text)
    return _number(shape, text, option) if shape.type_name in _NUMBERS else text


def _number(shape: Any, given: str, option: str) -> Any:
    try:
        return _NUMBERS[shape.type_name](given)
    except ValueError as error:
        raise bad_value(option, str(error)) from None


def _list(shape: Any, given: list[str], option: str) -> Any:
    """The items that are given one by one, or as JSON, which may be in a file."""
    if len(given) == 1 and (given[0].startswith("file://") or given[0].lstrip().startswith("[")):
        return from_json(option, from_file(option, given[0]))
    return [_read(shape.member, each, option) for each in given]
