"""``wait``: how it ends."""

from __future__ import annotations

from threading import Timer
from uuid import uuid4

import pytest

from tests.cli_fixtures import JSON, NOWHERE, Line, deployment, line
from tests.reaper_fixtures import ground
from tests.task_fixtures import connections, shown_at_once

__all__ = ["connections", "deployment", "ground", "line", "shown_at_once"]

HASTE = ("--interval", "0.05")


def test_until_all_have_ended(line: Line) -> None:
    jobs = [line.ground.unlabelled(service) for service in ("batch", "emr")]
    timers = [Timer(0.3, line.ground.benches[job.service].finish, (job,)) for job in jobs]
    for timer in timers:
        timer.start()
    done = line("wait", *HASTE, *JSON, *jobs)
    assert (done.code, done.states) == (0, dict.fromkeys(jobs, "SUCCEEDED"))


def test_a_timeout_is_124(line: Line) -> None:
    job, ended = line.ground.unlabelled("batch"), line.ground.unlabelled("batch")
    line.ground.benches["batch"].finish(ended)
    done = line("wait", *HASTE, "--timeout", "0.1", *JSON, job, ended)
    assert (done.code, done.states) == (124, {job: "RUNNING", ended: "SUCCEEDED"})
    assert done.err.splitlines()[-1] == f"{job} is RUNNING after 0.1 s."


@pytest.mark.parametrize("expected, code", [("SUCCEEDED", 0), ("CANCELLED", 1)])
def test_another_end_than_expected_is_1(line: Line, expected: str, code: int) -> None:
    job = line.ground.unlabelled("batch")
    line.ground.benches["batch"].finish(job)
    done = line("wait", *HASTE, "--expect", expected, job)
    assert done.code == code
    assert (f"{job} is SUCCEEDED; expected CANCELLED." in done.err) is bool(code)


@pytest.mark.usefixtures("shown_at_once")
def test_a_job_that_is_unknown_is_1_and_the_others_are_waited_for(line: Line) -> None:
    job, typo = line.ground.unlabelled("mrs"), f"mrs://mrs_default/{uuid4()}/{uuid4()}"
    line.ground.benches["mrs"].finish(job)
    done = line("wait", *HASTE, *JSON, NOWHERE, typo, job)
    assert (done.code, done.states) == (1, {NOWHERE: "GONE", typo: "UNKNOWN", job: "SUCCEEDED"})
    assert f"{NOWHERE} is GONE: the service does not know this job" in done.err
    assert line("wait", *HASTE, "--ignore-missing", NOWHERE).code == 0


def test_a_job_that_is_not_shown_yet_is_looked_for_again(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    bench = line.ground.benches["batch"]
    bench.local.override("late*", unseen=0.4, run=0.5)
    (job,) = bench.submit("late")
    done = line("wait", *HASTE, *JSON, job)
    assert (done.code, done.states) == (0, {job: "SUCCEEDED"})
    assert f"{job} is not shown yet, and is looked for again for 60 s: the service does not" in caplog.text


def test_a_service_that_refuses_keeps_no_other_from_being_waited_for(line: Line) -> None:
    job = line.ground.unlabelled("emr")
    line.ground.benches["emr"].finish(job)
    line.ground.cloud.faults.add("batch", "DescribeJobs", "denied")
    done = line("wait", *HASTE, *JSON, NOWHERE, job)
    assert (done.code, done.states) == (1, {NOWHERE: "UNKNOWN", job: "SUCCEEDED"})
    assert "Allow batch:DescribeJobs" in done.err.splitlines()[-1]


@pytest.mark.parametrize("command", [["wait", *HASTE], ["cancel", "--wait", "9"]])
def test_a_cluster_that_is_denied_meanwhile_keeps_no_other_from_being_followed(
    line: Line, command: list[str]
) -> None:
    bench = line.ground.benches["emr"]
    denied, other = (line.ground.start("emr", None, scope=bench.new_scope()) for _ in range(2))
    is_wait = command[0] == "wait"
    faults = line.ground.cloud.faults
    faults.add("emr", "ListSteps", "denied", scope=denied.scope or "", after=int(is_wait))
    if is_wait:
        Timer(4, bench.finish, (other,)).start()
    done = line(*command, *JSON, denied, other)
    end = "SUCCEEDED" if is_wait else "CANCELLED"
    assert (done.code, done.states[other]) == (1, end)
    assert done.states[denied] != end
    assert "Allow elasticmapreduce:ListSteps" in done.err


@pytest.mark.parametrize("arguments", [["--timeout", "-1"], ["--interval", "nan"], ["nonsense"]])
def test_bad_input_is_2(line: Line, arguments: list[str]) -> None:
    assert line("wait", NOWHERE, *arguments).code == 2
