"""What the protection of remote jobs needs, each looked at on its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Result(StrEnum):
    """What a check came to."""

    OK = "ok"
    LIMIT = "limit"
    """It works; something is not guaranteed here."""
    BROKEN = "broken"
    SKIPPED = "skipped"
    """It could not be checked from here."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    :param detail: what was seen, and what to do about it.
    """

    check: str
    result: Result
    detail: str
