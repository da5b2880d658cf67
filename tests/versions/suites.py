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
# Its log names each test as it ends: what failed can be seen before the last one has run. A test may be
# slow on a busy machine; one that hangs ends all the same.
PYTEST = ("-m", "pytest", "-W", "default", "-v", "-o", "timeout=600")
CHOSEN = {
    UNIT: ("tests/unit", "-m", "not airflow and not slow"),
    WIRE: ("tests/wire", "-m", "not airflow and not slow"),
    AIRFLOW: ("tests", "--ignore", "tests/clients", "-m", "airflow and not slow and not browser"),
    FLOOR: tuple(f"tests/{path}" for path in FLOOR_TESTS),
}
SIDE_BY_SIDE = (UNIT, WIRE)
FAILED_BEFORE = ("--last-failed", "--last-failed-no-failures", "none")
WHOLE = (0, 1)
"""How a run ends that was not cut short: nothing failed, or something did."""


@dataclass(frozen=True)
class Counts:
    """What came of one suite; ``failures`` are names."""

    passed: int
    failed: int
    skipped: int
    failures: tuple[str, ...] = ()

    def after(self, again: Counts) -> Counts:
        """What is left when those that failed were run again."""
        mended = self.failed - again.failed
        return Counts(self.passed + mended, again.failed, self.skipped, again.failures)


def run(environment: Environment, suite: str, *, workers: int, more: list[str]) -> Counts:
    """Run it; its output goes to ``.versions/<name>/<suite>.log``.

    What fails runs once more by itself: on a busy machine a test may wait in vain for what others delay.

    :raises RuntimeError: it ended before its last test.
    """
    if suite == MATRIX:
        counts = _run_cells(environment, "matrix", "--core")
        cells = [word for name in counts.failures for word in ("--cell", name)]
        return counts.after(_run_cells(environment, "matrix-alone", *cells)) if cells else counts
    chosen = [*CHOSEN[suite], *more]
    name = suite.replace(" ", "-")
    side_by_side = ["--numprocesses", str(workers)] if suite in SIDE_BY_SIDE else []
    counts = _run_tests(environment, name, *chosen, *side_by_side)
    if not counts.failed:
        return counts
    return counts.after(_run_tests(environment, f"{name}-alone", *chosen, *FAILED_BEFORE))


def _run_tests(environment: Environment, name: str, *arguments: str) -> Counts:
    report = environment.folder / f"{name}.xml"
    cache = f"cache_dir={environment.folder / 'cache'}"
    _run(environment, report, *PYTEST, "-o", cache, *arguments, f"--junitxml={report}")
    return _of_pytest(report)


def _run_cells(environment: Environment, name: str, *chosen: str) -> Counts:
    report = environment.folder / f"{name}.json"
    _run(environment, report, "-m", "tests.matrix", "--reaper", "--json", str(report), *chosen)
    return _of_matrix(report)


def _run(environment: Environment, report: Path, *arguments: str) -> None:
    report.unlink(missing_ok=True)
    log = report.with_suffix(".log")
    print(f"   {report.stem}: {log}", flush=True)
    with log.open("w") as output:
        done = subprocess.run(
            [environment.interpreter, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
        )
    if done.returncode not in WHOLE or not report.exists():
        raise RuntimeError(f"{report.stem} ended with {done.returncode} and without a whole result")


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
