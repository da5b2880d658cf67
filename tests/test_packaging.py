"""What is shipped: the package, its licence and its entry point, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from configparser import ConfigParser
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from airflow_cancel_provider import __version__

ROOT = Path(__file__).parents[1]
PACKAGE = "airflow_cancel_provider"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
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
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])


def test_constraints_are_names_and_versions() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        requirement, _, marker = line.partition(" ; ")
        name, version = requirement.split("==")
        assert name.replace("-", "").replace("_", "").replace(".", "").isalnum(), line
        assert version[0].isdigit(), line
        assert not marker or marker.startswith("python_version "), line
