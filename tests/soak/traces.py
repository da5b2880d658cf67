"""Who asked a job to end, from the logs of those who do."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

LOGS = {
    "logs/remote_jobs_sentinel.*.log*": "sentinel",
    "logs/dag_id=*/**/*.trigger.*.log": "trigger",
    "logs/dag_id=*/**/attempt=?.log": "task process",
    "api-server.log": "API server",
    "reaper.log": "reaper",
}
"""Files in Airflow's home, and who writes them."""
NOBODY_SAYS = "the operator itself, or not logged"
_LINES = re.compile(
    r"/(?P<requested>[\w-]+): REQUESTED|ORPHAN \S+/(?P<reaped>[\w-]+)[ :,].*: (?:ended|requested)"
)


def cancelled_by(home: Path, jobs: Iterable[str]) -> dict[str, str]:
    """Who says to have had a request accepted, by job id."""
    said: dict[str, str] = {}
    for pattern, who in LOGS.items():
        for path in home.glob(pattern):
            for job in requested(path.read_text(errors="replace").splitlines()):
                said.setdefault(job, who)
    return {job: said.get(job, NOBODY_SAYS) for job in jobs}


def not_guarded(home: Path) -> list[str]:
    """Logs of tasks that the guard could not be installed in, by their paths in Airflow's home."""
    logs = home.glob("logs/dag_id=*/**/attempt=*.log")
    said = (path for path in logs if "Not guarded:" in path.read_text(errors="replace"))
    return sorted(str(path.relative_to(home / "logs")) for path in said)


def requested(lines: Iterable[str]) -> Iterator[str]:
    """Ids of the jobs whose cancel was requested, as log lines tell."""
    for line in lines:
        if found := _LINES.search(line):
            yield found["requested"] or found["reaped"]
