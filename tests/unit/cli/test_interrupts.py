"""Ctrl-C while a command waits for a service: exit code 130, one sentence, no traceback, no wait."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from threading import Thread

import pytest

from airflow_cancel_provider.cli import reach
from airflow_cancel_provider.reaper.backends.base import TryPhase
from tests.cli_fixtures import JSON, NOWHERE, Line, deployment, line, once, press_ctrl_c
from tests.mrs_fixtures import define
from tests.reaper_fixtures import ground
from tests.service_fixtures import TERMINATE
from tests.task_fixtures import MRS_KEYS, connect_aws, connections

__all__ = ["connections", "deployment", "ground", "line"]

# An interrupt leaves connections open until the process ends, which it does not here.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
SOON = 10.0
"""Seconds in which a command has to end: far below those for which it would wait."""
EMR_JOB = "emr://aws_default@us-east-1/j-2AXXXXXXGAPLF/s-3BYXXXXXXXXXX"
MRS_JOB = "mrs://mrs_default/11111111-1111-1111-1111-111111111111/22222222-2222-2222-2222-222222222222"
OWN = [
    ("describe", EMR_JOB),
    ("describe", MRS_JOB),
    ("wait", NOWHERE),
    ("list", "--at", "batch://aws_default"),
    ("doctor", "--at", "batch://aws_default"),
]
AS_THE_AWS_CLI = [
    ("emr", "cancel-steps", "--cluster-id", "j-2AXXXXXXGAPLF", "--step-ids", "s-3BYXXXXXXXXXX"),
    ("mrs", "cancel-job-execution", "--cluster-id", "c", "--job-execution-id", "j"),
]
SWEEP = ("reap", "--at", "batch://aws_default", "--grace", "0.05")


@pytest.fixture
def silent(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """The command line, with connections to a port that takes requests, never replies, and presses Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(reach, "SILENT_SECONDS", 60.0)
        connect_aws(monkeypatch, line.ground.cloud, endpoint_url=url)
        define(monkeypatch, line.ground.cloud, endpoint=url, **MRS_KEYS)

        def listen() -> None:
            connection, _ = listener.accept()
            connection.recv(1)
            press_ctrl_c()
            kept.append(connection)

        kept: list[socket.socket] = []
        Thread(target=listen, daemon=True).start()
        yield line
        for connection in kept:
            connection.close()


class TestAtAServiceThatIsSilent:
    @pytest.mark.parametrize("command", OWN, ids=" ".join)
    def test_a_command_says_so(self, silent: Line, command: tuple[str, ...]) -> None:
        began = time.monotonic()
        done = silent(*command)
        assert (done.code, done.err.splitlines()[-1]) == (130, "Interrupted.")
        assert time.monotonic() - began < SOON

    @pytest.mark.parametrize("command", AS_THE_AWS_CLI, ids=" ".join)
    def test_an_operation_says_as_little_as_the_aws_cli(self, silent: Line, command: tuple[str, ...]) -> None:
        done = silent(*command)
        assert (done.code, done.out, done.err) == (130, "", "\n")

    def test_a_cancel_says_what_may_have_arrived(self, silent: Line) -> None:
        done = silent("cancel", *JSON, NOWHERE)
        assert (done.code, done.states) == (130, {NOWHERE: "UNKNOWN"})
        assert done.err.splitlines()[-1].startswith(
            "Interrupted while cancels were requested: the requests of 0 of 1 jobs are done, others may have"
        )


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["gently", "by force"])
def test_in_the_middle_of_many_cancels(line: Line, force: tuple[str, ...]) -> None:
    jobs = [line.ground.unlabelled("emr-serverless") for _ in range(20)]
    fault = line.ground.cloud.faults.add("emr-serverless", "CancelJobRun", "hang", after=9)
    with once(lambda: fault.fired and line.ground.cancels() >= 9):
        done = line("cancel", *JSON, *force, *map(str, jobs))
    line.ground.cloud.faults.clear()
    assert done.code == 130
    assert {row["job"] for row in done.json} == set(jobs)
    last = done.err.splitlines()[-1]
    told = int(last.partition("the requests of ")[2].split()[0])
    assert 0 < told <= sum(not line.ground.lives(job) for job in jobs) < len(jobs)
    assert f"the requests of {told} of 20 jobs are done" in last


class TestASweep:
    def test_ends_at_once_at_the_second_time(
        self, line: Line, deployment: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("airflow_cancel_provider.reaper.factory.PATIENCE_SECONDS", 3.0)
        line.ground.start("batch", TryPhase.FAILED, deployment=deployment)
        fault = line.ground.cloud.faults.add("batch", TERMINATE, "hang")

        def twice() -> None:
            press_ctrl_c()
            time.sleep(0.3)
            press_ctrl_c()

        began = time.monotonic()
        with once(lambda: fault.fired, twice):
            done = line(*SWEEP)
        line.ground.cloud.faults.clear()
        assert "Ctrl-C again ends it now" in done.err
        assert (done.code, done.err.splitlines()[-1]) == (
            130,
            "Interrupted in a sweep. What it has requested is not undone; the next sweep finds the rest.",
        )
        assert time.monotonic() - began < SOON

    def test_a_loop_ends_with_130_too(self, line: Line, deployment: str) -> None:
        line.ground.airflow.before_question = lambda _: press_ctrl_c()
        line.ground.start("batch", TryPhase.ALIVE, deployment=deployment)
        assert line(*SWEEP, "--loop", "--interval", "0.1").code == 130
