"""Run one suite in one environment, and count."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.versions.environments import (
    AIRFLOW,
    FLOOR,
    FLOOR_TESTS,
    MATRIX,
    ROOT,
    UNIT,
    WIRE,
    Environment,
)

# An old Airflow warns of what was renamed later: no error here.
PYTEST = ("-m", "pytest", "-W", "default", "-q")


@dataclass(frozen=True)
class Counts:
    """What came of one suite; ``failures`` are names."""

    passed: int
    failed: int
    skipped: int
    failures: tuple[str, ...] = ()


def run(environment: Environment, suite: str, *, workers: int, more: list[str]) -> Counts:
    """Run it; its output goes to ``.versions/<name>/<suite>.log``.

    :raises RuntimeError: it ended without a result.
    """
    name = suite.replace(" ", "-")
    report = environment.folder / f"{name}.{'json' if suite == MATRIX else 'xml'}"
    report.unlink(missing_ok=True)
    command = [str(environment.interpreter), *_arguments(suite, report, workers)]
    with (environment.folder / f"{name}.log").open("w") as output:
        print(f"   {suite}: {output.name}", flush=True)
        done = subprocess.run(
            command + (more if suite != MATRIX else []),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
        )
    if not report.exists():
        raise RuntimeError(f"{suite} ended with {done.returncode} and without a result")
    return (_of_matrix if suite == MATRIX else _of_pytest)(report)


def _arguments(suite: str, report: Path, workers: int) -> list[str]:
    if suite == MATRIX:
        return ["-m", "tests.matrix", "--core", "--reaper", "--json", str(report)]
    side_by_side = ["--numprocesses", str(workers)]
    chosen = {
        UNIT: ["tests/unit", "-m", "not airflow and not slow", *side_by_side],
        WIRE: ["tests/wire", "-m", "not airflow and not slow", *side_by_side],
        AIRFLOW: ["tests", "--ignore", "tests/clients", "-m", "airflow and not slow and not browser"],
        FLOOR: [f"tests/{path}" for path in FLOOR_TESTS],
    }
    return [*PYTEST, *chosen[suite], f"--junitxml={report}"]


def _of_pytest(report: Path) -> Counts:
    cases = ET.parse(report).getroot().findall(".//testcase")
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    names = tuple(f"{case.get('classname')}.{case.get('name')}" for case in failed)
    return Counts(len(cases) - len(failed) - len(skipped), len(failed), len(skipped), names)


def _of_matrix(report: Path) -> Counts:
    cells = json.loads(report.read_text())["on"]["cells"]
    failed = [cell for cell in cells if not cell["as_expected"]]
    names = tuple(f"{each['scenario']} [{each['service']} {each['mode']}]" for each in failed)
    return Counts(len(cells) - len(failed), len(failed), 0, names)
