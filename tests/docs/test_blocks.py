"""Every code block of the documents runs as it is pasted, or is parsed by what reads it."""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.cli import cli_parser

from airflow_cancel_provider.cli import get_parser
from airflow_cancel_provider.setting_options import OPTIONS
from tests.docs.blocks import BLOCKS, PAGES, ROOT, Block, blocks_in

try:
    from airflow.dag_processing.dagbag import DagBag
except ImportError:  # before Airflow 3.2
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef]

RUN = [block for block in blocks_in("python") if not block.reason]
DAGS = [block for block in RUN if "with DAG(" in block.text]
MODULES = [block for block in RUN if "with DAG(" not in block.text]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
READERS: dict[str, Callable[[str], Any]] = {
    "python": ast.parse,
    "json": json.loads,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
    "ini": lambda text: configparser.ConfigParser().read_string(text),
}
UNREAD = {"text", "console", "bash", "dockerfile"}
"""Languages without a reader: output; and what other tests here see to."""


def test_every_block_has_a_language_that_is_checked() -> None:
    assert {block.language for block in BLOCKS} <= {*READERS, *UNREAD}
    # A paragraph that ends so begins a block without a language.
    unnamed = [
        f"{page.name}: {line}"
        for page in PAGES
        if page.suffix == ".rst"
        for line in page.read_text().splitlines()
        if line.endswith("::") and not line.lstrip().startswith("..")
    ]
    assert unnamed == []


@pytest.mark.parametrize("block", blocks_in(*READERS), ids=str)
def test_it_can_be_read(block: Block) -> None:
    READERS[block.language](block.text)


@pytest.mark.parametrize("block", DAGS, ids=str)
def test_a_dag_is_loaded_without_errors(block: Block, tmp_path: Path) -> None:
    (tmp_path / "pasted.py").write_text(block.text)
    bag = DagBag(tmp_path, safe_mode=False)
    assert bag.import_errors == {}
    assert bag.dags
    assert all(dag.tasks for dag in bag.dags.values())


@pytest.mark.parametrize("block", MODULES, ids=str)
def test_a_module_runs_with_its_tests(block: Block) -> None:
    names: dict[str, Any] = {"__name__": "pasted"}
    exec(compile(block.text, str(block), "exec"), names)
    for name, test in names.items():
        if name.startswith("test_"):
            test()


@pytest.mark.parametrize("block", blocks_in("ini"), ids=str)
def test_settings_are_ours(block: Block) -> None:
    parsed = configparser.ConfigParser()
    parsed.read_string(block.text)
    assert parsed.sections() == ["cancel_provider"]
    assert set(parsed["cancel_provider"]) <= set(OPTIONS)


@pytest.mark.parametrize("block", blocks_in("json"), ids=str)
def test_a_policy_allows_what_services_have(block: Block) -> None:
    policy = json.loads(block.text)
    for statement in policy.get("Statement", []):
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            prefix, _, operation = action.partition(":")
            assert operation in operations_of(prefix)


@cache
def operations_of(prefix: str) -> set[str]:
    """The operations of a service, by the prefix that IAM has for it."""
    from botocore.loaders import Loader

    name = {"elasticmapreduce": "emr"}.get(prefix, prefix)
    return set(Loader().load_service_model(name, "service-2")["operations"])


@pytest.mark.parametrize("block", blocks_in("console"), ids=str)
def test_commands_are_understood(block: Block) -> None:
    assert block.commands
    for words in block.commands:
        understand(words)


def understand(words: list[str]) -> None:
    """Fail unless the program that a command line calls would take its words."""
    match words:
        case ["airflow-remote-jobs", *rest] | ["airflow", "remote-jobs", *rest]:
            get_parser().parse_args([word for word in rest if word != "..."])
        case ["airflow", *rest]:
            cli_parser.get_parser().parse_args(rest)
        case ["make", target, *_]:
            assert target in TARGETS
        case ["pip", "install", package]:
            assert package.partition("[")[0] == "airflow-cancel-provider"
        case _:
            pytest.fail(f"no test knows {words[0]}")


@pytest.mark.parametrize("block", blocks_in("bash"), ids=str)
def test_a_script_has_no_syntax_error(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


def test_what_is_not_run_is_little() -> None:
    assert [str(block) for block in BLOCKS if block.reason] == [
        str(block) for block in BLOCKS if block.reason and len(block.reason) > 20
    ]
    assert len([block for block in BLOCKS if block.reason]) <= 3
