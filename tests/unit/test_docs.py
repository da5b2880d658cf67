"""The documents leave out no command, connection field, permission or class."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from airflow_cancel_provider.cli import COMMANDS
from airflow_cancel_provider.get_provider_info import get_provider_info
from airflow_cancel_provider.hooks.mrs_form import FIELDS
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.mrs.calls import LIST_CLUSTERS, V1_1, V2
from airflow_cancel_provider.services.registry import SERVICES

AWS_SERVICES = [row.service_class for row in SERVICES.values() if row.family == "aws"]
ROOT = Path(__file__).parents[2]
PERMISSIONS = (ROOT / "docs" / "permissions.rst").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.rst"))]
CALLED = re.compile(r'_(?:call|pages)\(\s*(?:series|self\.patience\.started\(\)),\s*"(\w+)"')


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_the_connection_is_described(name: str) -> None:
    assert f"   * - ``{name}``" in (ROOT / "docs" / "connections.rst").read_text()


def test_every_command_is_described() -> None:
    texts = " ".join(page.read_text() for page in PAGES)
    assert [command.name for command in COMMANDS if f"remote-jobs {command.name}" not in texts] == []


@pytest.mark.parametrize("service", AWS_SERVICES)
def test_every_call_to_aws_is_in_the_policies(service: type[AwsJobService]) -> None:
    # What modules that services share call has its answer compared with this table.
    called = set(CALLED.findall(inspect.getsource(inspect.getmodule(service)))) | set(service.answers)
    calls = {service.iam_actions.get(call, call) for call in called}
    assert len(calls) > 2
    assert [call for call in calls if f"{service.iam_prefix}:{call}" not in PERMISSIONS] == []


def test_every_call_to_mrs_is_in_the_table_of_permissions() -> None:
    calls = [call for api in (V2, V1_1) for call in (api.submit, api.show, api.listing, api.cancel)]
    assert [
        call.action for call in (*calls, LIST_CLUSTERS) if f"   * - ``{call.action}``" not in PERMISSIONS
    ] == []


def test_every_class_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference.rst").read_text()
    info = get_provider_info()
    modules = [
        module
        for room in ("operators", "sensors", "hooks")
        for group in info[room]
        for module in group["python-modules"]
    ]
    assert [module for module in modules if f"automodule:: {module}\n" not in reference] == []


@pytest.mark.parametrize("page", ["howto/cancel.rst", "reaper.rst"])
@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_row(page: str, name: str) -> None:
    service = re.sub("Amazon |AWS |Huawei Cloud / OTC ", "", SERVICES[name].title)
    assert re.search(
        rf"^   \* - ({service}$|:doc:`/services/{name}`$)", (ROOT / "docs" / page).read_text(), re.M
    )
