"""Every command with right, wrong and missing input, and how it ends: ``docs/cli-exit-codes.txt``."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from airflow_cancel_provider.cli import wait
from airflow_cancel_provider.cli.definitions import COMMANDS
from airflow_cancel_provider.owner import deployment_of
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.reaper.dead_letters import VARIABLE
from airflow_cancel_provider.record import TryRecord
from tests.cli_fixtures import NAME, NOWHERE, Line, deployment, line
from tests.reaper_airflow import tables
from tests.reaper_fixtures import ground
from tests.record_fixtures import Records, records
from tests.task_fixtures import connections, shown_at_once

__all__ = [
    "connections",
    "deployment",
    "ground",
    "line",
    "records",
    "shown_at_once",
    "tables",
]

TABLE = Path(__file__).parents[3] / "docs" / "cli-exit-codes.txt"
AT = "--at batch://aws_default --grace 0.05"
HEAD = ("command", "input", "exit code", "last line of standard error")
CASES = [
    ("list", "all jobs on record", "", 0),
    ("list", "of a Dag that has none", "--dag-id none", 0),
    ("list", "of a service", "--at batch://aws_default", 0),
    ("list", "a time that is none", "--since soon", 2),
    ("list", "a service that is none", "--service gcp", 2),
    ("describe", "a job", "JOB", 0),
    ("describe", "a job that is unknown", "NOWHERE", 1),
    ("describe", "an address that is none", "nonsense", 2),
    ("describe", "no job", "", 2),
    ("wait", "a job that has ended", "ENDED", 0),
    ("wait", "a job that ended otherwise", "ENDED --expect CANCELLED", 1),
    ("wait", "a job that has not ended in time", "JOB --timeout 0.1 --interval 0.05", 124),
    ("wait", "a job that is unknown", "NOWHERE", 1),
    ("wait", "the same, --ignore-missing", "NOWHERE --ignore-missing", 0),
    ("wait", "Ctrl-C while it waits", "JOB --interval 0.05", 130),
    ("wait", "a time that is none", "JOB --timeout -1", 2),
    ("wait", "no job", "", 2),
    ("cancel", "a job, --dry-run", "JOB --dry-run", 0),
    ("cancel", "a job that is unknown", "NOWHERE", 1),
    ("cancel", "the same, --ignore-missing", "NOWHERE --ignore-missing", 0),
    ("cancel", "an address that is none", "JOB nonsense", 2),
    ("cancel", "an id that is none", "JOB batch://aws_default@us-east-1/abc", 2),
    ("cancel", "an option that the service has not", "JOB --cancellation-option SEND_INTERRUPT", 2),
    ("cancel", "no job", "", 2),
    ("cancel", "a task, in a pipe", "--dag-id dag", 2),
    ("cancel", "a task, in a pipe, --yes", "--dag-id dag --yes", 0),
    ("cancel", "a job that has ended", "ENDED", 0),
    ("reap", "an orphan, --dry-run", f"{AT} --dry-run", 0),
    ("reap", "an orphan, --dry-run --exit-code", f"{AT} --dry-run --exit-code", 1),
    ("reap", "an orphan", AT, 0),
    ("reap", "a place that is none", "--at nonsense", 2),
    ("reap", "no place", "", 2),
    ("dead-letters", "there is one", "", 1),
    ("dead-letters", "acknowledged", "--acknowledge NOWHERE", 0),
    ("dead-letters", "retried", "--retry all", 0),
    ("dead-letters", "there is none", "", 0),
    ("dead-letters", "a job that has none", "--retry NOWHERE", 2),
    ("doctor", "nothing is broken", "--offline", 0),
    ("doctor", "a connection that is not defined", "--offline --at batch://no_such@us-east-1", 1),
    ("doctor", "a place that is none", "--at nonsense", 2),
]


def interrupted(*_: object, **__: object) -> None:
    """As somebody presses Ctrl-C."""
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.usefixtures("shown_at_once")
def test_table(line: Line, records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = line.ground
    job, ended = ground.unlabelled("batch"), ground.unlabelled("batch")
    ground.benches["batch"].finish(ended)
    records.put(TryRecord(uuid4(), jobs=(ground.unlabelled("emr"),)))
    ground.start("batch", TryPhase.FAILED, deployment=deployment_of(NAME))
    ground.write_letters({NOWHERE: {"why": "denied"}})
    names = {"JOB": str(job), "ENDED": str(ended), "NOWHERE": NOWHERE}
    rows = [HEAD]
    for command, what, text, expected in CASES:
        if command == "reap" and text == AT:
            ground.airflow.variables.clear()  # a dead letter is something for a person
        if (command, what) == ("dead-letters", "there is one"):
            ground.write_letters({NOWHERE: {"why": "denied"}})
        if (command, text.split()[0] if text else "") == ("reap", "--at"):
            ground.airflow.variables.pop(VARIABLE, None)
        with monkeypatch.context() as patch:
            if expected == 130:
                patch.setattr(wait, "follow", interrupted)
            done = line(command, *(names.get(word, word) for word in text.split()))
        # What stands before is the program's name, which is another one before Airflow 3.2.
        last = "" if done.code == 0 else ["", *done.err.splitlines()][-1].rpartition(": error: ")[2]
        rows.append(
            (
                command,
                what,
                str(done.code),
                last.replace(str(job), "JOB").replace(str(ended), "ENDED").replace(NOWHERE, "NOWHERE"),
            )
        )
        assert done.code == expected, (command, what, done.err)
    assert {row[0] for row in rows[1:]} == {command.name for command in COMMANDS}
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  ".join([*(each.ljust(width) for each, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    TABLE.write_text("".join(f"{line.rstrip()}\n" for line in lines), encoding="utf-8")
