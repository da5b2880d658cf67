"""What the sentinel cancels, and when: a real process beside a real task process that really dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from airflow_cancel_provider.owner import Label
from tests.cloud.server import LocalCloud
from tests.guard_fixtures import OWNER, until
from tests.sentinel_fixtures import ROOT, SECRET, TASK, Task, alive, batch, is_cancelled, run, submit

__all__ = ["batch", "run"]


def test_sigkill_of_the_task_cancels_and_sees_the_end(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path
) -> None:
    job = submit(batch)
    task = run(f"start={job}")
    began = time.time()
    task.kill()
    until(lambda: is_cancelled(cloud, job))
    until(lambda: not alive(task.sentinel))
    (seen,) = cloud.batch.jobs()
    assert seen["cancel_requested_at"] - began < 3
    assert seen["reason"] == OWNER.reason
    log = (tmp_path / "sentinel.log").read_text()
    assert "is CANCELLED" in log
    assert SECRET not in log


@pytest.mark.parametrize("orders", ["say=done", "say=returned"])
def test_a_task_that_is_done_leaves_its_jobs_alone(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task], orders: str
) -> None:
    job = submit(batch)
    task = run(f"start={job},{orders}")
    task.kill()
    until(lambda: not alive(task.sentinel))
    time.sleep(0.5)
    assert not is_cancelled(cloud, job)
    assert not cloud.journal.count("batch", "TerminateJobs")


def test_what_the_next_try_takes_over_outlives_a_crash_but_not_a_kill(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    kept, lost = submit(batch), submit(batch)
    crashed = run(f"start={kept}", UNARMED="1")
    crashed.kill()
    until(lambda: not alive(crashed.sentinel))
    run(f"start={lost},say=cancel", UNARMED="1").kill()
    until(lambda: is_cancelled(cloud, lost))
    assert not is_cancelled(cloud, kept)


def test_after_the_tasks_death_there_is_a_pause_between_two_polls(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    cloud.batch.set(cancel=2)
    job = submit(batch)
    run(f"start={job}").kill()
    until(lambda: is_cancelled(cloud, job))
    assert cloud.journal.count("batch", "DescribeJobs") <= 8


def test_a_released_job_lives_on(cloud: LocalCloud, batch: Any, run: Callable[..., Task]) -> None:
    kept, lost = submit(batch), submit(batch)
    run(f"start={kept},start={lost},release={kept}").kill()
    until(lambda: is_cancelled(cloud, lost))
    assert not is_cancelled(cloud, kept)


def test_a_failing_task_hears_that_its_job_has_ended(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    job = submit(batch)
    task = run(f"start={job},say=cancel,wait=accepted,wait=ended")
    assert task.answers[:2] == ["True", "True"]
    assert is_cancelled(cloud, job)


def test_a_job_whose_answer_was_lost_is_found_by_its_label(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    label, other = (str(Label("abcd1234", UUID(int=number))) for number in (7, 8))
    ours = submit(batch, parameters={"airflow_owner": label})
    foreign = submit(batch, parameters={"airflow_owner": other})
    unlabelled = submit(batch)
    run("intend=1", LABEL=label).kill()
    until(lambda: is_cancelled(cloud, ours))
    assert not is_cancelled(cloud, foreign)
    assert not is_cancelled(cloud, unlabelled)


def test_an_outage_is_outlasted(cloud: LocalCloud, batch: Any, run: Callable[..., Task]) -> None:
    job = submit(batch)
    task = run(f"start={job}")
    cloud.faults.add("batch", kind="server_error", seconds=6)
    task.kill()
    until(lambda: is_cancelled(cloud, job), 60)


def test_giving_up_is_loud(cloud: LocalCloud, batch: Any, run: Callable[..., Task], tmp_path: Path) -> None:
    job = submit(batch)
    task = run(f"start={job}", PATIENCE="1")
    cloud.faults.add("batch", kind="reset")
    task.kill()
    until(lambda: not alive(task.sentinel), 60)
    log = (tmp_path / "sentinel.log").read_text()
    assert f"{job}: UNANSWERED" in log
    assert "may still be running" in log


SUPERVISOR = """
import os, subprocess, sys
# The task keeps the other end of its standard input itself: nothing but a signal ends it.
ear, mouth = os.pipe()
command = [sys.executable, "-c", sys.argv[1], *sys.argv[2:]]
task = subprocess.Popen(command, stdin=ear, pass_fds=[mouth])
print("task", task.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("deaf", [True, False])
def test_a_task_whose_supervisor_died_is_ended_even_if_it_ignores_sigterm(
    cloud: LocalCloud, batch: Any, tmp_path: Path, deaf: bool
) -> None:
    job = submit(batch)
    orders = f"{'deaf=1,' if deaf else ''}start={job}"
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, TASK, cloud.url, str(tmp_path / "sentinel.log"), orders],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "SECRET": SECRET},
    )
    assert supervisor.stdout
    task = sentinel = 0
    for line in supervisor.stdout:
        word, _, value = line.strip().partition(" ")
        task = int(value) if word == "task" else task
        if word == "ready":
            sentinel = int(value)
            break
    supervisor.kill()
    supervisor.wait()
    began = time.monotonic()
    until(lambda: is_cancelled(cloud, job))
    until(lambda: not alive(task))
    assert time.monotonic() - began < 25
    until(lambda: not alive(sentinel))
    for pipe in (supervisor.stdin, supervisor.stdout):
        if pipe:
            pipe.close()


def test_the_word_accepted_comes_before_the_end(
    cloud: LocalCloud, batch: Any, run: Callable[..., Task]
) -> None:
    cloud.batch.set(cancel=3)
    task = run(f"start={submit(batch)},say=cancel,wait=accepted,waits=ended")
    assert task.answers[:2] == ["True", "False"]
