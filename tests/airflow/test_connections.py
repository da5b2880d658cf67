"""Connections where people keep them, on a real Airflow: database, environment, secrets backend."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

from tests.airflow_versions import REMOTE_JOBS
from tests.cloud.journal import Entry
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.world import World, eventually

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()

KEYS = {"aws_default": "demo", "env_aws": "ENVKEY", "file_aws": "FILEKEY"}
"""Access keys of the connections in the database, the environment and a secrets backend."""


def calls_about(world: World, operation: str, queue: str) -> list[Entry]:
    """Calls about a queue's jobs."""
    jobs = {job["id"] for job in world.cloud.services["batch"].jobs() if job["scope"] == queue}
    return [call for call in world.cloud.journal.entries("batch", operation) if jobs & set(call.ids)]


def called_by(world: World, operation: str, queue: str) -> set[str]:
    """Access keys that calls about a queue's jobs were made with."""
    return {str(call.access_key) for call in calls_about(world, operation, queue)}


@stories(conn_id=KEYS, mode=["sync", "deferrable"])
def a_killed_task_has_its_job_cancelled(world: World, conn_id: str, mode: str) -> None:
    queue = world.place("batch")
    run = world.run_with(f"connected_{mode}", {"scope": queue, "aws_conn_id": conn_id})

    def jobs() -> list[dict[str, Any]]:
        return [job for job in world.cloud.services["batch"].jobs() if job["scope"] == queue]

    eventually(lambda: bool(jobs()), "a job")
    if mode == "deferrable":
        run.wait_for("batch", "deferred")
        # A trigger that never began can't cancel: that is for the reaper.
        polls = len(calls_about(world, "DescribeJobs", queue))
        eventually(lambda: len(calls_about(world, "DescribeJobs", queue)) > polls, "a poll by the trigger")
        run.mark("batch", "failed")
    else:
        run.signal("batch", signal.SIGKILL)
    eventually(lambda: bool(jobs()[0]["cancelled"]), "the job is cancelled")
    assert called_by(world, "TerminateJob", queue) | called_by(world, "TerminateJobs", queue) == {
        KEYS[conn_id]
    }


def command(world: World, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Our command line, in a process without a supervisor."""
    return world.airflow.processes.complete([*REMOTE_JOBS, *arguments])


@stories()
def the_command_line_cancels(world: World) -> None:
    jobs = {conn_id: world.start("batch") for conn_id in KEYS}
    addresses = [f"batch://{conn_id}@us-east-1/{some.ids[0]}" for conn_id, some in jobs.items()]
    gone = command(world, "cancel", "-o", "json", *addresses)
    assert gone.returncode == 0, gone.stderr
    assert [row["state"] for row in json.loads(gone.stdout)] == ["CANCELLED"] * len(KEYS)
    for conn_id, some in jobs.items():
        assert called_by(world, "DescribeJobs", some.scope) == {KEYS[conn_id]}


@stories()
def the_command_line_describes_and_reaps(world: World) -> None:
    jobs = world.start("batch", 2)
    seen = command(world, "describe", "-o", "json", f"batch://file_aws@us-east-1/{jobs.ids[0]}")
    assert (seen.returncode, json.loads(seen.stdout)[0]["state"]) == (0, "RUNNING"), seen.stderr
    place = ["--at", "batch://file_aws@us-east-1", "--scope", jobs.scope]
    swept = command(world, "reap", "-o", "json", "--dry-run", "--grace", "0", "--share", "1", *place)
    assert (swept.returncode, json.loads(swept.stdout)["jobs"]) == (0, {"unlabelled": 2}), swept.stderr
    assert called_by(world, "DescribeJobs", jobs.scope) == {KEYS["file_aws"]}


@pytest.mark.airflow
@pytest.mark.wide("env_aws-sync", "file_aws-sync")  # deferrable tasks look connections up, too
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_connections(told: Told, story: Story) -> None:
    told(story)
