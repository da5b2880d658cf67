"""The outcome of a sweep, for people."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.account.population import SERVICES
from benchmarks.account.quotas import QUOTAS, TOGETHER
from benchmarks.scale.floors import again_calls, cancel_calls, check_calls
from benchmarks.scale.run import Outcome


def lines(outcome: Outcome) -> Iterator[str]:
    """The table, line by line."""
    population = outcome.population
    yield (
        f"{population.size:,} living jobs of {population.owners:,} owners: {population.jobs:,} in "
        f"{population.queues} Batch queues, {population.runs:,} runs in {population.applications} EMR "
        f"Serverless applications, {population.steps:,} steps in {population.clusters} EMR clusters"
    )
    kinds = ", ".join(f"{number:,} {kind}" for kind, number in outcome.sweep["report"]["jobs"].items())
    fates = ", ".join(f"{number:,} {fate}" for fate, number in outcome.sweep["report"]["fates"].items())
    yield f"  found: {kinds}"
    yield f"  orphans: {fates or 'none'}"
    yield ""
    yield from _times(outcome)
    yield ""
    yield from _calls(outcome)
    yield ""
    yield from _costs(outcome)


def _times(outcome: Outcome) -> Iterator[str]:
    yield f"  {'phase':24} {'seconds':>8} {'floor':>8} {'x floor':>8}   by"
    for phase, floors in outcome.floors.items():
        slowest = max(floors, key=floors.__getitem__)
        yield _time(phase, outcome.seconds[phase], floors[slowest], slowest)
        if phase == "check":
            for service in SERVICES:
                yield _time(f"  {service}", _last(outcome, service), floors[service], "")


def _time(name: str, seconds: float, floor: float, by: str) -> str:
    times = f"{seconds / floor:8.2f}" if floor else f"{'-':>8}"
    return f"  {name:24} {seconds:8.1f} {floor:8.1f} {times}   {by}".rstrip()


def _last(outcome: Outcome, service: str) -> float:
    """When a service's last call of the first check came, in seconds from the first call of all."""
    calls = outcome.sweep["phases"]["check"]["calls"]
    return max(float(call["last"]) for name, call in calls.items() if name.partition(" ")[0] == service)


def _calls(outcome: Outcome) -> Iterator[str]:
    population = outcome.population
    phases = (
        check_calls(population),
        again_calls(population),
        cancel_calls(population),
        again_calls(population),
    )
    heads = ("checking", "least", "in all", "least", "throttled", "most in 1 s")
    yield f"  {'call':34} {' '.join(f'{head:>11}' for head in heads)}   quota"
    for name, call in outcome.account["calls"].items():
        service, operation = name.split()
        least = [phase.get(service, {}).get(operation, 0) for phase in phases]
        checking = outcome.sweep["phases"]["check"]["calls"].get(name, {"calls": 0})["calls"]
        figures = (checking, least[0], call["calls"], sum(least), call["throttled"], call["peak"])
        quota = QUOTAS[service].get(operation) or QUOTAS[service][TOGETHER]
        cells = " ".join(f"{figure:11,}" for figure in figures)
        yield f"  {name:34} {cells}   {quota[0]}, then {quota[1]:g}/s"


def _costs(outcome: Outcome) -> Iterator[str]:
    memory, growth = outcome.sweep["memory"], outcome.growth
    queries = ", ".join(f"{number:,} {table}" for table, number in outcome.sweep["queries"].items())
    yield (
        f"  memory: {memory['before']:.0f} MiB before, at most {growth['check']:.1f} more while checking and "
        f"{growth['sweep']:.1f} in all"
    )
    yield f"  processor: {outcome.sweep['cpu']:.1f} s"
    yield f"  queries to Airflow's database: {queries}"
