"""Make a virtual environment, unless it is there already."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from tests.versions.environments import ROOT, Environment

NAMES = ("apache-airflow-core", "botocore", "aiobotocore", "apache-airflow-providers-amazon")


def make(environment: Environment) -> None:
    """Make it, or bring it up to date with pyproject.toml.

    :raises RuntimeError: there is no such Python.
    :raises subprocess.CalledProcessError: pip can't install it.
    """
    stamp = environment.folder / ".ready"
    wanted = _digest(environment)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    subprocess.run([_python(environment.python), "-m", "venv", environment.folder], check=True)
    _pip(environment, "install", "--quiet", "--editable", environment.extras, *environment.requirements)
    if environment.removed:
        _pip(environment, "uninstall", *environment.removed)
        _pip(environment, "install", "--quiet", *environment.instead)
    _pip(environment, "check")
    stamp.write_text(wanted)


def versions(environment: Environment) -> dict[str, str]:
    """What is installed, by name; nothing for what is not."""
    code = (
        "import importlib.metadata as m, json, platform;"
        f"print(json.dumps({{'python': platform.python_version()}} | {{d.name.lower(): d.version"
        f" for d in m.distributions() if d.name.lower() in {NAMES!r}}}))"
    )
    done = subprocess.run(
        [environment.interpreter, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _pip(environment: Environment, command: str, *arguments: str) -> None:
    """Run a command of pip, or of uv where that is in the path: it takes seconds, pip minutes."""
    if uv := shutil.which("uv"):
        call = [uv, "pip", command, "--python", str(environment.interpreter), *arguments]
    else:
        yes = ["--yes"] if command == "uninstall" else []
        call = [str(environment.interpreter), "-m", "pip", command, *yes, *arguments]
    subprocess.run(call, check=True, cwd=ROOT)


def _digest(environment: Environment) -> str:
    made_of = (
        *(environment.python, environment.extras),
        *(*environment.requirements, *environment.removed, *environment.instead),
    )
    pins = [ROOT / "pyproject.toml", *(ROOT / each for each in environment.requirements if ".txt" in each)]
    return hashlib.sha256(repr((made_of, [path.read_text() for path in pins])).encode()).hexdigest()


def _python(version: str) -> str:
    """A Python of this minor version: the one in the path, or one that pyenv has installed."""
    if found := shutil.which(f"python{version}"):
        works = subprocess.run([found, "-c", "import ensurepip, venv"], capture_output=True, check=False)
        if works.returncode == 0:
            return found
    installed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    if not installed:
        raise RuntimeError(f"There is no Python {version} here.")
    return str(installed[-1])
