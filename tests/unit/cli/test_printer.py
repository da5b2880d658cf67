"""Rows as people see them, in wide and narrow terminals."""

from __future__ import annotations

import io
import os
import pty

import pytest
import yaml

from airflow_cancel_provider.cli.printer import Printer
from airflow_cancel_provider.jobs import JobState, RemoteJob

JOB = "emr://aws_default@us-east-1/j-2AXXXXXXGAPLF/s-3BYXXXXXXXXXX"
ROWS = [
    {"job": JOB, "state": "ended", "task": "sales / manual__2026-11-29 / spark try 1"},
    {"job": f"{JOB[:-1]}Y", "state": "living", "task": "sales / manual__2026-11-29 / spark try 2"},
]
NAMES = ("job", "state", "task", "end")


def printed(columns: int, format: str = "table") -> str:
    out = io.StringIO()
    printer = Printer(out, format)
    printer._console.width = columns
    printer.rows(ROWS, NAMES, "none")
    return out.getvalue()


def test_a_table_that_does_not_fit_becomes_blocks() -> None:
    assert printed(40) == (
        f"{JOB}\n"
        "  state  ended\n"
        "  task   sales / manual__2026-11-29 /\n"
        "         spark try 1\n"
        "\n"
        f"{JOB[:-1]}Y\n"
        "  state  living\n"
        "  task   sales / manual__2026-11-29 /\n"
        "         spark try 2\n"
    )


def test_a_table_that_fits_is_one() -> None:
    assert [line.split(" ")[0] for line in printed(200).splitlines()[2:]] == [JOB, f"{JOB[:-1]}Y", ""]


def test_texts_of_a_class_of_their_own_are_texts_in_yaml() -> None:
    """States and addresses are such; a YAML dumper knows none of them."""
    out = io.StringIO()
    Printer(out, "yaml").rows([{"job": RemoteJob(JOB), "state": JobState.RUNNING}], NAMES, "none")
    assert yaml.safe_load(out.getvalue()) == [{"job": JOB, "state": "RUNNING"}]


@pytest.mark.parametrize("columns", ["", "wide", "0", "-1"])
def test_a_width_that_is_none(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as out:
        Printer(out, "table").rows([{"job": JOB}], ["job"], "none")
        assert JOB in os.read(controller, 1000).decode()
    os.close(controller)


def test_programs_get_the_same_at_every_width() -> None:
    assert printed(40, "json") == printed(200, "json")
    assert printed(40, "plain") == printed(200, "plain")
