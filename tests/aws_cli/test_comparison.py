"""The AWS CLI and ours against the local cloud: the same output, errors, exit code and calls.

``make awscli`` installs the one and writes the table ``docs/cli-comparison.txt``.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from airflow_cancel_provider import cli
from airflow_cancel_provider.cli import reach
from tests.aws_cli.cases import Case, cases
from tests.cloud.server import LocalCloud
from tests.service_fixtures import BENCHES, Bench
from tests.task_fixtures import connections

__all__ = ["connections"]

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".versions" / "awscli" / "bin" / "python"
SERVER = Path(__file__).with_name("aws_server.py")
TABLE = ROOT / "docs" / "cli-comparison.txt"
CASES = list(cases())

Run = Callable[[list[str], Bench], tuple[int, str, str]]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="`make awscli` installs the AWS CLI"),
]


@dataclass(frozen=True)
class Ended:
    """How a command ended, in words that both have."""

    code: int
    out: str
    err: str
    calls: tuple[str, ...]


class Aws:
    """The AWS CLI in a process that has imported it, and forks for each command line."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [PYTHON, SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )

    def __call__(self, arguments: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"arguments": arguments, "environment": environment}) + "\n")
        self._process.stdin.flush()
        ended = json.loads(self._process.stdout.readline())
        return ended["code"], ended["out"], ended["err"]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    process = Aws()
    yield process
    process.close()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, aws: Aws) -> Iterator[Path]:
    """Where the rows of the table are put; whoever finds all of them there writes it."""
    base = tmp_path_factory.getbasetemp()
    # Processes that share the tests have folders of their own in one.
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "rows"
    folder.mkdir(exist_ok=True)
    yield folder
    found = sorted(folder.iterdir())
    if len(found) == len(CASES):
        version = aws(["--version"], dict(os.environ))[1].split()[0]
        TABLE.write_text(_table(version, [each.read_text("utf-8") for each in found]), encoding="utf-8")


def _table(version: str, rows: list[str]) -> str:
    head = f"Compared with {version}. Written by `make awscli`.\n\n"
    title = f"{'command and input':<66} {'exit code':<10} {'output':<7} {'errors':<7} calls"
    return head + "\n".join([title, "-" * len(title), *rows]) + "\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    # Times as version 2 writes them; version 1 writes what comes from the service.
    path = tmp_path / "config"
    path.write_text("[default]\ncli_timestamp_format = iso8601\n", encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def without_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours says that it waits when an answer takes long; on a busy machine that would be a difference."""
    monkeypatch.setattr(reach, "SILENT_SECONDS", 600.0)


@pytest.mark.usefixtures("connections")
@pytest.mark.parametrize("number, case", list(enumerate(CASES)), ids=map(str, CASES))
def test_both_end_alike(
    number: int,
    case: Case,
    cloud: LocalCloud,
    config: Path,
    capfd: pytest.CaptureFixture[str],
    aws: Aws,
    rows: Path,
) -> None:
    bench = next(each for each in BENCHES if each.name == case.service)(cloud)
    try:
        theirs, ours = _ended(case, bench, partial(_theirs, aws, config), partial(_ours, capfd))
    finally:
        bench.close()
    same = [
        f"{case!s:<66} {theirs.code}",
        "same" if theirs.out == ours.out else "DIFFER",
        "same" if theirs.err == ours.err else "DIFFER",
        " ".join(dict.fromkeys(theirs.calls)) or "-",
    ]
    row = f"{same[0]:<77} {same[1]:<7} {same[2]:<7} {same[3]}  {case.differs}".rstrip()
    (rows / f"{number:04}").write_text(row, encoding="utf-8")
    assert (ours == theirs) is not bool(case.differs), (ours, theirs)


def _ended(case: Case, bench: Bench, theirs: Run, ours: Run) -> tuple[Ended, Ended]:
    scope = bench.new_scope()
    jobs = bench.running(2, scope)
    unknown = bench.unknown(scope).id
    # What is cancelled can't be cancelled again; what is shown is to be the same.
    jobs = jobs if case.cancels else [jobs[0], jobs[0]]
    if case.fault:
        bench.cloud.faults.add(case.service, "*", case.fault)
    ended = []
    for run, job in zip((theirs, ours), jobs, strict=True):
        names = {"{scope}": scope or "", "{id}": job.id, "{unknown}": unknown}
        arguments = [case.service, *([case.command] if case.command else [])]
        arguments += [_filled(part, names) for part in case.arguments]
        bench.cloud.journal.clear()
        code, out, err = run(arguments, bench)
        calls = tuple(entry.operation for entry in bench.cloud.journal.entries())
        names = {place: value for place, value in names.items() if value}
        if case.title == "skeleton":  # has any of the values that a parameter may have
            out = re.sub(r'"[A-Z_]+"(?!:)', '"CHOICE"', out)
        ended.append(Ended(code, _common(out, names), _common(err, names), calls))
    return ended[0], ended[1]


def _theirs(aws: Aws, config: Path, arguments: list[str], bench: Bench) -> tuple[int, str, str]:
    settings = {
        "AWS_CONFIG_FILE": str(config),
        "AWS_ENDPOINT_URL": bench.cloud.url,
        "AWS_RETRY_MODE": "standard",
        "AWS_MAX_ATTEMPTS": "2",
    }
    return aws(arguments, {**os.environ, **settings})


def _ours(capfd: pytest.CaptureFixture[str], arguments: list[str], _: Bench) -> tuple[int, str, str]:
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
