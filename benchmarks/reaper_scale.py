"""What a sweep over 100,000 living jobs takes: ``make scale``.

An account in a process of its own enforces the published quotas and throttles whoever exceeds them; the
owners are task instances in a real metadata database. For each size a fresh process sweeps once with real
boto3 clients, and what it took is set against the floor: the fewest calls that the page sizes allow, at the
pace of the quotas.

Exits with 1 when a job was cancelled that should not be or one was not that should be, when the account
throttled, when the first check took more than 1.2 times its floor, or when memory grew with the jobs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from benchmarks.account.population import Population
from benchmarks.scale.run import Outcome, sweep_over
from benchmarks.scale.table import lines

OWNERS = 10_000
SIZES = (10_000, 100_000)
MOST_TIMES = 1.2
"""How many times its floor the first check may take."""
MOST_GROWTH = 16.0
"""MiB that checking the largest account may take beside what checking the smallest takes."""
MOST_THROTTLED = 0.01
"""Share of all calls that may be throttled, as an account's clock is not the client's."""


def main() -> int:
    """Sweep over an account of each size, and print what it took."""
    options = _options()
    outcomes = []
    for size in options.jobs:
        population = Population.of(size, options.owners)
        outcomes.append(sweep_over(population, grace=options.grace, latency=options.latency))
        print("\n".join(lines(outcomes[-1])), end="\n\n", flush=True)
    wrong = list(problems(outcomes))
    print("\n".join(wrong) or "Every orphan was cancelled and seen to end, and nothing else was touched.")
    return int(bool(wrong))


def problems(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What is not as it should be, a sentence each."""
    for outcome in outcomes:
        name = f"{outcome.population.size:,} jobs:"
        yield from (f"{name} {mistake}" for mistake in outcome.mistakes())
        if outcome.ratio > MOST_TIMES:
            yield f"{name} the first check took {outcome.ratio:.2f} times its floor."
        yield from (f"{name} {words}" for words in throttling(outcome))
    growths = [outcome.growth["check"] for outcome in outcomes]
    if max(growths) - growths[0] > MOST_GROWTH:
        yield f"Memory grows with the number of jobs: {', '.join(f'{growth:.1f} MiB' for growth in growths)}."


def throttling(outcome: Outcome) -> Iterator[str]:
    """More calls throttled than chance explains."""
    calls = outcome.account["calls"].values()
    throttled, sent = (sum(call[word] for call in calls) for word in ("throttled", "calls"))
    if throttled > MOST_THROTTLED * sent:
        yield f"{throttled} of {sent} calls were throttled."


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reaper_scale", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=list(SIZES), help="sizes of the account")
    parser.add_argument("--owners", type=int, default=OWNERS, help="task instances that have started them")
    parser.add_argument("--grace", type=float, default=5.0, help="seconds between the two checks")
    parser.add_argument("--latency", type=float, default=0.03, help="seconds that each answer takes")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
