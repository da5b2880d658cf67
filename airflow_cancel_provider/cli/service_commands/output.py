"""What a command writes: ``--query`` and ``--output``, as the AWS CLI does it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
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
    return "".join(f"{line}\n" for line in _text_lines(reply))


def _text_lines(item: Any, name: str | None = None, columns: list[str] | None = None) -> Iterator[str]:
    if isinstance(item, dict):
        yield from _text_of_dict(item, name, columns)
    elif isinstance(item, list):
        yield from _text_of_list(item, name)
    else:
        yield str(item)


def _text_of_dict(item: dict[str, Any], name: str | None, columns: list[str] | None) -> Iterator[str]:
    shown = columns if columns is not None else sorted(key for key in item if _is_scalar(item[key]))
    cells = [str(item.get(key, "")) for key in shown]
    if cells:
        yield "\t".join([name.upper(), *cells] if name else cells)
    for key in sorted(item.keys() - set(shown)):
        yield from _text_lines(item[key], key)


def _text_of_list(items: list[Any], name: str | None) -> Iterator[str]:
    if any(isinstance(item, dict) for item in items):
        dicts = [item for item in items if isinstance(item, dict)]
        columns = sorted({key for item in dicts for key in item if _is_scalar(item[key])})
        for item in items:
            yield from _text_lines(item, name, columns)
        return
    scalars = [str(item) for item in items if _is_scalar(item)]
    if scalars and name:
        yield from (f"{name.upper()}\t{scalar}" for scalar in scalars)
    elif scalars:
        yield "\t".join(scalars)
    for item in items:
        if isinstance(item, list):
            yield from _text_lines(item, name)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, (dict, list))


_WRITERS: dict[str, Callable[[Any], str]] = {"json": _json, "text": _text}
OUTPUTS = tuple(_WRITERS)
