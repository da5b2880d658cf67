"""Whether a reply is the answer that an operation promises: a page of a proxy is none, nor is half of one.

botocore reads any JSON that it gets, and leaves out what is missing. What our code reads of an answer stands
in a table, by operation, and nothing is read before it was compared with that table. What is not in the table
is not there: see ``body.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError

TEXT, WORD, FLAG, TIME, MILLISECONDS, TEXTS = "text", "word", "flag", "time", "milliseconds", "texts"
NUMBER = "number"
"""Kinds of values: any text; text that is not empty; true or false; a time; epoch milliseconds; a map of
texts; a number. A pattern stands for a text that it matches."""

Shape = str | re.Pattern[str] | dict[str, Any] | list[Any]
"""A kind, an object by the names of its members (``name?``: may be missing), or a list of ``[shape]``."""
Answers = Mapping[str, dict[str, Shape]]
"""By operation, what our code reads of its answer."""

_LAST_MILLISECOND = 253_370_764_800_000


class NoAnswer(BotoCoreError):
    """A reply with a status of success that is not the operation's answer. It may have been carried out."""

    fmt = "{why}"


class NotSent(BotoCoreError):
    """Something failed while a request was made, as a provider of credentials of the user's own."""

    fmt = "{why}"


def check(answers: Answers, operation: str, answer: Any) -> None:
    """Compare an answer with what is read of it.

    :raises NoAnswer: a member is missing or of another kind.
    """
    wrong = _wrong(answers.get(operation, {}), answer)
    if wrong:
        what = wrong.removeprefix(".") if wrong.startswith(".") else f"it{wrong}"
        raise NoAnswer(why=f"the reply is not an answer of {operation}: {what}")


def check_about(
    operation: str, answer: Mapping[str, Any], path: str, asked: Collection[str], *, each: bool
) -> None:
    """Compare the ids in an answer with those that were asked about.

    :param path: where the ids stand: names with dots between them, through lists.
    :param each: none of those asked about may be missing.
    :raises NoAnswer: the answer is about something else.
    """
    found = set(values_at(answer, path))
    if found - set(asked) or (each and set(asked) - found):
        raise NoAnswer(why=f"the reply is not an answer of {operation}: it is about {sorted(found)}"[:300])


def values_at(answer: Any, path: str) -> Iterator[str]:
    """Values at a path of an answer that was checked."""
    values = [answer]
    for name in path.split("."):
        values = [value[name] for value in values]
        values = [one for value in values for one in (value if isinstance(value, list) else [value])]
    return iter(values)


def _wrong(shape: Shape, value: Any) -> str:
    """What is wrong with a value, or nothing; begins with the place inside it, ``.name`` and ``[]``."""
    if isinstance(shape, list):
        return _wrong_list(shape[0], value)
    if isinstance(shape, dict):
        return _wrong_object(shape, value)
    return "" if _is(shape, value) else f" is no {getattr(shape, 'pattern', shape)}"


def _wrong_list(shape: Shape, value: Any) -> str:
    if not isinstance(value, list):
        return " is no list"
    return next((f"[]{wrong}" for item in value if (wrong := _wrong(shape, item))), "")


def _wrong_object(shape: dict[str, Shape], value: Any) -> str:
    if not isinstance(value, dict):
        return " is no object"
    # Thousands of jobs are compared: words are made only of what is wrong.
    for name, member in shape.items():
        may_miss = name[-1] == "?"
        plain = name[:-1] if may_miss else name
        found = value.get(plain)
        if found is None:
            if not may_miss:
                return f".{plain} is missing"
        elif wrong := _wrong(member, found):
            return f".{plain}{wrong}"
    return ""


def _is(kind: str | re.Pattern[str], value: Any) -> bool:
    if isinstance(kind, re.Pattern):
        return isinstance(value, str) and bool(kind.fullmatch(value))
    return _KINDS[kind](value)


def _is_milliseconds(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LAST_MILLISECOND


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, datetime) and value.tzinfo is not None and bool(value.astimezone(UTC))
    except (OverflowError, ValueError):
        return False


_KINDS: dict[str, Callable[[Any], bool]] = {
    TEXT: lambda value: isinstance(value, str),
    FLAG: lambda value: isinstance(value, bool),
    WORD: lambda value: isinstance(value, str) and not (value == "" or value.isspace()),
    TEXTS: lambda value: isinstance(value, dict) and all(isinstance(text, str) for text in value.values()),
    MILLISECONDS: _is_milliseconds,
    NUMBER: lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    TIME: _is_time,
}
