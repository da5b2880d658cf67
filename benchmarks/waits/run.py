"""Run plans: each in a fresh process, against an account of its own."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.account.process import account
from benchmarks.processes import environment, home, last_line
from benchmarks.waits.plan import Plan

LATENCY = 0.03
"""Seconds that each answer takes."""


def run(plan: Plan) -> dict[str, Any]:
    """What so many waits cost."""
    with home() as folder, account(plan.population, LATENCY) as url:
        env = environment(folder, url)
        found = last_line("benchmarks.waits.loop", url, json.dumps(plan.as_json()), env=env)
    return {**plan.as_json(), "least": plan.least(), **found}
