"""What a command writes: ``--query`` and ``--output``, as the AWS CLI does it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput, writable


def searcher(query: str | None) -> Callable[[Any], Any]:
    """What ``--query`` selects of a reply.

    :raises InvalidInput: it is no expression of JMESPath.
    """
    if query is None:
        return lambda reply: reply
    import jmespath

    try:
        expression = jmespath.compile(query)
    except (jmespath.exceptions.JMESPathError, ValueError) as error:
        raise InvalidInput(f"Bad value for --query {query}: {error}") from None

    def search(reply: Any) -> Any:
        try:
            return expression.search(reply)
        except jmespath.exceptions.JMESPathError as error:  # a function that does not take the value
            raise InvalidInput(str(error)) from None

    return search


def written(reply: Any, output: str) -> str:
    """A reply as text, with its last newline; empty where there is nothing to say.

    :param output: one of :data:`OUTPUTS`.
    """
    return writable(_WRITERS[output](_plain(reply)))


def _plain(value: Any) -> Any:
    """Times as ISO 8601, bytes as base64."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _json(reply: Any) -> str:
    # A reply without a body is no output.
    return "" if reply == {} else json.dumps(reply, indent=4, ensure_ascii=False) + "\n"


def _text(reply: Any) -> str:
    """A value, a row of them, or rows: what ``--query`` selects for a shell. Objects are JSON."""
    if reply == {}:
        return ""
    has_rows = isinstance(reply, list) and any(isinstance(row, (dict, list)) for row in reply)
    return "".join(map(_line, reply if has_rows else [reply]))


def _line(row: Any) -> str:
    cells = row if isinstance(row, list) else [row]
    return "\t".join(map(_cell, cells)) + "\n" if cells else ""


def _cell(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else str(value)


_WRITERS: dict[str, Callable[[Any], str]] = {"json": _json, "text": _text}
OUTPUTS = tuple(_WRITERS)
