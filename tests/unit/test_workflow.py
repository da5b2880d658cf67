"""The CI workflow: what it may do, and that it leaves no environment out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.versions.environments import ENVIRONMENTS, FLOOR_TESTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / ".github/workflows/ci.yml").read_text()
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)


def test_every_environment_has_a_job() -> None:
    named = WORKFLOW["jobs"]["versions"]["strategy"]["matrix"]["environment"]
    assert [str(each) for each in named] == [each.name for each in ENVIRONMENTS]


@pytest.mark.parametrize("job", WORKFLOW["jobs"])
def test_a_job_may_read_the_repository_and_nothing_else(job: str) -> None:
    assert WORKFLOW["permissions"] == {}
    assert WORKFLOW["jobs"][job]["permissions"] == {"contents": "read"}
    assert WORKFLOW["jobs"][job]["timeout-minutes"] <= 180


def test_every_action_is_pinned_to_a_commit_and_checks_out_without_credentials() -> None:
    used = re.findall(r"uses: (\S+) # v[\d.]+\n", TEXT)
    assert len(used) == TEXT.count("uses:") == 2 * len(WORKFLOW["jobs"])
    assert [each for each in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", each)] == []
    assert TEXT.count("persist-credentials: false") == TEXT.count("actions/checkout@")


def test_what_somebody_else_writes_is_no_part_of_a_command() -> None:
    assert set(WORKFLOW[True]) == {"push", "pull_request", "schedule"}  # YAML reads "on" as True
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []


def test_every_command_is_a_target_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    commands = re.findall(r"- run: make ([a-z ]+)", TEXT)
    assert len(commands) == len(WORKFLOW["jobs"])
    assert {word for command in commands for word in command.split()} <= targets


def test_what_needs_an_airflow_is_where_make_test_looks_for_it() -> None:
    others = [path for path in (ROOT / "tests").rglob("test_*.py") if path.parent.name != "airflow"]
    marked = [path.read_text() for path in others if "mark.airflow" in path.read_text()]
    assert [text for text in marked if "mark.slow" not in text and "mark.browser" not in text] == []


@pytest.mark.parametrize("path", FLOOR_TESTS)
def test_what_runs_with_the_oldest_versions_exists(path: str) -> None:
    assert (ROOT / "tests" / path).is_file()
