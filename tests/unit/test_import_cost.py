"""Dag files are parsed all the time, and every Airflow command lists ours: that loads no SDK and no hook."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import airflow_cancel_provider

ROOT = Path(airflow_cancel_provider.__file__).parent
MODULES = [
    f"airflow_cancel_provider.{folder}.{path.stem}"
    for folder in ("operators", "sensors")
    for path in sorted((ROOT / folder).glob("[!_]*.py"))
]
DEAR = ("boto3", "botocore", "airflow.providers.amazon.aws.hooks", "keystoneauth1", "moto")
SCRIPT = """
import importlib, sys
for module in sys.argv[1].split(","):
    importlib.import_module(module)
    dear = [name for name in sys.argv[2].split(",") if name in sys.modules]
    if dear:
        sys.exit(f"{module} imports {', '.join(dear)}")
    # Each is judged on its own: what is shared is loaded afresh.
    for name in [name for name in sys.modules if name.startswith("airflow_cancel_provider")]:
        del sys.modules[name]
"""


def load(modules: list[str], dear: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", SCRIPT, ",".join(modules), ",".join(dear)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_no_operator_and_no_sensor_loads_an_sdk() -> None:
    assert len(MODULES) >= 10
    load(MODULES, DEAR)


def test_the_list_of_commands_loads_nothing() -> None:
    ours = ("airflow_cancel_provider.cli.command", "airflow_cancel_provider.services.base")
    load(["airflow_cancel_provider.cli", "airflow_cancel_provider.reaper.dag"], (*DEAR, *ours, "requests"))


def test_pendulum_is_imported_only_when_a_report_is_written() -> None:
    modules = [f"airflow_cancel_provider.{name}" for name in ("get_provider_info", "reaper.report")]
    load(modules, ("pendulum",))


def test_a_sentinel_that_must_act_loads_no_airflow_and_a_sdk_only_with_its_first_client() -> None:
    load(["airflow_cancel_provider.guard.sentinel.cancel"], ("airflow", *DEAR, "requests"))
