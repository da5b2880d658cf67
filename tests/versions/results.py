"""The table of the documents: one line for each suite in each environment."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from tests.versions.environments import ENVIRONMENTS, ROOT
from tests.versions.suites import Counts

TABLE = ROOT / "docs/versions.csv"
HEAD = (
    *("environment", "Airflow", "Python", "botocore", "aiobotocore", "Amazon provider"),
    *("suite", "passed", "failed", "skipped", "date"),
)
NOT_RUN = "not run"
Key = tuple[str, str]


def line(name: str, suite: str, found: Mapping[str, str], counts: Counts) -> dict[str, str]:
    """A line for what was run just now."""
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
    }


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
