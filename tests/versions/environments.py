"""Which versions the tests run with: one virtual environment for each combination."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FLOORS = ROOT / "tests/floors"
EXTRAS = ".[mrs,test,matrix]"

UNIT, WIRE, AIRFLOW, MATRIX = "unit", "wire", "airflow", "matrix"
FLOOR = "depends on versions"
ALL = (UNIT, WIRE, AIRFLOW, MATRIX)
QUICK = (UNIT, MATRIX)

TOO_NEW = {
    "3.0.6": ("cadwyn<6", "fastapi<0.117"),
    "3.1.8": (),
    "3.2.2": ("fastapi<0.137", "svcs<26"),
    "3.3.2": (),
}
"""What an Airflow accepts and cannot work with. All else is the newest that it accepts."""


FLOOR_TESTS = (
    "unit/test_packaging.py",
    "unit/plugin/test_broken_install.py",
    "unit/notifications/test_cancel.py",
    "unit/guard/test_begin.py",
    "unit/guard/test_ends.py",
    "unit/guard/test_trigger.py",
    "unit/sensors/test_base.py",
    "unit/operators/test_base.py",
    "unit/operators/test_mrs.py",
    "unit/hooks/test_mrs.py",
    "unit/cli/test_commands.py",
    "unit/cli/service_commands/test_run.py",
    "airflow/test_provider.py",
    "airflow/test_guard_smoke.py",
)
"""What depends on versions, and so runs with the oldest ones."""


@dataclass(frozen=True)
class Environment:
    """One combination of versions.

    :param name: also that of its folder below ``.versions``.
    :param requirements: what pip gets beside this package.
    :param removed: what is uninstalled afterwards.
    :param instead: what pip gets then, which was kept back before.
    :param suites: what runs in it.
    """

    name: str
    python: str = "3.11"
    requirements: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    instead: tuple[str, ...] = ()
    suites: tuple[str, ...] = ALL
    extras: str = EXTRAS

    @property
    def folder(self) -> Path:
        """Where it is."""
        return ROOT / ".versions" / self.name

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.folder / "bin/python"


def _airflow(version: str, python: str = "3.11", suites: tuple[str, ...] = ALL) -> Environment:
    name = version if python == "3.11" else f"{version}-python{python}"
    return Environment(name, python, (f"apache-airflow=={version}", *TOO_NEW[version]), suites=suites)


def _floor(pins: Path) -> Environment:
    requirements = ("--requirement", str(pins.relative_to(ROOT)))
    name = pins.stem.replace("airflow", "floor")
    return Environment(name, requirements=requirements, suites=(FLOOR,), extras=".[mrs,test]")


SDK = (UNIT, WIRE)
ENVIRONMENTS = (
    *(_airflow(version) for version in reversed(TOO_NEW)),
    _airflow("3.3.2", "3.12", SDK),
    _airflow("3.3.2", "3.13", SDK),
    _airflow("3.2.2", "3.13", SDK),
    _airflow("3.1.8", "3.13", SDK),
    _airflow("3.0.6", "3.12", SDK),
    # aiobotocore allows a few releases of botocore. Without it there are others: the last one without
    # the bulk calls of Batch, and the newest.
    Environment(
        "botocore-1.43.92",
        requirements=("apache-airflow==3.3.2",),
        removed=("aiobotocore",),
        instead=("boto3==1.43.92", "botocore==1.43.92"),
        suites=SDK,
    ),
    Environment(
        "without-aiobotocore",
        requirements=("apache-airflow==3.3.2",),
        removed=("aiobotocore",),
        instead=("--upgrade", "boto3", "botocore"),
        suites=(UNIT, WIRE, MATRIX),
    ),
    Environment("newest", python="3.13", requirements=("apache-airflow",), suites=(UNIT, WIRE, MATRIX)),
    *map(_floor, sorted(FLOORS.glob("*.txt"))),
)
