"""Random faults on random tasks of a real Airflow; exit 1 on any orphan or wrong cancel."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.matrix.ground import ground
from tests.soak.plan import make_plan
from tests.soak.soaking import Soak


def main() -> int:
    """Run what the command line asks for."""
    options = _options()
    plan = make_plan(options.seed, options.minutes)
    if options.plan:
        print(plan)
        return 0
    guarded = options.guard == "on"
    with ground(guarded=guarded, sqlite=options.sqlite, reaper=options.reaper, keep=options.keep) as up:
        print(f"Seed {plan.seed}, {plan.minutes:g} minutes; logs in {up.airflow.home}", flush=True)
        outcome = Soak(up, plan).run()
    print(f"\n{outcome}")
    if options.json:
        options.json.write_text(json.dumps(outcome.as_json(), indent=1))
    return int(not outcome.is_clean)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long tasks are started")
    parser.add_argument("--seed", type=int, default=7, help="the plan is a function of it and the length")
    parser.add_argument(
        "--reaper",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a reaper with an interval of ten seconds",
    )
    parser.add_argument("--guard", choices=("on", "off"), default="on", help="off: what Airflow does alone")
    parser.add_argument("--plan", action="store_true", help="print the plan, run nothing")
    parser.add_argument("--sqlite", action="store_true", help="no PostgreSQL")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--keep", action="store_true", help="keep Airflow's home with its logs")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
