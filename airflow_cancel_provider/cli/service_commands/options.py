"""From options on the command line to parameters of a service's call, as the AWS CLI reads them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore import xform_name
from botocore.model import Shape

from airflow_cancel_provider.cli.service_commands.shorthand import shorthand
from airflow_cancel_provider.exceptions import InvalidInput

_NUMBERS = {"integer": int, "long": int, "float": float, "double": float}
_COMPLEX = frozenset({"structure", "list", "map"})


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

    def add_to(self, parser: argparse.ArgumentParser, *, is_required: bool) -> None:
        """Declare the option."""
        required = self.is_required and is_required
        if self.shape.type_name == "boolean":
            group = parser.add_mutually_exclusive_group(required=required)
            group.add_argument(self.option, dest=self.dest, action="store_true", default=None)
            group.add_argument(f"--no-{self.option[2:]}", dest=self.dest, action="store_false", default=None)
        else:
            nargs = "*" if self.shape.type_name == "list" else None
            parser.add_argument(self.option, dest=self.dest, nargs=nargs, required=required)

    def read(self, given: Any) -> Any:
        """The value as the service takes it.

        :raises InvalidInput: it can't be read.
        """
        return (
            given
            if isinstance(given, bool)
            else _read(self.shape, _from_file(self.option, given), self.option)
        )


def parameters_of(shape: Shape | None) -> Iterator[Parameter]:
    """The parameters of an operation, from the shape of its input."""
    members: Mapping[str, Any] = getattr(shape, "members", {})
    for name, member in members.items():
        yield Parameter(name, member, name in getattr(shape, "required_members", ()))


def from_file(option: str, text: str) -> str | bytes:
    """What a value of ``file://…`` or ``fileb://…`` refers to; any other value itself.

    :raises InvalidInput: the file can't be read.
    """
    scheme, is_uri, path = text.partition("://")
    if not is_uri or scheme not in ("file", "fileb"):
        return text
    try:
        content = Path(os.path.expandvars(Path(path).expanduser())).read_bytes()
    except OSError as error:
        raise bad_value(option, f"Unable to load paramfile {text}: {error}") from None
    if scheme == "fileb":
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise bad_value(
            option,
            f"Unable to load paramfile ({path}), text contents could not be decoded.  If this is a "
            "binary file, please use the fileb:// prefix instead of the file:// prefix.",
        ) from None


def from_json(option: str, text: str | bytes) -> Any:
    """The value of a text in JSON.

    :raises InvalidInput: it is not JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_value(option, f"Invalid JSON: {error}\nJSON received: {_text(text)}") from None


def from_yaml(option: str, text: str | bytes) -> Any:
    """The value of a text in YAML.

    :raises InvalidInput: it is not YAML.
    """
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise bad_value(option, f"Invalid YAML: {error}") from None


def _from_file(option: str, given: Any) -> Any:
    """As :func:`from_file`; a list of one file is the list in it."""
    if isinstance(given, str):
        return from_file(option, given)
    if len(given) == 1 and (content := from_file(option, given[0])) != given[0]:
        return content
    return given


def _text(content: str | bytes) -> str:
    return content.decode(errors="replace") if isinstance(content, bytes) else content


def _read(shape: Any, given: Any, option: str) -> Any:
    if shape.type_name == "list":
        return _list(shape, given, option)
    if shape.type_name in _COMPLEX:
        return _object(shape, _text(given), option)
    if shape.type_name == "boolean":
        return given.lower() != "false"
    if shape.type_name in _NUMBERS:
        return _number(shape, given, option)
    return given


def _number(shape: Any, given: str, option: str) -> Any:
    try:
        return _NUMBERS[shape.type_name](given)
    except ValueError as error:
        raise bad_value(option, str(error)) from None


def _object(shape: Any, text: str, option: str) -> Any:
    if text.lstrip().startswith("{"):
        return from_json(option, text)
    try:
        return shorthand(text, shape)
    except ValueError as error:
        raise bad_value(option, str(error)) from None


def _list(shape: Any, given: Any, option: str) -> Any:
    if isinstance(given, (str, bytes)):  # a file
        return from_json(option, given)
    if len(given) == 1 and given[0].lstrip().startswith("["):
        return from_json(option, given[0])
    return [_read(shape.member, each, option) for each in given]
