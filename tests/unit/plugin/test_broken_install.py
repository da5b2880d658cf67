"""A part of ours can't be imported: that is said in the task's log, and ``fail_closed`` holds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.forks import ROOT, Ended, forked
from tests.real_airflow.system import AirflowSystem

pytestmark = pytest.mark.timeout(300)  # most begin a Python that imports Airflow


BROKEN = (
    "airflow_cancel_provider.version_compat",
    "airflow_cancel_provider.services.aws.client",
    "airflow_cancel_provider.guard",
    "airflow_cancel_provider.settings",
    "airflow_cancel_provider.guard.task",
    "airflow_cancel_provider.guard.sentinel.channel",
    "airflow_cancel_provider.guard.sentinel.client",
    "botocore",
)
BREAK = """
import sys

class Breaker:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise ImportError("broken for the test", name=name)

sys.meta_path.insert(0, Breaker())
# Airflow has read what the provider is.
for name in [name for name in sys.modules if name.startswith("airflow_cancel_provider")]:
    del sys.modules[name]
"""
IMPORTS = "from airflow.sdk import DAG, BaseOperator"
RUN = """
ID = "0192d3a0-0000-7000-8000-000000000001"  # of the try
import logging
from types import SimpleNamespace
import airflow_cancel_provider.plugin as plugin

logging.basicConfig()
with DAG("broken", schedule=None):
    task = BaseOperator(task_id="task")
task.remote_jobs_guard = {own}
names = {{"dag_id": "broken", "task_id": "task", "run_id": "run", "map_index": -1}}
plugin.listener.on_task_instance_running(SimpleNamespace(task=task, **names, try_number=1, id=ID))
print("executes")
"""

DAG_FILE = """
from airflow.sdk import DAG, task

with DAG("broken", schedule=None):

    @task
    def work():
        print("the task executes")

    work()
"""


SETTINGS = "airflow_cancel_provider.settings"


def run(folder: Path, cases: Iterable[tuple[str, str, dict[str, str]]]) -> list[Ended]:
    """Tell the listener of a task, with one module that can't be imported.

    :param cases: the module, what the task says of its guard, and settings.
    """
    programs = [
        (
            BREAK.format(module=module) + RUN.format(own=own),
            {f"AIRFLOW__CANCEL_PROVIDER__{name}": value for name, value in settings.items()},
        )
        for module, own, settings in cases
    ]
    return forked(IMPORTS, programs, folder)


def test_what_cant_be_imported_fails_the_task_if_that_was_asked_for(tmp_path: Path) -> None:
    """A value that is no boolean was not meant to be false."""
    cases = [(module, "None", {"FAIL_CLOSED": "True"}) for module in BROKEN]
    *ended, odd = run(tmp_path, [*cases, (SETTINGS, "None", {"FAIL_CLOSED": "ture"})])
    for (module, *_), done in zip(cases, ended, strict=True):
        log = done.stdout + done.stderr
        assert done.returncode == 1, (module, log)
        assert "executes" not in log.splitlines(), module
        assert "Not guarded, and fail_closed is set" in log, module
        assert "broken for the test" in log, module
    assert odd.returncode == 1, odd.stderr
    assert "fail_closed is taken for true" in odd.stdout + odd.stderr
    assert "executes" not in odd.stdout.splitlines()


def test_without_fail_closed_or_a_guard_the_task_runs(tmp_path: Path) -> None:
    """And its log says why it is not guarded."""
    closed = {"FAIL_CLOSED": "True"}
    cases = [
        (SETTINGS, "None", {}),
        (SETTINGS, "False", closed),
        (SETTINGS, "None", closed | {"ENABLED": "False"}),
    ]
    ended = run(tmp_path, cases)
    for done in ended:
        assert done.returncode == 0, done.stderr
        assert "executes" in done.stdout.splitlines()
    log = (ended[0].stdout + ended[0].stderr).splitlines()
    (line,) = [line for line in log if "Not guarded" in line]
    assert "ImportError: broken for the test" in line


def test_a_command_that_cant_start_says_so_in_one_line(tmp_path: Path) -> None:
    broken = {
        "describe batch://@us-east-1/job": "hooks.access",
        "dead-letters": "cli.dead_letters",
        "batch terminate-job": "cli.service_commands.model",
    }
    cases = list[tuple[str, dict[str, str]]]()
    for command, module in broken.items():
        main = f"from airflow_cancel_provider.cli import main\nmain({command.split()})\n"
        cases.append((BREAK.format(module=f"airflow_cancel_provider.{module}") + main, {}))
    for command, done in zip(broken, forked("", cases, tmp_path), strict=True):
        name = command.split()[0]
        why = "can't start, because a package is missing or too old: broken for the test"
        # alembic's lines: with Airflow 3.1, which sets up its log as it is imported.
        said = [line for line in done.stderr.splitlines() if "[alembic." not in line]
        assert done.returncode == 1, command
        assert [line.endswith(f"remote-jobs {name} {why}") for line in said] == [True], (command, said)


def test_airflow_runs_no_unguarded_task_with_fail_closed(tmp_path: Path) -> None:
    for folder in ("dags", "path", "home"):
        (tmp_path / folder).mkdir()
    (tmp_path / "dags" / "broken.py").write_text(DAG_FILE)
    (tmp_path / "path" / "sitecustomize.py").write_text(BREAK.format(module=SETTINGS))
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), str(ROOT)])}
    airflow = AirflowSystem(tmp_path / "home", tmp_path / "dags", environment)
    airflow.airflow("db", "migrate")
    for fail_closed in ("True", "False"):
        airflow.processes.environment["AIRFLOW__CANCEL_PROVIDER__FAIL_CLOSED"] = fail_closed
        done = airflow.complete("dags", "test", "broken")
        log = done.stdout + done.stderr
        assert "Not guarded: nothing cancels this task's remote jobs." in log
        assert "ImportError: broken for the test" in log
        assert ("the task executes" in log) == (fail_closed == "False")
        assert ("fail_closed is set" in log) == (fail_closed == "True")
        state = "failed" if fail_closed == "True" else "success"
        assert f"state={state}" in log.replace("'", "").replace(":", "=")
