"""The command line where nothing is in the environment: connections of a database, or of none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.airflow_versions import module, remote_jobs
from tests.cloud import LocalCloud
from tests.demo.places import aws_client, aws_connection, plain_boto3
from tests.forks import COMMAND_LINE, Ended, forked
from tests.real_airflow.system import AirflowSystem

REAPER = """
import json
from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.reaper.factory import make_reaper
from airflow_cancel_provider.reaper.rules import Rules
reaper = make_reaper(Database(), at=["{place}"], rules=Rules(grace=0.1, is_dry=True), share=1)
print(json.dumps(reaper.sweep().as_json()))
"""
"""A reaper in a program of the user's own."""


@dataclass
class Bare:
    """An Airflow that is a database and nothing else, and a cloud that boto3 finds by itself."""

    airflow: AirflowSystem
    cloud: LocalCloud
    job: str

    def connections(self) -> Path:
        """A file with a connection; its secret is in no process's arguments."""
        connection = aws_connection(self.cloud.url, "team_aws", "TEAMKEY")
        file = self.airflow.home / "connections.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({connection.pop("connection_id"): connection}))
        return file

    def run(self, *programs: str) -> list[Ended]:
        """Run programs, each in a process of its own, without a supervisor."""
        processes = self.airflow.processes
        return forked(
            COMMAND_LINE, [(program, {}) for program in programs], processes.folder, processes.environment
        )

    def calls(self) -> list[tuple[str, str]]:
        """Access keys and operations of all calls since the last time."""
        calls = [(str(call.access_key), call.operation) for call in self.cloud.journal.entries("batch")]
        self.cloud.journal.clear()
        return calls


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Bare]:
    with LocalCloud() as cloud:
        settings = {**plain_boto3(cloud.url), "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": "bare"}
        airflow = AirflowSystem(tmp_path, tmp_path, settings)
        airflow.airflow("db", "migrate")
        client = aws_client(cloud.url, "batch")
        job = client.submit_job(jobName="job", jobQueue="queue", jobDefinition="job")["jobId"]
        client.close()
        there = Bare(airflow, cloud, job)
        there.calls()
        yield there


@pytest.mark.timeout(600)
def test_only_what_is_in_the_database_is_found(bare: Bare) -> None:
    """What is not is an error, and nothing is sent."""
    defined, not_defined = (
        f"batch://team_aws@us-east-1/{bare.job}",
        f"batch://aws_default@us-east-1/{bare.job}",
    )
    place, nowhere = "batch://team_aws@us-east-1", "batch://aws_default@us-east-1"
    stored, *refused, program = bare.run(
        module("airflow", "connections", "import", str(bare.connections())),
        remote_jobs("describe", defined, not_defined.replace("aws_default", "no_such")),
        remote_jobs("cancel", defined, not_defined),
        remote_jobs("reap", "--dry-run", "--at", nowhere, "--at", nowhere.replace("batch", "emr")),
        REAPER.format(place=nowhere.replace("aws_default", "no_such")),
    )
    assert stored.returncode == 0, stored.stderr
    for done, name in zip(refused, ("no_such", "aws_default", "aws_default"), strict=True):
        assert done.returncode == 2, done.stderr
        assert f"Connection {name!r} is not defined" in done.stderr.splitlines()[-1]
    assert "InvalidInput: Connection 'no_such' is not defined" in program.stderr
    assert bare.calls() == []

    sweep = ("reap", "-o", "json", "--dry-run", "--grace", "0")
    described, swept, beside, own_program, own_identity, cancelled = bare.run(
        remote_jobs("describe", "-o", "json", defined),
        remote_jobs(*sweep, "--at", place),
        remote_jobs(*sweep, "--at", nowhere.replace("aws_default", "no_such"), "--at", place),
        REAPER.format(place=place),
        remote_jobs("describe", "-o", "json", f"batch://@us-east-1/{bare.job}"),
        remote_jobs("cancel", "-o", "json", defined),
    )
    for done in (described, own_identity):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["state"] in ("PENDING", "RUNNING")
    assert (swept.returncode, json.loads(swept.stdout)["troubles"]) == (0, []), swept.stderr
    # One that is not defined keeps no other place from its sweep.
    report = json.loads(beside.stdout)
    assert (beside.returncode, report["jobs"]) == (1, {"unlabelled": 1}), beside.stderr
    assert "Connection 'no_such' is not defined" in report["troubles"][0]
    assert json.loads(own_program.stdout.splitlines()[-1])["jobs"] == {"unlabelled": 1}, own_program.stderr
    assert (cancelled.returncode, json.loads(cancelled.stdout)[0]["state"]) == (0, "CANCELLED"), (
        cancelled.stderr
    )
    calls = bare.calls()
    assert [operation for key, operation in calls if key == "PLAINKEY"] == ["DescribeJobs"]
    assert {key for key, _ in calls} == {"PLAINKEY", "TEAMKEY"}

    away = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{bare.airflow.home}/no/such/folder.db"}
    done = subprocess.run(
        [sys.executable, "-m", "airflow_cancel_provider.cli", "describe", not_defined],
        env=bare.airflow.processes.environment | away,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Airflow's database did not answer" in done.stderr.splitlines()[-1]
    assert bare.calls() == []
