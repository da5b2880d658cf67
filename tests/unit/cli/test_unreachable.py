"""Commands at an endpoint that refuses, or takes a request and never replies."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from airflow_cancel_provider.cli import reach
from airflow_cancel_provider.cli.checks import services as checks
from airflow_cancel_provider.cli.service_commands import clients
from airflow_cancel_provider.cli.service_commands import mrs as operations
from airflow_cancel_provider.hooks.aws import _timed
from airflow_cancel_provider.services.retry import Patience
from tests.cli_fixtures import JSON, NOWHERE, Line, deployment, line
from tests.mrs_fixtures import define
from tests.reaper_fixtures import ground
from tests.task_fixtures import MRS_KEYS, connect_aws, connections

__all__ = ["connections", "deployment", "ground", "line"]

MRS_JOB = "mrs://mrs_default/11111111-1111-1111-1111-111111111111/22222222-2222-2222-2222-222222222222"
EMR_JOB = "emr://aws_default@us-east-1/j-2AXXXXXXGAPLF/s-3BYXXXXXXXXXX"
EMR_STEP = ("--cluster-id", "j-2AXXXXXXGAPLF", "--step-ids", "s-3BYXXXXXXXXXX")
MRS_EXECUTION = ("--cluster-id", "c", "--job-execution-id", "j")
COMMANDS = [
    ("describe", NOWHERE),
    ("describe", MRS_JOB),
    ("wait", NOWHERE),
    ("cancel", "--dry-run", EMR_JOB),
    ("cancel", EMR_JOB, NOWHERE),
    ("cancel", "--force", MRS_JOB),
    ("list", "--at", "batch://aws_default"),
    ("reap", "--dry-run", "--at", "batch://aws_default"),
    ("emr", "cancel-steps", *EMR_STEP),
    ("mrs", "cancel-job-execution", *MRS_EXECUTION),
]


OVER_A_ROLE = [
    ("describe", EMR_JOB),
    ("cancel", EMR_JOB),
    ("reap", "--dry-run", "--at", "batch://aws_default"),
    ("emr", "cancel-steps", *EMR_STEP),
]


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fiftieth of the times that people wait."""
    monkeypatch.setattr(reach, "CALL_SECONDS", (0.3, 0.3))
    monkeypatch.setattr(clients, "CALL_SECONDS", (0.3, 0.3))
    monkeypatch.setattr(reach.CommandAccess, "give_up_seconds", 0.5)
    monkeypatch.setattr("airflow_cancel_provider.reaper.factory.PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(reach, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(checks, "GIVE_UP_SECONDS", 0.1)
    monkeypatch.setattr(operations, "PATIENCE", Patience(seconds=0.2))


@pytest.fixture
def silent(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The command line, with connections to a port that takes requests and never replies."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        connect_aws(monkeypatch, line.ground.cloud, endpoint_url=url)
        define(monkeypatch, line.ground.cloud, endpoint=url, **MRS_KEYS)
        yield line


@pytest.mark.parametrize("command", OVER_A_ROLE, ids=" ".join)
def test_nobody_gives_the_role(
    line: Line, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, command: tuple[str, ...]
) -> None:
    """A role is assumed before the first call to the service."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connect_aws(
            monkeypatch,
            line.ground.cloud,
            config_kwargs=None,
            role_arn="arn:aws:iam::123456789012:role/jobs",
            service_config={"sts": {"endpoint_url": f"http://127.0.0.1:{listener.getsockname()[1]}"}},
        )
        done = line(*command)
        attempts = _accepted(listener)
    assert done.code == (255 if command[0] == "emr" else 1)
    assert "no answer for 0.1 s" in done.err + caplog.text, "it says for whom it waits"
    assert "Read timeout" in done.err + done.out
    assert attempts == (3 if command[0] == "emr" else 2), "as often as it says"


def _accepted(listener: socket.socket) -> int:
    """How many connections wait to be accepted."""
    listener.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            listener.accept()[0].close()
            count += 1
    return count


@pytest.fixture
def refusing(line: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    """The command line, with connections to a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    connect_aws(monkeypatch, line.ground.cloud, endpoint_url=url)
    define(monkeypatch, line.ground.cloud, endpoint=url, **MRS_KEYS)
    return line


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nobody_replies(silent: Line, caplog: pytest.LogCaptureFixture, command: tuple[str, ...]) -> None:
    done = silent(*command)
    assert done.code == (255 if command[0] in ("emr", "mrs") else 1)
    assert "no answer for 0.1 s" in done.err + caplog.text, "it says for whom it waits"
    words = done.err + done.out  # a sweep's troubles are its answer
    assert "Read timeout" in words or "Read timed out" in words


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_nobody_listens(refusing: Line, command: tuple[str, ...]) -> None:
    done = refusing(*command)
    assert done.code == (255 if command[0] in ("emr", "mrs") else 1)
    words = done.err + done.out
    assert "Could not connect" in words or "Connection refused" in words


def test_a_cancel_that_nobody_takes_is_told_once_for_each_job(
    refusing: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was requested: there is nothing to wait for."""
    done = refusing("cancel", "--wait", "600", *JSON, NOWHERE)
    assert [(row["state"], row["outcome"]) for row in done.json] == [("UNKNOWN", "UNANSWERED")]
    assert [line for line in done.err.splitlines() if line.startswith(f"{NOWHERE}: UNANSWERED: Term")]
    assert "Looking again" not in caplog.text


def test_quiet_says_only_what_is_wrong(silent: Line, caplog: pytest.LogCaptureFixture) -> None:
    done = silent("describe", "-q", NOWHERE)
    assert "Waiting for" not in done.err + done.out + caplog.text


def test_the_doctor_asks_once(silent: Line) -> None:
    checked = {
        row["check"]: row["result"] for row in silent("doctor", *JSON, "--at", "batch://aws_default").json
    }
    may = [checked[f"batch://aws_default may {what}"] for what in ("look", "cancel", "list")]
    assert may == ["broken", "skipped", "skipped"]


def test_a_connection_keeps_its_own_time_outs() -> None:
    own = Config(read_timeout=600, retries={"total_max_attempts": 7})
    timed: Any = _timed(own, 5.0, 15.0)
    assert (timed.connect_timeout, timed.read_timeout, timed.retries["total_max_attempts"]) == (5.0, 600, 7)
    fresh: Any = _timed(None, 5.0, 15.0)
    assert fresh.read_timeout == 15.0


def test_a_silence_is_not_told_again_soon() -> None:
    told: list[str] = []
    silence = reach.Silence("X", "It ends.", told.append)
    for _ in range(3):
        silence._speak()
    assert told == ["Waiting for X: no answer for 0.1 s. It ends. Ctrl-C ends this now."]


def test_a_patience_that_is_changed_says_so_still() -> None:
    silence = reach.Silence("X", "It ends.", list)
    patience = Patience(30.0, meanwhile=silence.broken)
    assert replace(patience, seconds=1.0).meanwhile == patience.brief.meanwhile == silence.broken


class TestStandardInput:
    """Lines are data: what is wrong in one keeps no other job from its end."""

    def test_everything_that_files_hold(self, line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
        jobs = [line.ground.unlabelled(service) for service in ("batch", "emr")]
        lines = [f"\ufeff{jobs[0]}", "", "# these, too", f"  {jobs[1]}  # the last", "nonsense", str(jobs[0])]
        lines += [
            "batch://aws_default@us-east-1/abc",
            "batch://no_such@us-east-1/x",
            "batch://no_such@us-east-1/y",
        ]
        monkeypatch.setattr(sys, "stdin", io.StringIO("\r\n".join(lines)))
        done = line("cancel", "-", *JSON)
        assert (done.code, done.states) == (1, dict.fromkeys(jobs, "CANCELLED"))
        told = [each for each in done.err.splitlines() if each.startswith("Line ")]
        assert [each.partition(":")[0] for each in told] == [
            "Line 5 of standard input",
            "Line 8 of standard input, and 1 more like it",
            "Line 7 of standard input",
        ]
        assert "'nonsense' is not the address of a remote job" in told[0]
        assert "'no_such' is not defined" in told[1]
        assert "'abc' is not a job id" in told[2]

    @pytest.mark.parametrize("command", ["describe", "wait", "cancel"])
    def test_nothing_usable_is_2(self, line: Line, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("nonsense\n"))
        done = line(command, "-")
        assert (done.code, done.out) == (2, "")
        assert "Line 1 of standard input: 'nonsense' is not" in done.err

    def test_a_wrong_argument_is_2_also_beside_lines(
        self, line: Line, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(NOWHERE))
        assert line("describe", "-", "nonsense").code == 2

    def test_bytes_that_are_no_text_are_2(
        self, line: Line, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "addresses").write_bytes(b"\xff\xfe\x00")
        with (tmp_path / "addresses").open(encoding="utf-8") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            done = line("cancel", "-")
        assert (done.code, done.err.splitlines()[-1]) == (2, "Standard input is not text in UTF-8.")
