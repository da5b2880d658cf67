"""Connections where people keep them, on a real Airflow: database, environment, secrets backend, nowhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_versions import REMOTE_JOBS
from tests.cloud import LocalCloud
from tests.cloud.journal import Entry
from tests.demo.places import aws_client, aws_connection, plain_boto3
from tests.real_airflow.stories import Stories, Story, Told
from tests.real_airflow.system import AirflowSystem
from tests.real_airflow.world import World, eventually

pytest_plugins = ["tests.real_airflow.fixtures"]
stories = Stories()

KEYS = {"aws_default": "demo", "env_aws": "ENVKEY", "file_aws": "FILEKEY"}
"""Access keys of the connections in the database, the environment and a secrets backend."""
REAPER = """
import json, sys
from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.reaper.factory import make_reaper
from airflow_cancel_provider.reaper.rules import Rules
reaper = make_reaper(Database(), at=sys.argv[1:], rules=Rules(grace=0.1, is_dry=True), share=1)
print(json.dumps(reaper.sweep().as_json()))
"""
"""A reaper in a program of the user's own."""


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
        looks = len(calls_about(world, "DescribeJobs", queue))
        eventually(lambda: len(calls_about(world, "DescribeJobs", queue)) > looks, "a look by the trigger")
        run.mark("batch", "failed")
    else:
        run.signal("batch", signal.SIGKILL)
    eventually(lambda: bool(jobs()[0]["cancelled"]), "the job is cancelled")
    assert called_by(world, "TerminateJob", queue) | called_by(world, "TerminateJobs", queue) == {
        KEYS[conn_id]
    }


@stories(conn_id=KEYS)
def the_command_line_describes_cancels_and_reaps(world: World, conn_id: str) -> None:
    jobs = world.start("batch", 2)
    address = f"batch://{conn_id}@us-east-1/{jobs.ids[0]}"
    seen = command(world.airflow, "describe", "-o", "json", address)
    assert (seen.returncode, json.loads(seen.stdout)[0]["state"]) == (0, "RUNNING"), seen.stderr
    place = ["--at", f"batch://{conn_id}@us-east-1", "--scope", jobs.scope]
    swept = command(world.airflow, "reap", "-o", "json", "--dry-run", "--grace", "0", "--share", "1", *place)
    assert (swept.returncode, json.loads(swept.stdout)["jobs"]) == (0, {"unlabelled": 2}), swept.stderr
    gone = command(world.airflow, "cancel", "-o", "json", address)
    assert (gone.returncode, json.loads(gone.stdout)[0]["state"]) == (0, "CANCELLED"), gone.stderr
    assert called_by(world, "DescribeJobs", jobs.scope) == {KEYS[conn_id]}


def command(airflow: AirflowSystem, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Our command line, in a process without a supervisor."""
    return airflow.processes.complete([*REMOTE_JOBS, *arguments])


@pytest.mark.airflow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("story", stories, ids=str)
def test_connections(told: Told, story: Story) -> None:
    told(story)


@dataclass
class Bare:
    """An Airflow that is a database and nothing else, and a cloud that boto3 finds by itself."""

    airflow: AirflowSystem
    cloud: LocalCloud
    job: str

    def store(self, conn_id: str, login: str) -> None:
        """Store a connection in the database; its secret is in no process's arguments."""
        connection = aws_connection(self.cloud.url, conn_id, login)
        file = self.airflow.home / "connections.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({connection.pop("connection_id"): connection}))
        self.airflow.airflow("connections", "import", "--overwrite", str(file))

    def keys(self) -> set[str]:
        """Access keys of all calls since the last time."""
        keys = {str(call.access_key) for call in self.cloud.journal.entries("batch")}
        self.cloud.journal.clear()
        return keys

    def run_reaper(self, place: str) -> subprocess.CompletedProcess[str]:
        """Run the program."""
        return self.airflow.processes.complete([sys.executable, "-c", REAPER, place])


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bare]:
    home = tmp_path_factory.mktemp("bare")
    with LocalCloud() as cloud:
        settings = {**plain_boto3(cloud.url), "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": "bare"}
        airflow = AirflowSystem(home, home, settings)
        airflow.airflow("db", "migrate")
        client = aws_client(cloud.url, "batch")
        job = client.submit_job(jobName="job", jobQueue="queue", jobDefinition="job")["jobId"]
        there = Bare(airflow, cloud, job)
        there.store("team_aws", "TEAMKEY")
        there.keys()
        yield there


@pytest.mark.airflow
@pytest.mark.timeout(600)
class TestNoEnvironment:
    """Nothing is in the environment; what is in the database is found, what is not is an error."""

    @pytest.mark.parametrize("conn_id", ["aws_default", "no_such"])
    def test_a_connection_that_is_not_defined_is_2_and_nothing_is_sent(
        self, bare: Bare, conn_id: str
    ) -> None:
        address, place = f"batch://{conn_id}@us-east-1/{bare.job}", f"batch://{conn_id}@us-east-1"
        for arguments in (
            ["describe", f"batch://team_aws@us-east-1/{bare.job}", address],
            ["cancel", f"batch://team_aws@us-east-1/{bare.job}", address],
            ["reap", "--dry-run", "--at", "batch://team_aws@us-east-1", "--at", place],
        ):
            done = command(bare.airflow, *arguments)
            assert done.returncode == 2, done.stderr
            assert f"Connection {conn_id!r} is not defined" in done.stderr.splitlines()[-1]
        done = bare.run_reaper(place)
        assert f"InvalidInput: Connection {conn_id!r} is not defined" in done.stderr
        assert bare.keys() == set()

    def test_one_in_the_database(self, bare: Bare) -> None:
        address, place = f"batch://team_aws@us-east-1/{bare.job}", "batch://team_aws@us-east-1"
        seen = command(bare.airflow, "describe", "-o", "json", address)
        assert seen.returncode == 0, seen.stderr
        assert json.loads(seen.stdout)[0]["state"] in ("PENDING", "RUNNING")
        swept = command(bare.airflow, "reap", "-o", "json", "--dry-run", "--grace", "0", "--at", place)
        assert (swept.returncode, json.loads(swept.stdout)["troubles"]) == (0, []), swept.stderr
        swept = bare.run_reaper(place)
        assert json.loads(swept.stdout.splitlines()[-1])["jobs"] == {"unlabelled": 1}, swept.stderr
        gone = command(bare.airflow, "cancel", "-o", "json", address)
        assert (gone.returncode, json.loads(gone.stdout)[0]["state"]) == (0, "CANCELLED"), gone.stderr
        assert bare.keys() == {"TEAMKEY"}

    def test_an_empty_connection_is_the_own_identity_of_the_process(self, bare: Bare) -> None:
        seen = command(bare.airflow, "describe", "-o", "json", f"batch://@us-east-1/{bare.job}")
        assert seen.returncode == 0, seen.stderr
        assert bare.keys() == {"PLAINKEY"}

    def test_a_database_that_is_away_is_1_and_nothing_is_sent(self, bare: Bare, tmp_path: Path) -> None:
        away = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/no/such/folder.db"}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "airflow_cancel_provider.cli",
                "describe",
                f"batch://aws_default@us-east-1/{bare.job}",
            ],
            env=bare.airflow.processes.environment | away,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "Airflow's database did not answer" in done.stderr.splitlines()[-1]
        assert bare.keys() == set()
