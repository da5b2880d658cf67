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
from tests.airflow_versions import TAKES_COMMANDS, module, remote_jobs
from tests.cli_fixtures import JSON, NAME, NOWHERE, deployment, line
from tests.forks import COMMAND_LINE, forked
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


@pytest.mark.usefixtures("connections")
def test_what_commands_say_in_processes(tmp_path: Path) -> None:
    own = "airflow_cancel_provider.cli"
    helped = [["--help"], ["reap", "--help"], ["dead-letters", "--help"]] if TAKES_COMMANDS else []
    looked = ("describe", "-v", *JSON, NOWHERE)
    unknown, wrong, by_airflow, by_itself, *helps = forked(
        COMMAND_LINE,
        [
            (program, {})
            for program in (
                module(own, "describe", "gcp://a/b"),
                module(own, "reap", "--grace", "soon"),
                remote_jobs(*looked),
                module(own, *looked),
                *(remote_jobs(*arguments) for arguments in helped),
            )
        ],
        tmp_path,
    )
    assert (unknown.returncode, unknown.stdout, wrong.returncode) == (2, "", 2)
    assert unknown.stderr.splitlines()[-1] == (
        f"There is no service 'gcp'; there are {', '.join(registry.SERVICES)}."
    )
    for done in (by_airflow, by_itself):
        # Standard output is for answers: Airflow's own log goes there, too, but not between ours.
        assert (done.returncode, json.loads(done.stdout)[0]["state"]) == (1, "GONE")
        assert "credentials retrieved" in done.stderr
    for done in helps:
        assert (done.returncode, "remote-jobs" in done.stdout) == (0, True), done.stderr
    for done in (unknown, wrong, *helps):
        assert "Traceback" not in done.stderr


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
