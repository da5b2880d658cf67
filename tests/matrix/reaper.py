"""The matrix with a reaper: what nobody else is left to cancel, it cancels."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TypeVar

from tests.demo.places import REGION
from tests.matrix.scenario import Expected, Scenario

INTERVAL = 10
GRACE = 5
WITHIN = 60.0
"""Seconds from the fault: Airflow's detection of a lost task (18), a sweep's interval, the second check."""
DEPLOYMENT = "matrix"

S = TypeVar("S", bound=Scenario)


def reaper_command() -> list[str]:
    """How the reaper is started."""
    places = [f"aws://aws_default@{REGION}", "mrs://mrs_default"]
    options = ["--interval", INTERVAL, "--grace", GRACE, "--share", 1]
    at = [word for place in places for word in ("--at", place)]
    return [sys.executable, "-m", "airflow_cancel_provider.cli", "reap", "--loop", *map(str, options), *at]


def with_reaper(scenario: S) -> S:
    """What is left to the reaper is to be cancelled by it."""
    if scenario.expected is not Expected.REAPER:
        return scenario
    return replace(scenario, expected=Expected.CANCELLED, within=WITHIN)
