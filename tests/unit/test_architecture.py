"""Which package imports which, and what none of them holds."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_cancel_provider"
MODULES = sorted((ROOT / PACKAGE).rglob("*.py"))

# A package imports packages of a lower rank and itself, none of its own rank.
RANKS = {
    "vocabulary": 0,
    "version_compat": 0,
    "services": 1,
    "setting_options": 2,
    "settings": 3,
    "watch": 2,
    "cancellation": 3,
    "task_log": 1,
    "cancel_log": 4,
    "engine": 4,
    "ends_on_record": 2,
    "metrics": 3,
    "hooks": 4,
    "links": 3,
    "triggers": 5,
    "guard": 6,
    "mixins": 6,
    "operators": 7,
    "sensors": 7,
    "notifications": 8,
    "reaper": 8,
    "inventory": 9,
    "plugin": 10,
    "cli": 10,
    # Read by every Airflow command: it names classes as text and imports next to nothing.
    "get_provider_info": 9,
    "container": 9,
}
VOCABULARY = {"__init__", "clock", "jobs", "owner", "record", "release", "exceptions"}
# What is imported nowhere in the package.
CLOSED_TO = {
    "vocabulary": {"airflow", "boto3", "botocore", "keystoneauth1", "pendulum", "requests", "tenacity"},
    "get_provider_info": {"airflow", "boto3", "botocore", "keystoneauth1", "requests"},
    "container": {"airflow", "boto3", "botocore", "keystoneauth1", "requests"},
    "services": {"airflow"},
    "setting_options": {"airflow", "boto3", "botocore", "keystoneauth1", "requests"},
    "watch": {"airflow", "boto3", "botocore", "keystoneauth1", "requests"},
    "cancellation": {"airflow", "boto3", "botocore", "keystoneauth1", "requests"},
    "engine": {"airflow", "boto3", "botocore", "keystoneauth1", "requests"},
}
# Optional: who does not use MRS need not have it.
NEVER_AT_THE_TOP = {"keystoneauth1"}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package_of(module: str) -> str:
    inside = module.split(".")[1:]
    return "vocabulary" if not inside or inside[0] in VOCABULARY else inside[0]


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names that a tree imports; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are banned"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_named(dotted: str) -> str:
    """The module of ours that a dotted name lies in."""
    while dotted not in NAMES:
        dotted = dotted.rpartition(".")[0]
    return dotted


def ours(path: Path) -> set[str]:
    """Modules of ours that a module imports."""
    found = imports(parsed(path))
    return {module_named(dotted) for dotted in found if dotted.partition(".")[0] == PACKAGE}


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


NAMES = {name_of(path) for path in MODULES}
every_module = pytest.mark.parametrize("path", MODULES, ids=name_of)


@every_module
def test_imports_run_downwards(path: Path) -> None:
    package = package_of(name_of(path))
    assert package in RANKS, f"{package} is a new package: give it a rank in this file"
    upwards = [
        dotted
        for dotted in ours(path)
        if package_of(dotted) != package and RANKS[package_of(dotted)] >= RANKS[package]
    ]
    assert not upwards


@every_module
def test_packages_import_only_what_is_theirs(path: Path) -> None:
    closed_to = CLOSED_TO.get(package_of(name_of(path)), set())
    assert not {dotted.partition(".")[0] for dotted in imports(parsed(path))} & closed_to


@every_module
def test_what_is_optional_is_imported_where_it_is_used(path: Path) -> None:
    at_the_top = [node for node in parsed(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = imports(ast.Module(at_the_top, []))
    assert not {dotted.partition(".")[0] for dotted in imported} & NEVER_AT_THE_TOP


def test_there_are_no_circles() -> None:
    graph = {name_of(path): ours(path) for path in MODULES}
    # prepare() raises CycleError, which shows the circle.
    TopologicalSorter(graph).prepare()


@every_module
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(parsed(path))


@every_module
def test_there_is_no_module_of_leftovers(path: Path) -> None:
    assert not {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} & {
        "utils",
        "util",
        "common",
        "helpers",
        "misc",
    }


REGISTRIES = r"pypi\.(org|io)|pythonhosted\.|npmjs\.|--(extra-)?index-url|--find[-]links"


def test_no_file_knows_this_machine_or_a_registry() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    machine = [f"{folder}/" for folder in {ROOT, Path.home(), Path.home().resolve()} if folder != Path("/")]
    wrong = re.compile("|".join([REGISTRIES, r"/home/\w", r"/Users/\w", *map(re.escape, machine)]), re.I)
    found = {
        name: match[0]
        for name in listing.stdout.split("\0")
        if name and (ROOT / name).is_file()
        if (match := wrong.search((ROOT / name).read_text(encoding="utf-8", errors="replace")))
    }
    found.pop(Path(__file__).relative_to(ROOT).as_posix(), None)
    assert not found
