"""What the documents print works, and they leave out no setting, command or connection field."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_cancel_provider.cli import COMMANDS
from airflow_cancel_provider.get_provider_info import get_provider_info
from airflow_cancel_provider.hooks.mrs_form import FIELDS
from airflow_cancel_provider.services.aws.service import AwsJobService
from airflow_cancel_provider.services.mrs.calls import LIST_CLUSTERS, V1_1, V2
from airflow_cancel_provider.services.registry import SERVICES
from airflow_cancel_provider.setting_options import OPTIONS

AWS_SERVICES = [row.service_class for row in SERVICES.values() if row.family == "aws"]
ROOT = Path(__file__).parents[2]
GUARD = (ROOT / "docs" / "guard.rst").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.rst"))]
CALLED = re.compile(r'_(?:call|pages)\(\s*(?:series|self\.patience\.started\(\)),\s*"(\w+)"')
NUMBERS = {"patience", "confirm_seconds", "escalate_after"}


def snippets(page: Path) -> list[str]:
    """Python that a page prints."""
    text = page.read_text()
    if page.suffix == ".md":
        return re.findall(r"```python\n(.*?)```", text, re.S)
    blocks = re.findall(r"\.\. code-block:: python\n\n((?: +[^\n]*\n|\n)+)", text)
    return [textwrap.dedent(block) for block in blocks]


def keeping(found: dict[str, DAG]) -> Any:
    """What makes a Dag, and keeps it."""

    def keep(dag_id: str, *, schedule: Any) -> DAG:
        found[dag_id] = DAG(dag_id, schedule=schedule)
        return found[dag_id]

    return keep


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_printed_python_is_python(page: Path) -> None:
    for snippet in snippets(page):
        ast.parse(snippet)


@pytest.mark.parametrize(
    "page, dags",
    [("README.md", {"nightly": 3}), ("docs/quickstart.rst", {"try_the_guard": 1, "nightly": 2})],
)
def test_printed_dags_can_be_parsed(page: str, dags: dict[str, int]) -> None:
    names: dict[str, Any] = {}
    found: dict[str, DAG] = {}
    for snippet in snippets(ROOT / page):
        # A page is read from top to bottom: what it has defined is there below.
        exec(snippet.replace("with DAG(", "with kept("), {**names, "kept": keeping(found)}, names)
    assert {dag_id: len(dag.tasks) for dag_id, dag in found.items()} == dags


@pytest.mark.parametrize("name", OPTIONS)
def test_every_setting_is_described(name: str) -> None:
    settings = GUARD[GUARD.index("\nSettings\n") :]
    (row,) = [row for row in re.split(r"\n   \* - ", settings) if f"``{name}``" in row.partition("\n")[0]]
    default = str(OPTIONS[name]["default"])
    if default and name not in NUMBERS:
        assert f"``{default}``" in row
    elif default:
        assert f" {default} s" in row


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_the_connection_is_described(name: str) -> None:
    assert f"   * - ``{name}``" in (ROOT / "docs" / "connections.rst").read_text()


def test_every_command_is_described() -> None:
    texts = " ".join(page.read_text() for page in PAGES)
    assert [command.name for command in COMMANDS if f"remote-jobs {command.name}" not in texts] == []


@pytest.mark.parametrize("service", AWS_SERVICES)
def test_every_call_to_aws_is_in_the_policies(service: type[AwsJobService]) -> None:
    page = (ROOT / "docs" / "services" / f"{service.name}.rst").read_text()
    # What modules that services share call has its answer compared with this table.
    called = set(CALLED.findall(inspect.getsource(inspect.getmodule(service)))) | set(service.answers)
    calls = {service.iam_actions.get(call, call) for call in called}
    assert len(calls) > 2
    assert [call for call in calls if f"{service.iam_prefix}:{call}" not in page] == []


def test_every_call_to_mrs_is_in_the_table_of_permissions() -> None:
    page = (ROOT / "docs" / "services" / "mrs.rst").read_text()
    calls = [call for api in (V2, V1_1) for call in (api.submit, api.show, api.listing, api.cancel)]
    assert [call.action for call in (*calls, LIST_CLUSTERS) if f"   * - ``{call.action}``" not in page] == []


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
