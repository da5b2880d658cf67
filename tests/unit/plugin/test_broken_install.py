"""A part of ours can't be imported: that is said in the task's log, and ``fail_closed`` holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_airflow.system import AirflowSystem

pytestmark = pytest.mark.timeout(300)  # each begins a Python that imports Airflow
ROOT = Path(__file__).parents[3]


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
            raise {error}("broken for the test", name=name)

sys.meta_path.insert(0, Breaker())
"""
RUN = """
ID = "0192d3a0-0000-7000-8000-000000000001"  # of the try
import logging
from types import SimpleNamespace
from airflow.sdk import DAG, BaseOperator
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


def run(module: str, own: str = "None", error: str = "ImportError", **settings: str) -> tuple[int, str, str]:
    """Tell the listener of a task, with one module that can't be imported; code, output, log."""
    named = {f"AIRFLOW__CANCEL_PROVIDER__{name}": value for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-c", BREAK.format(module=module, error=error) + RUN.format(own=own)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **named, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("module", BROKEN)
def test_what_cant_be_imported_fails_the_task_if_that_was_asked_for(module: str) -> None:
    code, _, log = run(module, FAIL_CLOSED="True")
    assert code == 1, log
    assert "executes" not in log.splitlines()
    assert "Not guarded, and fail_closed is set" in log
    assert "broken for the test" in log


def test_without_fail_closed_the_task_runs_and_its_log_says_why_it_is_not_guarded() -> None:
    code, output, log = run("airflow_cancel_provider.settings")
    assert code == 0, log
    assert "executes" in output.splitlines()
    (line,) = [line for line in log.splitlines() if "Not guarded" in line]
    assert "ImportError: broken for the test" in line


@pytest.mark.parametrize("switched_off", [{"own": "False"}, {"ENABLED": "False"}], ids=str)
def test_a_task_that_is_not_to_be_guarded_needs_no_guard(switched_off: dict[str, str]) -> None:
    code, output, log = run("airflow_cancel_provider.settings", FAIL_CLOSED="True", **switched_off)
    assert code == 0, log
    assert "executes" in output.splitlines()


def test_a_fail_closed_that_is_no_boolean_was_not_meant_to_be_false() -> None:
    code, _, log = run("airflow_cancel_provider.settings", FAIL_CLOSED="ture")
    assert code == 1, log
    assert "fail_closed is taken for true" in log
    assert "executes" not in log.splitlines()


def test_a_command_that_cant_start_says_so_in_one_line() -> None:
    command = "from airflow_cancel_provider.cli import main\nmain(['describe', 'batch://@us-east-1/job'])\n"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            BREAK.format(module="airflow_cancel_provider.hooks.access", error="ImportError") + command,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert "missing or too old: broken for the test" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("fail_closed", ["True", "False"])
def test_airflow_runs_no_unguarded_task_with_fail_closed(tmp_path: Path, fail_closed: str) -> None:
    for folder in ("dags", "path", "home"):
        (tmp_path / folder).mkdir()
    (tmp_path / "dags" / "broken.py").write_text(DAG_FILE)
    breaker = BREAK.format(module="airflow_cancel_provider.settings", error="ImportError")
    (tmp_path / "path" / "sitecustomize.py").write_text(breaker)
    environment = {
        "AIRFLOW__CANCEL_PROVIDER__FAIL_CLOSED": fail_closed,
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), str(ROOT)]),
    }
    airflow = AirflowSystem(tmp_path / "home", tmp_path / "dags", environment)
    airflow.airflow("db", "migrate")
    done = airflow.complete("dags", "test", "broken")
    log = done.stdout + done.stderr
    assert "Not guarded: nothing cancels this task's remote jobs." in log
    assert "ImportError: broken for the test" in log
    assert ("the task executes" in log) == (fail_closed == "False")
    assert ("fail_closed is set" in log) == (fail_closed == "True")
    assert f"state={'failed' if fail_closed == 'True' else 'success'}" in log.replace("'", "").replace(
        ":", "="
    )
