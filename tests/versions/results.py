"""The table of the documents: one line for each suite in each environment, and what it was run on."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.versions.environments import ENVIRONMENTS, ROOT
from tests.versions.suites import Counts

TABLE = ROOT / "docs/versions.csv"
HEAD = (
    *("environment", "Airflow", "Python", "botocore", "aiobotocore", "Amazon provider"),
    *("suite", "passed", "failed", "skipped", "date", "sources"),
)
SOURCES = ("airflow_cancel_provider", "tests", "example_dags", "pyproject.toml")
NOT_RUN = "not run"
Key = tuple[str, str]


def sources() -> str:
    """A digest of the package and its tests, as they are now."""
    digest = hashlib.sha256()
    for path in sorted(path for each in SOURCES for path in _files(ROOT / each)):
        digest.update(f"{path.relative_to(ROOT)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:8]


def _files(source: Path) -> Iterable[Path]:
    found = source.rglob("*") if source.is_dir() else [source]
    return (path for path in found if path.is_file() and "__pycache__" not in path.parts)


def line(name: str, suite: str, found: Mapping[str, str], counts: Counts, on: str) -> dict[str, str]:
    """A line for what was run just now.

    :param on: the sources that it began with. Where they have changed since, the line names none.
    """
    return {
        "environment": name,
        "Airflow": found["apache-airflow-core"],
        "Python": found["python"],
        "botocore": found["botocore"],
        "aiobotocore": found.get("aiobotocore", "-"),
        "Amazon provider": found["apache-airflow-providers-amazon"],
        "suite": suite,
        "passed": str(counts.passed),
        "failed": str(counts.failed),
        "skipped": str(counts.skipped),
        "date": datetime.now(UTC).date().isoformat(),
        "sources": on if on == sources() else "",
    }


def is_there(name: str, suite: str, on: str, table: Path = TABLE) -> bool:
    """Whether the table has a line of these sources, whatever came of it."""
    return _read(table).get((name, suite), {}).get("sources") == on


def write(lines: Iterable[Mapping[str, str]], table: Path = TABLE) -> None:
    """Put lines in the table; what they do not replace stays, and what was never run is named so."""
    known = _read(table) | {(each["environment"], each["suite"]): each for each in lines}
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEAD, restval="", lineterminator="\n")
        writer.writeheader()
        for environment in ENVIRONMENTS:
            for suite in environment.suites:
                never = {"environment": environment.name, "suite": suite, "date": NOT_RUN}
                writer.writerow(known.get((environment.name, suite), never))


def _read(table: Path) -> dict[Key, Mapping[str, str]]:
    if not table.exists():
        return {}
    with table.open(newline="") as file:
        return {(each["environment"], each["suite"]): each for each in csv.DictReader(file)}
