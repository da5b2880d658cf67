"""``make versions``: what it runs, counts and writes down; and that run ids of every Airflow name jobs."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from jinja2 import Environment as Jinja

from airflow_cancel_provider.services.mrs.submission import check_job_name
from tests.matrix.dags import mrs
from tests.versions import __main__ as program
from tests.versions import results
from tests.versions.environments import MATRIX, UNIT, WIRE, Environment
from tests.versions.suites import Counts, run

FOUND = {
    "apache-airflow-core": "3.0.6",
    "python": "3.11.7",
    "botocore": "1.43.92",
    "apache-airflow-providers-amazon": "9.39.0",
}
# Stands for an environment's Python: what it runs ends with the code of the file "code", after it has written
# a report; of two tests one fails, the first time.
PYTEST = """#!/bin/sh
echo "$@" >> {folder}/calls
for each; do case "$each" in --junitxml=*) report="${{each#*=}}"; esac; done
case "$*" in
*--last-failed*) cases='<testcase classname="t" name="b"/>';;
*) cases='<testcase classname="t" name="a"/><testcase classname="t" name="b"><failure/></testcase>';;
esac
echo "<testsuites><testsuite>$cases</testsuite></testsuites>" > "$report"
exit $(cat {folder}/code)
"""
CELL = "cleared [emr sync]"
# Stands for one in which a cell of the matrix fails each time.
CELLS = """#!/bin/sh
echo "$@" >> {folder}/calls
for each; do case "$each" in *.json) report="$each"; esac; done
case "$*" in
*--core*) cp {folder}/first "$report";;
*) cp {folder}/second "$report";;
esac
exit 1
"""


class InFolder(Environment):
    @property
    def folder(self) -> Path:
        return Path(self.python)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    program = tmp_path / "bin/python"
    program.parent.mkdir()
    program.write_text(PYTEST.format(folder=tmp_path))
    program.chmod(0o755)
    return InFolder("3.0.6", python=str(tmp_path))


class TestRun:
    def test_what_fails_runs_again_by_itself(self, environment: Environment) -> None:
        (environment.folder / "code").write_text("1")
        assert run(environment, UNIT, workers=2, more=[]) == Counts(passed=2, failed=0, skipped=0)
        first, second = (environment.folder / "calls").read_text().splitlines()
        assert "--numprocesses 2" in first
        assert "--numprocesses" not in second
        assert "tests/unit" in second

    def test_cells_that_fail_run_again_by_themselves(self, environment: Environment) -> None:
        folder = environment.folder
        (folder / "bin/python").write_text(CELLS.format(folder=folder))
        failed, passed = (
            {"scenario": "cleared", "service": service, "mode": "sync", "as_expected": service == "mrs"}
            for service in ("emr", "mrs")
        )
        (folder / "first").write_text(json.dumps({"on": {"cells": [failed, passed]}}))
        (folder / "second").write_text(json.dumps({"on": {"cells": [failed]}}))
        assert run(environment, MATRIX, workers=2, more=[]) == Counts(
            passed=1, failed=1, skipped=0, failures=(CELL,)
        )
        first, second = (folder / "calls").read_text().splitlines()
        assert first.endswith("--core")
        assert second.endswith(f"--cell {CELL}")

    @pytest.mark.parametrize("code", [2, 130, 137])
    def test_one_that_was_cut_short_has_no_result(self, environment: Environment, code: int) -> None:
        (environment.folder / "code").write_text(str(code))
        with pytest.raises(RuntimeError, match=f"unit ended with {code} and without a whole result"):
            run(environment, UNIT, workers=2, more=[])


class TestTable:
    @pytest.fixture
    def table(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        table = tmp_path / "versions.csv"
        monkeypatch.setattr(program, "write", partial(results.write, table=table))
        monkeypatch.setattr(program, "is_there", partial(results.is_there, table=table))
        monkeypatch.setattr(results, "ROOT", tmp_path)
        (tmp_path / "tests").mkdir()
        monkeypatch.setattr(program, "versions", lambda _: FOUND)
        monkeypatch.setattr("sys.argv", ["versions", "--only", "3.?.?", "--suite", UNIT, "--suite", WIRE])
        return table

    @staticmethod
    def dates(table: Path) -> dict[tuple[str, str], str]:
        with table.open(newline="") as file:
            return {(each["environment"], each["suite"]): each["date"] for each in csv.DictReader(file)}

    def test_a_line_is_written_as_soon_as_its_suite_has_run_and_the_others_go_on(
        self, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        seen = []

        def make(environment: Environment) -> None:
            if environment.name == "3.2.2":
                raise RuntimeError("There is no Python 3.11 here.")

        def one(environment: Environment, suite: str, **_: object) -> Counts:
            before = self.dates(table) if table.exists() else {}
            seen.append(sum(date != results.NOT_RUN for date in before.values()))
            if (environment.name, suite) == ("3.1.8", UNIT):
                raise RuntimeError("unit ended with 137 and without a whole result")
            return Counts(5, 1, 0, ("a test",)) if environment.name == "3.3.2" else Counts(6, 0, 0)

        monkeypatch.setattr(program, "make", make)
        monkeypatch.setattr(program, "run", one)
        assert program.main() == 1
        # 3.3.2: two lines; 3.2.2: none; 3.1.8: one of two; 3.0.6: two.
        assert seen == [0, 1, 2, 2, 3, 4]
        ran = [key for key, date in self.dates(table).items() if date != results.NOT_RUN]
        assert ran == [
            ("3.3.2", UNIT),
            ("3.3.2", WIRE),
            ("3.1.8", WIRE),
            ("3.0.6", UNIT),
            ("3.0.6", WIRE),
        ]
        errors = capsys.readouterr().err.splitlines()
        assert "FAILED: 3.2.2: There is no Python 3.11 here." in errors
        assert "FAILED: 3.1.8: unit ended with 137 and without a whole result" in errors
        assert "FAILED: 3.3.2 wire: a test" in errors

    def test_what_is_not_run_again_keeps_its_line(self, table: Path) -> None:
        before = results.line("3.0.6", MATRIX, FOUND, Counts(24, 0, 0), "")
        results.write([before], table)
        results.write([results.line("3.0.6", UNIT, FOUND, Counts(1, 0, 0), "")], table)
        with table.open(newline="") as file:
            assert before in list(csv.DictReader(file))

    def test_missing_goes_on_with_a_run_that_was_cut_short(
        self, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ran: list[tuple[str, str]] = []

        def one(environment: Environment, suite: str, **_: object) -> Counts:
            ran.append((environment.name, suite))
            if ran[-1] == ("3.2.2", WIRE):
                raise KeyboardInterrupt
            if ran[-1] == ("3.0.6", UNIT):
                (tmp_path / "tests/test_new.py").write_text("somebody goes on working\n")
            return Counts(5, 1, 0)

        monkeypatch.setattr(program, "make", lambda _: None)
        monkeypatch.setattr(program, "run", one)

        def missing(*names: str) -> list[tuple[str, str]]:
            only = [word for name in names for word in ("--only", name)]
            monkeypatch.setattr(
                "sys.argv", ["versions", "--missing", *only, "--suite", UNIT, "--suite", WIRE]
            )
            ran.clear()
            with suppress(KeyboardInterrupt):
                program.main()
            return ran

        assert missing("3.3.2", "3.2.2") == [
            ("3.3.2", UNIT),
            ("3.3.2", WIRE),
            ("3.2.2", UNIT),
            ("3.2.2", WIRE),
        ]
        assert missing("3.3.2", "3.2.2") == [("3.2.2", WIRE)]
        assert missing("3.0.6") == [("3.0.6", UNIT), ("3.0.6", WIRE)]
        assert missing("3.0.6") == [("3.0.6", UNIT)]  # it ended with other sources than it began with
        assert missing("3.0.6") == []

    def test_sources_are_what_is_written_and_not_what_is_compiled(self, table: Path, tmp_path: Path) -> None:
        before = results.sources()
        (tmp_path / "tests/__pycache__").mkdir()
        (tmp_path / "tests/__pycache__/a.pyc").write_bytes(b"1")
        assert results.sources() == before
        (tmp_path / "tests/a.py").write_text("1")
        assert results.sources() != before


@pytest.mark.parametrize(
    "run_id",
    [
        "manual__2026-11-29T09:00:15.083466+00:00_mIHQznE6",  # Airflow 3.0
        "manual__2026-11-29T09:00:15.083466+00:00",
    ],
)
def test_jobs_of_the_matrix_have_names_that_mrs_accepts(run_id: str) -> None:
    name = Jinja(autoescape=True).from_string(mrs.NAME).render(run_id=run_id, ti={"try_number": 1})
    assert name == "09-00-15-083466-1"
    check_job_name("job_name", name)
