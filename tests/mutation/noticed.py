"""Which tests reach which line of the package, and how long each takes."""

from __future__ import annotations

import ast
import json
import sys
from collections import defaultdict
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.mutation.forked import run


class Reach:
    """A pytest plugin: writes down durations, lines by test, and what was imported."""

    def __init__(self, root: Path, output: Path) -> None:
        self._coverage = coverage.Coverage(data_file=None, source=[str(root / "airflow_cancel_provider")])
        self._output = output
        self._seconds: dict[str, float] = defaultdict(float)
        self._bad: set[str] = set()

    def pytest_sessionstart(self) -> None:
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self._coverage.switch_context(item.nodeid)
        result = yield
        self._coverage.switch_context("")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        if report.failed or (report.skipped and report.when == "call"):
            self._bad.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        data = self._coverage.get_data()
        lines = {
            path: {
                line: [each for each in tests if each]
                for line, tests in data.contexts_by_lineno(path).items()
            }
            for path in data.measured_files()
        }
        seconds = {test: each for test, each in self._seconds.items() if test not in self._bad}
        self._output.write_text(
            json.dumps(
                {"seconds": seconds, "lines": lines, "modules": list(sys.modules), "bad": list(self._bad)}
            )
        )


@dataclass(frozen=True)
class Reached:
    """What a run of all tests of a group has shown.

    :param seconds: of each test that passed.
    :param lines: the tests that reach a line, by file.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, list[str]]]
    modules: list[str]
    bad: list[str]

    def all(self) -> list[str]:
        """All tests, the fast ones first."""
        return sorted(self.seconds, key=lambda test: self.seconds[test])

    def tests(self, path: Path, first: int, last: int) -> list[str]:
        """The tests that reach a statement; if it runs at import only, those that reach the module."""
        lines = self.lines.get(str(path), {})
        at = _statement(ast.parse(path.read_text()), first, last)
        found = _union(lines, at) or _union(lines, lines)
        return [test for test in self.all() if test in found]


def _union(lines: dict[int, list[str]], at: Iterable[int]) -> set[str]:
    return {test for line in at for test in lines.get(line, [])}


def _statement(tree: ast.Module, first: int, last: int) -> range:
    """The lines of the innermost statement, or of the head of a compound one."""
    found = range(first, last + 1)
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= first and (node.end_lineno or 0) >= last:
            body = getattr(node, "body", None)
            end = body[0].lineno if body else (node.end_lineno or last) + 1
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            if end > first:
                found = range(node.lineno, max(end, last + 1))
    return found


def reach(root: Path, tests: Iterable[str], folder: Path, seconds: float) -> Reached:
    """Run tests, and see what each reaches.

    :raises RuntimeError: they did not run to their end.
    """
    report, log = folder / "reach.json", folder / "reach.log"
    report.unlink(missing_ok=True)
    run([*tests, "--maxfail=1000"], log, seconds=seconds, plugins=(Reach(root, report),))
    if not report.exists():
        raise RuntimeError(f"The tests did not run:\n{log.read_text()[-3000:]}")
    found = json.loads(report.read_text())
    lines = {
        path: {int(line): tests for line, tests in each.items()} for path, each in found.pop("lines").items()
    }
    return Reached(lines=lines, **found)
