"""What a cancel of job runs can be told. Imports no SDK."""

from __future__ import annotations

from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput

SHORTEST_GRACE, LONGEST_GRACE = 15, 1800


def grace_period(param: str, value: Any) -> int:
    """Seconds that a run has to shut down, also as a template's text.

    :raises InvalidInput: it is neither 0 nor from 15 to 1,800.
    """
    seconds = int(value) if str(value).isdecimal() else -1
    if seconds != 0 and not SHORTEST_GRACE <= seconds <= LONGEST_GRACE:
        raise InvalidInput(
            f"{param} is {value!r}; it must be 0 or {SHORTEST_GRACE} to {LONGEST_GRACE} seconds."
        )
    return seconds
