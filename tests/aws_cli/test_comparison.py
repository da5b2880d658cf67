"""The AWS CLI and ours against the local cloud: the same output, errors, exit code and calls.

``make awscli`` installs the one and writes the table ``docs/cli-comparison.txt``.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_cancel_provider import cli
from tests.aws_cli.cases import Case, cases
from tests.cloud.server import LocalCloud
from tests.service_fixtures import BENCHES, Bench
from tests.task_fixtures import connections

__all__ = ["connections"]

ROOT = Path(__file__).parents[2]
AWS = ROOT / ".versions" / "awscli" / "bin" / "aws"
TABLE = ROOT / "docs" / "cli-comparison.txt"
CASES = list(cases())

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AWS.exists(), reason="`make awscli` installs the AWS CLI"),
]


@dataclass(frozen=True)
class Ended:
    """How a command ended, in words that both have."""

    code: int
    out: str
    err: str
    calls: tuple[str, ...]


@pytest.fixture(scope="module")
def rows() -> Iterator[list[str]]:
    """Rows of the table, which is written when all of them are there."""
    found: list[str] = []
    yield found
    if len(found) == len(CASES):
        TABLE.write_text(_table(found), encoding="utf-8")


def _table(rows: list[str]) -> str:
    version = subprocess.run([AWS, "--version"], capture_output=True, text=True, check=True).stdout
    head = f"Compared with {version.split()[0]}. Written by `make awscli`.\n\n"
    title = f"{'command and input':<66} {'exit code':<10} {'output':<7} {'errors':<7} calls"
    return head + "\n".join([title, "-" * len(title), *rows]) + "\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    # Times as version 2 writes them; version 1 writes what comes from the service.
    path = tmp_path / "config"
    path.write_text("[default]\ncli_timestamp_format = iso8601\n", encoding="utf-8")
    return path


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_end_alike(
    case: Case, cloud: LocalCloud, config: Path, capfd: pytest.CaptureFixture[str], rows: list[str]
) -> None:
    bench = next(each for each in BENCHES if each.name == case.service)(cloud)
    try:
        theirs, ours = _ended(case, bench, config, capfd)
    finally:
        bench.close()
    same = [
        f"{case!s:<66} {theirs.code}",
        "same" if theirs.out == ours.out else "DIFFER",
        "same" if theirs.err == ours.err else "DIFFER",
        " ".join(dict.fromkeys(theirs.calls)) or "-",
    ]
    rows.append(f"{same[0]:<77} {same[1]:<7} {same[2]:<7} {same[3]}  {case.differs}".rstrip())
    assert (ours == theirs) is not bool(case.differs), (ours, theirs)


def _ended(case: Case, bench: Bench, config: Path, capfd: pytest.CaptureFixture[str]) -> tuple[Ended, Ended]:
    scope = bench.new_scope()
    jobs = bench.running(2, scope)
    unknown = bench.unknown(scope).id
    # What is cancelled can't be cancelled again; what is shown is to be the same.
    jobs = jobs if case.cancels else [jobs[0], jobs[0]]
    if case.fault:
        bench.cloud.faults.add(case.service, "*", case.fault)
    ended = []
    for run, job in zip((_theirs, _ours), jobs, strict=True):
        names = {"{scope}": scope or "", "{id}": job.id, "{unknown}": unknown}
        arguments = [case.service, *([case.command] if case.command else [])]
        arguments += [_filled(part, names) for part in case.arguments]
        bench.cloud.journal.clear()
        code, out, err = run(arguments, bench, config, capfd)
        calls = tuple(entry.operation for entry in bench.cloud.journal.entries())
        names = {place: value for place, value in names.items() if value}
        if case.title == "skeleton":  # has any of the values that a parameter may have
            out = re.sub(r'"[A-Z_]+"(?!:)', '"CHOICE"', out)
        ended.append(Ended(code, _common(out, names), _common(err, names), calls))
    return ended[0], ended[1]


def _theirs(arguments: list[str], bench: Bench, config: Path, _: Any) -> tuple[int, str, str]:
    settings = {
        "AWS_CONFIG_FILE": str(config),
        "AWS_ENDPOINT_URL": bench.cloud.url,
        "AWS_RETRY_MODE": "standard",
        "AWS_MAX_ATTEMPTS": "2",
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [AWS, *arguments], env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def _ours(
    arguments: list[str], _: Bench, __: Path, capfd: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    told = capfd.readouterr()
    code = ended.value.code
    assert isinstance(code, int)
    return code, told.out, told.err


def _filled(part: str, names: dict[str, str]) -> str:
    for place, value in names.items():
        part = part.replace(place, value)
    return part


def _common(text: str, names: dict[str, str]) -> str:
    """The same words for both: of the job that each of them got, and of their own names."""
    for place, value in names.items():
        text = text.replace(value, place)
    text = re.sub(r"\A\s*usage:.* help\n", "usage\n", text, flags=re.DOTALL)
    # Their list of outputs is that of version 1, which has no YAML.
    text = re.sub(r"valid choices are:\n.*", "valid choices are", text, flags=re.DOTALL)
    text = text.replace("parameter 'cli-input-json'", "parameter '--cli-input-json'")
    return text.replace("airflow-remote-jobs: error", "aws: error")
