"""Sweep once over an account of some size, and gather what it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.account.ends import SECONDS_TO_END
from benchmarks.account.population import DEPLOYMENT, Population
from benchmarks.account.process import ROOT, account, figures
from benchmarks.scale.floors import Ideal, again_calls, cancel_calls, check_calls

PATIENCE = 1800
"""Seconds after which a sweep is given up."""


@dataclass(frozen=True)
class Outcome:
    """One sweep.

    :param sweep: what the process that swept says: ``benchmarks.scale.sweeping``.
    :param account: what the account says in the end.
    """

    population: Population
    sweep: dict[str, Any]
    account: dict[str, Any]

    @cached_property
    def floors(self) -> dict[str, dict[str, float]]:
        """Least seconds of each phase, by service; a phase begins when the one before it could be over."""
        ideal, population, grace = Ideal(), self.population, float(self.sweep["rules"]["grace"])
        least, start = dict[str, dict[str, float]](), 0.0
        for phase, calls, pause in (
            ("check", check_calls(population), 0.0),
            ("second check", again_calls(population), grace),
            ("cancel", cancel_calls(population), 0.0),
            ("confirm", again_calls(population), SECONDS_TO_END),
        ):
            ends = ideal.make(calls, start + pause)
            least[phase] = {service: end - start for service, end in ends.items()}
            start = max(ends.values())
        return least

    @cached_property
    def seconds(self) -> dict[str, float]:
        """Seconds of each phase; the grace is part of the second check."""
        phases = {name: phase["seconds"] for name, phase in self.sweep["phases"].items()}
        return phases | {"cancel": phases["cancel"] - phases["confirm"]}

    @property
    def growth(self) -> dict[str, float]:
        """MiB that the process took at most beside what it had before, in the first check and in all."""
        memory = self.sweep["memory"]
        check = self.sweep["phases"]["check"]["peak memory"]
        return {"check": check - memory["before"], "sweep": memory["peak"] - memory["before"]}

    @property
    def ratio(self) -> float:
        """How many times its floor the first check took."""
        return self.seconds["check"] / max(self.floors["check"].values())

    def mistakes(self) -> list[str]:
        """What the reaper did that it should not have done, or did not that it should have."""
        wanted = set(self.population.orphans())
        asked = {int(number): times for number, times in self.account["cancelled"].items()}
        report = self.sweep["report"]
        found = {
            "orphans were not cancelled": len(wanted - set(asked)),
            "jobs were cancelled that are no orphans": len(set(asked) - wanted),
            "jobs were asked to end more than once": sum(times > 1 for times in asked.values()),
            "orphans were not seen to end": len(wanted) - report["fates"].get("ended", 0),
            "jobs were not checked": self.population.size - sum(report["jobs"].values()),
        }
        words = [f"{number} {what}." for what, number in found.items() if number]
        return words + [f"The report tells of trouble: {trouble}" for trouble in report["troubles"]]


def sweep_over(population: Population, *, grace: float, latency: float) -> Outcome:
    """Make an account and an Airflow, and sweep in a fresh process.

    :param grace: seconds between the two checks.
    :param latency: seconds that each of the account's answers takes.
    """
    with tempfile.TemporaryDirectory(prefix="scale-") as home, account(population, latency) as url:
        environment = _environment(Path(home))
        _run(["airflow", "db", "migrate"], environment)
        _run(["airflow", "connections", "import", str(_connections(Path(home), url))], environment)
        _run(["benchmarks.scale.owners", str(population.owners)], environment)
        said = _run(["benchmarks.scale.sweeping", url, str(grace)], environment)
        return Outcome(population, json.loads(said.splitlines()[-1]), figures(url))


def _run(command: list[str], environment: dict[str, str]) -> str:
    """Standard output of a module; what it logs is in the error if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-5000:]}")
    return done.stdout


def _connections(home: Path, url: str) -> Path:
    """A file with the connection, which goes into Airflow's database."""
    extra = json.dumps({"region_name": "us-east-1", "endpoint_url": url})
    connection = {"conn_type": "aws", "login": "scale", "password": "scale-secret", "extra": extra}
    file = home / "connections.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"aws_default": connection}))
    return file


def _environment(home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT": DEPLOYMENT,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1,localhost",
    }
