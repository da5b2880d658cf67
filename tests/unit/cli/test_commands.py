"""What all commands share: help, wrong input, output, an Airflow that does not answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from airflow_cancel_provider import cli
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.services import registry
from tests.airflow_versions import REMOTE_JOBS, TAKES_COMMANDS
from tests.cli_fixtures import JSON, NAME, NOWHERE, deployment, line
from tests.reaper_fixtures import ground
from tests.task_fixtures import connections

__all__ = ["connections", "deployment", "ground", "line"]

ROOT = Path(__file__).parents[3]
HASTE = ["--grace", "0.05", "--share", "1", "--at", "aws://aws_default", "--at", "mrs://mrs_default"]


class TestAirflowsThatDoNotAnswer:
    """What Airflow itself would take for "there is no such Variable"."""

    def test_a_database(self) -> None:
        with pytest.raises(AirflowUnavailable, match="did not answer"):
            Database().variable("any")
        with pytest.raises(AirflowUnavailable, match="did not answer"):
            Database().owners([UUID(int=0)])


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def there(connections: None) -> dict[str, str]:  # noqa: ARG001  they are set
    """What a process needs to reach the local cloud."""
    return {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")}


def test_help_in_a_process() -> None:
    done = run(sys.executable, "-m", "airflow_cancel_provider.cli", "--help")
    # Some Airflows have the newest alembic log its plugins.
    assert [line for line in done.stderr.splitlines() if "alembic" not in line] == []
    assert done.returncode == 0
    for command in cli.COMMANDS:
        assert command.name in done.stdout


@pytest.mark.parametrize("command", ["reap", "cancel", "describe", "dead-letters"])
def test_help_names_the_services_of_the_registry(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "Exit codes: 0: " in told
    assert (f"with a service of aws, {', '.join(registry.SERVICES)};" in told) is (command == "reap")


def test_an_unknown_service_is_2_and_one_sentence_in_a_process(there: dict[str, str]) -> None:
    done = run(sys.executable, "-m", "airflow_cancel_provider.cli", "describe", "gcp://a/b", **there)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        f"There is no service 'gcp'; there are {', '.join(registry.SERVICES)}."
    )
    assert "Traceback" not in done.stderr


def test_wrong_arguments_in_a_process() -> None:
    done = run(sys.executable, "-m", "airflow_cancel_provider.cli", "reap", "--grace", "soon")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not TAKES_COMMANDS, reason="its commands are its own")
@pytest.mark.parametrize("arguments", [["--help"], ["reap", "--help"], ["dead-letters", "--help"]])
def test_help_by_airflow(arguments: list[str]) -> None:
    done = run(sys.executable, "-m", "airflow", "remote-jobs", *arguments)
    assert done.returncode == 0, done.stderr
    assert "remote-jobs" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [REMOTE_JOBS, [sys.executable, "-m", "airflow_cancel_provider.cli"]])
def test_standard_output_is_for_answers(there: dict[str, str], command: list[str]) -> None:
    """Airflow's own log goes there, too, but not between ours."""
    done = run(*command, "describe", "-v", *JSON, NOWHERE, **there)
    assert (done.returncode, json.loads(done.stdout)[0]["state"]) == (1, "GONE")
    assert "credentials retrieved" in done.stderr


def test_a_database_that_is_not_there(there: dict[str, str], tmp_path: Path) -> None:
    settings = {"AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": NAME, "AIRFLOW_HOME": str(tmp_path)}
    done = run(
        *(sys.executable, "-m", "airflow_cancel_provider.cli", "reap", *JSON, *HASTE), **there, **settings
    )
    assert done.returncode == 1
    (trouble,) = json.loads(done.stdout)["troubles"]
    assert trouble.startswith("Airflow's database did not answer")
    assert "Traceback" not in done.stderr


def test_what_is_not_given() -> None:
    parser = cli.get_parser()
    options = parser.parse_args(["reap"])
    expected = {"at": [], "loop": False, "interval": 300.0, "dry_run": False, "output": "table", "brake": 100}
    assert {name: getattr(options, name) for name in expected} == expected
    assert parser.parse_args(["reap", "--at", "a", "--at", "b"]).at == ["a", "b"]
    assert parser.parse_args(["reap"]).at == [], "a default is not added to"
