"""What the endurance run takes for wrong."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("airflow.sdk.serde", reason="the endurance run needs Airflow 3.2")
from benchmarks import endurance

WELL: dict[str, Any] = {
    "lost": 0,
    "ends": 9,
    "late": {"emr": {"worst": 5.0}, "batch": {"worst": 1.0}},
    "most": 10.0,
    "killed": 9,
    "not cancelled": 0,
    "others": [],
    "heartbeat": 3.0,
    "wrong": [],
    "samples": [{"memory": 100.0, "threads": 5.0, "files": 20.0}] * 9,
    "troubles": {"throttled": 1, "outage": 1, "reset": 1, "expired": 1},
}
GROWN = [*WELL["samples"][:6], *[{"memory": 200.0, "threads": 5.0, "files": 20.0}] * 3]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"lost": 2}, "The ends of 2 jobs of 9"),
        ({"late": {"emr": {"worst": 11.0}}}, "in emr was seen after 11.0 s"),
        ({"wrong": ["a job: denied"]}, "a job: denied"),
        ({"not cancelled": 2}, "2 marked tasks of 9"),
        ({"others": [7]}, "not marked were cancelled: [7]"),
        ({"heartbeat": 31.0}, "heartbeat was 31 s old"),
        ({"samples": GROWN}, "memory grew from 100 to 200"),
        ({"troubles": {"throttled": 1, "outage": 1, "reset": 1}}, "'expired'"),
    ],
)
def test_endurance_names_what_is_wrong(change: dict[str, Any], words: str) -> None:
    assert list(endurance.problems(WELL)) == []
    (found,) = endurance.problems({**WELL, **change})
    assert words in found
