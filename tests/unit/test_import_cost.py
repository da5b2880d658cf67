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


NOT_FOR_A_PARSE = (
    "airflow_cancel_provider.triggers",
    "airflow_cancel_provider.engine",
    "airflow_cancel_provider.services.base",
    "airflow_cancel_provider.services.pool",
    "airflow.triggers.base",
    "tenacity",
)
"""What an operator needs when it runs, but not where it is defined: most of what its import once took."""
MOST_MODULES = 16
"""Modules that one service's operator, or sensor, adds to those that Airflow has loaded for any operator.

What the provider info takes, and the base class of hooks, 3.0 loads later than other Airflows.
"""
ADDED = """
import importlib, sys
import airflow.providers.standard.operators.empty, airflow.providers.standard.sensors.python
from airflow_cancel_provider.get_provider_info import get_provider_info
from airflow_cancel_provider.version_compat import BaseHook
get_provider_info()
for module in sys.argv[1].split(","):
    before = set(sys.modules)
    importlib.import_module(module)
    print(module, *sorted(set(sys.modules) - before))
    for name in set(sys.modules) - before:
        del sys.modules[name]
"""


def load(modules: list[str], dear: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", SCRIPT, ",".join(modules), ",".join(dear)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_no_operator_and_no_sensor_loads_an_sdk() -> None:
    assert len(MODULES) >= 10
    load(MODULES, DEAR)


def test_a_dag_file_that_is_parsed_loads_little_of_ours_and_no_more_of_airflow() -> None:
    command = [sys.executable, "-c", ADDED, ",".join(MODULES)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    added = {words[0]: words[1:] for line in printed.splitlines() if (words := line.split())[0] in MODULES}
    assert set(added) == set(MODULES)
    for module, names in added.items():
        needless = [name for name in names if name.startswith(NOT_FOR_A_PARSE)]
        assert not needless, f"{module} imports {', '.join(needless)}"
        assert module in names
        assert len(names) <= MOST_MODULES, f"{module} imports {len(names)} modules: {', '.join(names)}"


def test_the_list_of_commands_loads_nothing() -> None:
    ours = ("airflow_cancel_provider.cli.command", "airflow_cancel_provider.services.base")
    load(["airflow_cancel_provider.cli", "airflow_cancel_provider.reaper.dag"], (*DEAR, *ours, "requests"))


def test_pendulum_is_imported_only_when_a_report_is_written() -> None:
    modules = [f"airflow_cancel_provider.{name}" for name in ("get_provider_info", "reaper.report")]
    load(modules, ("pendulum",))


def test_a_sentinel_that_must_act_loads_no_airflow_and_a_sdk_only_with_its_first_client() -> None:
    load(["airflow_cancel_provider.guard.sentinel.cancel"], ("airflow", *DEAR, "requests"))
