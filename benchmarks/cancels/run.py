"""Run plans: each in a fresh process, against an account of its own."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.account.process import account, figures
from benchmarks.cancels.plan import Plan
from benchmarks.processes import environment, home, last_line
from benchmarks.waits.run import LATENCY


def run(plan: Plan) -> dict[str, Any]:
    """What it took to cancel so many jobs."""
    with home() as folder, account(plan.population, LATENCY) as url:
        env = environment(folder, url)
        found = last_line("benchmarks.cancels.cancelling", url, json.dumps(plan.as_json()), env=env)
        account_says = figures(url)
    calls, floor = account_says["calls"], plan.floor(LATENCY)
    asked = account_says["cancelled"].values()
    sent, throttled = (sum(call[word] for call in calls.values()) for word in ("calls", "throttled"))
    # What the process takes before its first call, for imports and a client, is no matter of quotas.
    seconds = max(call["last"] for call in calls.values()) + LATENCY
    if found["done"] < plan.jobs:
        seconds *= plan.jobs / max(1, found["done"])
    return {
        **plan.as_json(),
        **found,
        "from the first call": seconds,
        "is extrapolated": found["done"] < plan.jobs,
        "floor": floor,
        "ratio": seconds / floor["ended"],
        "polls first": plan.floor(LATENCY, polls_first=True)["ended"] if plan.service != "emr" else None,
        "calls": {
            name: {word: call[word] for word in ("calls", "throttled")} for name, call in calls.items()
        },
        "least": plan.least(),
        "throttled": throttled / max(1, sent),
        "asked": len(asked),
        "asked again": sum(times - 1 for times in asked),
    }


def parts(plan: Plan) -> dict[str, float]:
    """Share of a cancel's processor time by whose code it goes to; in a run of its own, with a profiler."""
    with home() as folder, account(plan.population, LATENCY) as url:
        env = environment(folder, url)
        found: dict[str, float] = last_line(
            "benchmarks.cancels.parts", url, json.dumps(plan.as_json()), env=env
        )
    return found
