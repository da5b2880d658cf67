"""One sweep, in a process of its own, and what it took: the last line of standard output, as JSON.

``python -m benchmarks.scale.sweeping <address of the account> <seconds of grace>``, in the environment of
the Airflow that knows the owners.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from airflow_cancel_provider.reaper.backends.database import Database
from airflow_cancel_provider.reaper.factory import make_reaper
from airflow_cancel_provider.reaper.reaper import Reaper
from airflow_cancel_provider.reaper.rules import Rules
from benchmarks.account.population import SERVICES
from benchmarks.account.process import figures
from benchmarks.scale import memory

SHARE = 1.0
"""The whole of the quotas: there is nobody else in this account."""


def main() -> None:
    """Sweep, and print."""
    url, grace = sys.argv[1], float(sys.argv[2])
    rules = Rules(grace=grace, confirm_seconds=600, brake=10_000)
    reaper = make_reaper(
        Database(), at=[f"{name}://aws_default@us-east-1" for name in SERVICES], share=SHARE, rules=rules
    )
    # What every process has once, however few jobs there are: clients, models, a connection to Airflow.
    reaper.services.open([])
    reaper.letters.read()
    queries = _count_queries()
    phases = _observe(reaper, url)
    before, cpu = memory.resident(), time.process_time()
    memory.forget_peak()
    report = reaper.sweep()
    found = {
        "phases": phases,
        "queries": queries,
        "cpu": time.process_time() - cpu,
        "memory": {"before": before, "peak": memory.peak()},
        "report": report.as_json(most=0) | {"troubles": report.troubles},
        "rules": asdict(rules),
    }
    print(json.dumps(found))


def _observe(reaper: Reaper, url: str) -> dict[str, dict[str, Any]]:
    """Have the reaper's phases write down when they began and ended, and what the account had seen then."""
    phases: dict[str, dict[str, Any]] = {}

    def observed(name: str, phase: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            begun = time.monotonic()
            try:
                return phase(*args)
            finally:
                seconds = time.monotonic() - begun
                calls = figures(url)["calls"]
                phases[name] = {"seconds": seconds, "calls": calls, "peak memory": memory.peak()}

        return run

    for whose, method, name in (
        (reaper, "_check", "check"),
        (reaper, "_check_again", "second check"),
        (reaper._cancels, "run", "cancel"),
        (reaper._cancels, "_watch", "confirm"),
    ):
        setattr(whose, method, observed(name, getattr(whose, method)))
    return phases


def _count_queries() -> Counter[str]:
    """Queries to Airflow's database from now on, by table."""
    from airflow.settings import engine
    from sqlalchemy import event

    queries: Counter[str] = Counter()

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        words = statement.split()
        table = words[words.index("FROM") + 1] if "FROM" in words else words[0]
        queries[table] += 1

    event.listen(engine, "before_cursor_execute", count)
    return queries


if __name__ == "__main__":
    main()
