"""What is shipped: the package, its licence and its entry point, and nothing else."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from airflow_cancel_provider import __version__, version_compat
from hatch_build import browsable, project_urls
from tests.provider_yaml import PATH, provider_yaml

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_cancel_provider"
REPOSITORY = "https://git.example.org/team/airflow-cancel-provider"
FLOOR = ROOT / "tests/floors/airflow-3.0.6.txt"
PINS = [ROOT / "constraints.txt", *sorted((ROOT / "tests/floors").glob("*.txt"))]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / PACKAGE).rglob("*.py"))
    if path.stem != "__main__"
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    environment = {**os.environ, "PROJECT_URL": REPOSITORY}
    subprocess.run(build, cwd=ROOT, env=environment, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return zipfile.Path(built)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.Path) -> Message:
    return Parser().parsestr((wheel / f"{PACKAGE}-{__version__}.dist-info" / "METADATA").read_text())


def test_wheel_holds_the_package_and_nothing_else(wheel: zipfile.Path) -> None:
    names = {name for name in wheel.root.namelist() if not name.endswith("/")}
    assert {name.partition("/")[0] for name in names} == {PACKAGE, f"{PACKAGE}-{__version__}.dist-info"}
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if name.startswith(f"{PACKAGE}/")} == sources
    assert f"{PACKAGE}/py.typed" in sources


def test_wheel_names_its_entry_points(wheel: zipfile.Path) -> None:
    text = (wheel / f"{PACKAGE}-{__version__}.dist-info" / "entry_points.txt").read_text()
    named = ConfigParser()
    named.read_string(text)
    assert {section: dict(named[section]) for section in named.sections()} == {
        "console_scripts": {"airflow-remote-jobs": f"{PACKAGE}.cli:main"},
        "airflow.plugins": {PACKAGE: f"{PACKAGE}.plugin:RemoteJobsPlugin"},
        "apache_airflow_provider": {"provider_info": f"{PACKAGE}.get_provider_info:get_provider_info"},
    }


def test_metadata_says_what_it_is(metadata: Message) -> None:
    # A name that starts with "apache-airflow" would break the registration of the hooks.
    assert metadata["Name"] == "airflow-cancel-provider"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE", "NOTICE"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])


def test_metadata_has_the_repositorys_pages(metadata: Message) -> None:
    # Airflow's page of providers links to "Documentation"; without it, to a page that does not exist.
    urls = dict(each.split(", ", 1) for each in metadata.get_all("Project-URL", []))
    assert urls == project_urls(REPOSITORY)
    assert all(url.startswith(REPOSITORY) for url in urls.values())
    assert "Documentation" in urls


@pytest.mark.parametrize(
    "remote",
    [
        "https://git.example.org/team/it.git",
        "https://user:t0ken@git.example.org/team/it",
        "git@git.example.org:team/it.git",
        "ssh://git@git.example.org:2222/team/it.git",
    ],
)
def test_a_browser_opens_the_address_of_a_remote(remote: str) -> None:
    assert browsable(remote) == "https://git.example.org/team/it"


def test_a_port_of_a_web_server_stays() -> None:
    assert browsable("https://git.example.org:8443/it.git") == "https://git.example.org:8443/it"


@pytest.mark.parametrize(
    "remote", ["", "/srv/git/it.git", "../it", "file:///srv/it.git", "http://localhost/it"]
)
def test_a_remote_that_others_can_not_open_gives_no_link(remote: str) -> None:
    assert browsable(remote) is None


def test_provider_yaml_is_the_provider_info() -> None:
    assert PATH.read_text(encoding="utf-8") == provider_yaml(), "run `python -m tests.provider_yaml`"


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.name)
def test_constraints_are_names_and_versions(path: Path) -> None:
    for line in path.read_text().splitlines():
        requirement, _, marker = line.partition(" ; ")
        name, version = requirement.split("==")
        assert name.replace("-", "").replace("_", "").replace(".", "").isalnum(), line
        assert version[0].isdigit(), line
        assert not marker or marker.startswith("python_version "), line


def test_every_lower_bound_is_what_the_floor_venv_has(metadata: Message) -> None:
    pins = dict(line.split("==") for line in FLOOR.read_text().splitlines())
    bounds = {
        requirement.name: str(requirement.specifier)
        for requirement in map(Requirement, metadata.get_all("Requires-Dist", []))
        if requirement.marker is None or requirement.marker.evaluate({"extra": "mrs"})
    }
    assert len(bounds) >= 6
    assert bounds == {name: f">={pins[name]}" for name in bounds}


def test_names_that_move_between_airflows_come_from_version_compat() -> None:
    moved = {name for name, modules in version_compat._MODULES.items() if len(modules) > 1}
    own_ways = {"conf"}  # who must not depend on us looks for it as we do
    others = [path for path in (ROOT / PACKAGE).rglob("*.py") if path.stem != "version_compat"]
    found = [
        (path.name, alias.name)
        for path in others
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("airflow.")
        for alias in node.names
        if alias.name in moved - own_ways or str(node.module).startswith("airflow.providers.common")
    ]
    assert len(others) > 100
    assert found == []


def test_every_module_can_be_imported() -> None:
    script = "import importlib, sys\nfor module in sys.argv[1:]:\n    importlib.import_module(module)\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *MODULES],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_name_is_somewhere_in_this_airflow() -> None:
    for name in version_compat.__all__:
        assert getattr(version_compat, name) is not None


def test_a_name_that_this_airflow_does_not_have_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(version_compat._MODULES, "Gone", ("airflow.sdk.gone", "airflow.sdk"))
    with pytest.raises(ImportError, match=r"Airflow 3\..* has no Gone in airflow.sdk.gone or airflow.sdk"):
        _ = version_compat.Gone


@pytest.mark.parametrize("older", ["airflow.sdk.gone", "airflow.gone.module"])
def test_a_module_whose_package_is_not_there_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, older: str
) -> None:
    monkeypatch.setitem(version_compat._MODULES, "DAG", (older, "airflow.sdk"))
    monkeypatch.delitem(vars(version_compat), "DAG", raising=False)
    assert version_compat.DAG.__name__ == "DAG"
    monkeypatch.delitem(vars(version_compat), "DAG")


def test_what_a_module_of_airflow_lacks_is_not_taken_for_a_module_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needs_what_is_gone.py").write_text("import gone_for_good\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(version_compat._MODULES, "Broken", ("needs_what_is_gone", "airflow.sdk"))
    with pytest.raises(ModuleNotFoundError, match="gone_for_good"):
        _ = version_compat.Broken
