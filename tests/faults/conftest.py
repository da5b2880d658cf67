"""Tasks that meet faults, and the table of what was observed."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.server import LocalCloud
from tests.faults.ground import Played

COLUMNS = ("Fault", "The user's task", "The cancel", "What is reported", "Test")
ROWS: list[tuple[str, ...]] = []

Play = Callable[..., Played]
Observe = Callable[[str, str, str, str], None]


@pytest.fixture
def play(cloud: LocalCloud, tmp_path: Path) -> Iterator[Play]:
    played: list[Played] = []
    cloud.batch.configure({"cancel": 0.2})

    def start(script: str, **more: Any) -> Played:
        folder = tmp_path / f"task{len(played)}"
        folder.mkdir()
        played.append(Played(cloud, folder, script, **more))
        return played[-1]

    yield start
    for each in played:
        each.close()


@pytest.fixture
def observe(request: pytest.FixtureRequest) -> Observe:
    """A row of the table; call it once everything was asserted."""

    def note(fault: str, task: str, cancel: str, reported: str) -> None:
        test = f"{request.path.stem}.py::{request.node.originalname}"
        ROWS.append((fault, task, cancel, reported, test))

    return note


def pytest_sessionfinish(exitstatus: int) -> None:
    """Write the table, where one was asked for and every test has passed."""
    if (path := os.environ.get("FAULTS_TABLE")) and ROWS and exitstatus == 0:
        with Path(path).open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *dict.fromkeys(ROWS)])
