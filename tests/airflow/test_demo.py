"""The demo tells the truth, and leaves no process behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.demo.report import HEADER, problems, rows, strangers, table
from tests.demo.runs import Run
from tests.demo.scenarios import SCENARIOS
from tests.real_airflow.processes import marked
from tests.real_airflow.system import REPOSITORY

RUN = Run(SCENARIOS[0], "run", state="success", jobs={"s-1": "start_steps"})


def job(**changes: Any) -> dict[str, Any]:
    """A job that was cancelled, as the cloud tells of it."""
    ended = {"state": "CANCELLED", "cancelled": True, "cancel_requested_at": 10.0, "ended_at": 13.0}
    return {"service": "emr", "id": "s-1", **ended, **changes}


def test_cancelled_job_is_good() -> None:
    assert list(problems([RUN], [job()])) == []
    assert list(strangers([RUN], [job()])) == []
    (row,) = rows([RUN], [job()])
    assert row == ("emr", "s-1", "start_steps", "cancel_steps", "CANCELLED", "3.0")


@pytest.mark.parametrize(
    "truth",
    [
        [],
        [job(state="RUNNING", cancelled=False, ended_at=None)],
        [job(state="CANCEL_PENDING", cancelled=False, ended_at=None)],
        [job(state="COMPLETED", cancelled=False)],
    ],
    ids=["not there", "running", "asked only", "ended by itself"],
)
def test_other_job_is_a_problem(truth: list[dict[str, Any]]) -> None:
    (problem,) = problems([RUN], truth)
    assert "s-1 is not cancelled" in problem


def test_run_that_started_nothing_or_ended_otherwise_is_a_problem() -> None:
    bad = Run(SCENARIOS[0], "run", state="failed")
    assert [problem.partition(" ")[0] for problem in problems([bad], [])] == [
        "example_cancel_emr_steps",
        "example_cancel_emr_steps:",
    ]


def test_job_that_no_run_names_is_a_problem() -> None:
    (problem,) = strangers([RUN], [job(), job(id="s-2")])
    assert "s-2" in problem


def test_table_fits_a_terminal() -> None:
    row = ("emr-serverless", "9" * 36, "start_by_hook", "cancel_steps", "FAILED (cancelled)", "3.0")
    assert max(len(line) for line in table(HEADER, [row]).splitlines()) <= 120


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "number, moment",
    [(signal.SIGTERM, "Local cloud:"), (signal.SIGINT, "runs")],
    ids=["sigterm while it starts", "ctrl-c in the middle"],
)
def test_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals, moment: str) -> None:
    # TMPDIR is handed on to everything that the demo starts.
    environment = {**os.environ, "TMPDIR": str(tmp_path), "KEEP": "1", "SPT_NOENV": "1"}
    output = tmp_path / "output"
    with output.open("wb") as sink:
        demo = subprocess.Popen(
            [sys.executable, "-m", "tests.demo"],
            cwd=REPOSITORY,
            env=environment,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 400
        while moment not in output.read_text():
            assert demo.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.2)
        assert len(marked(f"TMPDIR={tmp_path}")) > 1
        demo.send_signal(number)
        assert demo.wait(120) == 130, output.read_text()
    finally:
        demo.kill()
        demo.wait()
    assert marked(f"TMPDIR={tmp_path}") == []
    assert [path.name for path in tmp_path.iterdir()] == ["output"]
