"""The options of a reaper and their defaults. Imports no Airflow and no SDK."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import astuple, dataclass, fields
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput

SHARE = 0.5
"""Share of the published API quotas that a sweep uses; the rest is left to other clients."""


@dataclass(frozen=True)
class Rules:
    """How a reaper decides and cancels.

    :param grace: seconds between the check that finds an orphan and the one that may cancel it.
    :param confirm_seconds: how long a sweep waits for the end of the jobs that it has cancelled; later sweeps
        check the rest, but don't wait for it.
    :param escalate_after: seconds after which a harder cancel is requested, where there is one.
    :param brake: most orphans that one sweep may cancel. If there are more, none is cancelled: the reaper may
        ask the wrong Airflow, or one on a copied database.
    :param is_dry: decide only; cancel nothing, write nothing.
    :raises InvalidInput: a number is negative or infinite.
    """

    grace: float = 30.0
    confirm_seconds: float = 120.0
    escalate_after: float = 60.0
    brake: int = 100
    is_dry: bool = False

    def __post_init__(self) -> None:
        for field, value in zip(fields(self), astuple(self), strict=True):
            number_from_0(field.name, value)


def number_from_0(name: str, value: float) -> float:
    """The same number.

    :raises InvalidInput: it is negative or infinite.
    """
    if not (math.isfinite(value) and value >= 0):
        raise InvalidInput(f"{name} is {value!r}; expected a number from 0 on.")
    return value


def as_list(name: str, texts: Collection[str]) -> list[str]:
    """A list of patterns or places, without white space around them.

    :raises InvalidInput: it is one text, whose characters would be taken for patterns: ``*`` matches all; or
        one of them is empty or no text.
    """
    if isinstance(texts, str):
        raise InvalidInput(f"{name} is {texts!r}; expected a list, as [{texts!r}].")
    found: list[Any] = list(texts)
    for text in found:
        if not isinstance(text, str) or not text.strip():
            raise InvalidInput(f"{name} holds {text!r}; expected texts that are not empty.")
    return [text.strip() for text in found]
