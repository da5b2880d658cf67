"""``dead-letters``: list, acknowledge, retry."""

from __future__ import annotations

from typing import ClassVar

import pytest

from airflow_cancel_provider.reaper.dead_letters import VARIABLE
from tests.cli_fixtures import JSON, NOWHERE, Line, deployment, line
from tests.reaper_fixtures import ground
from tests.task_fixtures import connections

__all__ = ["connections", "deployment", "ground", "line"]


class TestDeadLetters:
    JOB, OTHER = NOWHERE, NOWHERE[:-1] + "1"
    LETTER: ClassVar = {
        "why": "denied",
        "since": "2026-11-20T00:00:00+00:00",
        "task": "dag / run / task",
        "code": "No",
    }

    @pytest.fixture
    def lettered(self, line: Line) -> Line:
        line.ground.write_letters({self.JOB: self.LETTER, self.OTHER: {}})
        return line

    def test_none(self, line: Line) -> None:
        done = line("dead-letters")
        assert (done.code, done.out) == (0, "No dead letters.\n")
        assert line("dead-letters", *JSON).json == []

    def test_listed(self, lettered: Line) -> None:
        done = lettered("dead-letters")
        assert done.code == 1
        first, second = lettered("dead-letters", *JSON).json
        assert first == {"job": self.JOB, **self.LETTER, "acknowledged": False, "change": None}
        assert (second["job"], second["why"], second["task"]) == (self.OTHER, None, None)
        assert f"{self.JOB} | denied | 2026-11-20T00:00:00+00:00 | dag / run / task" in done.out
        assert lettered.ground.airflow.writes == []

    def test_acknowledged(self, lettered: Line) -> None:
        done = lettered("dead-letters", "--acknowledge", self.JOB)
        first, second = done.out.splitlines()[2:4]
        assert (done.code, self.JOB in first, "acknowledged" in first) == (1, True, True)
        assert (self.OTHER in second, "acknowledged" in second) == (True, False)
        assert self.JOB not in lettered("dead-letters").out
        done = lettered("dead-letters", *JSON, "--acknowledge", self.OTHER)
        assert done.code == 0
        assert [(row["job"], row["acknowledged"], row["change"]) for row in done.json] == [
            (self.JOB, True, None),
            (self.OTHER, True, "acknowledged"),
        ]

    def test_retried(self, lettered: Line) -> None:
        done = lettered("dead-letters", *JSON, "--retry", self.JOB)
        assert [(row["job"], row["change"]) for row in done.json] == [
            (self.JOB, "to be cancelled again"),
            (self.OTHER, None),
        ]
        assert [row["job"] for row in lettered("dead-letters", *JSON).json] == [self.OTHER]
        assert lettered("dead-letters", "--retry", "all").code == 0
        assert VARIABLE not in lettered.ground.airflow.variables

    @pytest.mark.parametrize("arguments", [["--retry", NOWHERE[:-1] + "2"], ["--acknowledge", "nonsense"]])
    def test_no_such_letter_is_2(self, lettered: Line, arguments: list[str]) -> None:
        assert lettered("dead-letters", *arguments).code == 2
        assert lettered.ground.airflow.writes == []
