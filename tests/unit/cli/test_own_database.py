"""The command line where nothing is in the environment: connections of a database, or of none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.airflow_versions import REMOTE_JOBS
from tests.cloud import LocalCloud
from tests.demo.places import aws_client, aws_connection, plain_boto3
from tests.real_airflow.system import AirflowSystem

REAPER = """
import json, sys
from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.reaper.factory import make_reaper
from airflow_cancel_provider.reaper.rules import Rules
reaper = make_reaper(Database(), at=sys.argv[1:], rules=Rules(grace=0.1, is_dry=True), share=1)
print(json.dumps(reaper.sweep().as_json()))
"""
"""A reaper in a program of the user's own."""


def command(airflow: AirflowSystem, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Our command line, in a process without a supervisor."""
    return airflow.processes.complete([*REMOTE_JOBS, *arguments])


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


@pytest.mark.timeout(600)
class TestNoEnvironment:
    """Nothing is in the environment; what is in the database is found, what is not is an error."""

    @pytest.mark.parametrize(
        "line",
        [
            "describe batch://team_aws@us-east-1/JOB batch://no_such@us-east-1/JOB",
            "cancel batch://team_aws@us-east-1/JOB batch://aws_default@us-east-1/JOB",
            "reap --dry-run --at batch://aws_default@us-east-1 --at emr://aws_default@us-east-1",
        ],
    )
    def test_a_connection_that_is_not_defined_is_2_and_nothing_is_sent(self, bare: Bare, line: str) -> None:
        done = command(bare.airflow, *line.replace("JOB", bare.job).split())
        assert done.returncode == 2, done.stderr
        name = "no_such" if "no_such" in line else "aws_default"
        assert f"Connection {name!r} is not defined" in done.stderr.splitlines()[-1]
        assert bare.keys() == set()

    def test_a_connection_that_is_not_defined_keeps_no_other_place_from_its_sweep(self, bare: Bare) -> None:
        places = ("--at", "batch://no_such@us-east-1", "--at", "batch://team_aws@us-east-1")
        done = command(bare.airflow, "reap", "-o", "json", "--dry-run", "--grace", "0", *places)
        report = json.loads(done.stdout)
        assert (done.returncode, report["jobs"]) == (1, {"unlabelled": 1}), done.stderr
        assert "Connection 'no_such' is not defined" in report["troubles"][0]
        assert bare.keys() == {"TEAMKEY"}

    def test_a_connection_that_is_not_defined_ends_a_program(self, bare: Bare) -> None:
        done = bare.run_reaper("batch://no_such@us-east-1")
        assert "InvalidInput: Connection 'no_such' is not defined" in done.stderr
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
