"""The body of an answer, before botocore parses it: a JSON object, of which only what is read is left.

The parser takes most of the time of a big answer, and of a job AWS Batch shows a hundred values, of which ten
are read. Others may use the same client, so only answers to our own calls are cut: see :func:`cutting`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from airflow_cancel_provider.services.aws.answers import NoAnswer, Shape

Cut = Callable[[Any], Any]
"""From a value of an answer to what is read of it."""


@dataclass
class Reading:
    """How answers are read.

    :param has_come: whether there was a reply.
    """

    cut: Cut
    has_come: bool = False


_present: ContextVar[Reading | None] = ContextVar("reading", default=None)


@contextmanager
def cutting(cut: Cut) -> Iterator[Reading]:
    """Have answers to calls in this context cut before they are parsed."""
    reading = Reading(cut)
    token = _present.set(reading)
    try:
        yield reading
    finally:
        _present.reset(token)


def read_body(response_dict: dict[str, Any], operation_model: Any, **_: Any) -> None:
    """Handler of ``before-parse``: a body of success is a JSON object, or empty where nothing is promised.

    Leaves what is read of it.

    :raises NoAnswer: it is not.
    """
    if reading := _present.get():
        reading.has_come = True
    if response_dict["status_code"] > 300:  # what botocore takes for an error
        return
    body = response_dict["body"]
    shape = operation_model.output_shape
    if not body.strip() and not (shape and shape.members):
        return
    kind = response_dict["headers"].get("content-type") or "of no type"
    what = f"HTTP {response_dict['status_code']} with {len(body)} bytes ({kind})"
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise NoAnswer(why=f"{what} that are no JSON object")
    for name, member in shape.members.items() if shape else ():
        # botocore takes an empty text or object for an empty list.
        items = value.get(member.serialization.get("name", name))
        if member.type_name == "list" and not isinstance(items, list | None):
            raise NoAnswer(why=f"{what} in which {name} is no list")
    if reading:
        response_dict["body"] = json.dumps(reading.cut(value)).encode()


def cut_of(shape: Shape, model: Any) -> Cut:
    """What cuts values of this shape.

    What is not of the shape stays as it is: the parser, or the check of the answer, says so.

    :param shape: what is read.
    :param model: botocore's shape of the same value; it knows the names in JSON.
    """
    if isinstance(shape, list) and model.type_name == "list":
        return _cut_of_list(cut_of(shape[0], model.member))
    if isinstance(shape, dict) and shape and model.type_name == "structure":
        members = {name.removesuffix("?"): member for name, member in shape.items()}
        return _cut_of_object(
            {
                model.members[name].serialization.get("name", name): cut_of(member, model.members[name])
                for name, member in members.items()
                if name in model.members
            }
        )
    return _whole


def _whole(value: Any) -> Any:
    return value


def _cut_of_list(cut: Cut) -> Cut:
    return lambda value: [cut(item) for item in value] if isinstance(value, list) else value


def _cut_of_object(cuts: dict[str, Cut]) -> Cut:
    plain = [name for name, cut in cuts.items() if cut is _whole]
    others = [(name, cut) for name, cut in cuts.items() if cut is not _whole]

    def cut_object(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        found = {name: value[name] for name in plain if name in value}
        for name, cut in others:
            if name in value:
                found[name] = cut(value[name])
        return found

    return cut_object
