"""What can happen next in a world."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model.airflow_moves import airflow_moves, other_moves
from tests.model.faults import faults
from tests.model.guards import Rules
from tests.model.task_moves import process_moves
from tests.model.world import Move, World


def moves(world: World, rules: Rules) -> Iterator[Move]:
    """Everything that can happen next, with its name."""
    for slot in ("process", "stale"):
        if process := getattr(world, slot):
            yield from process_moves(world, slot, process, rules)
    yield from airflow_moves(world, rules)
    yield from other_moves(world, rules)
    if world.faults > 0:
        for name, happen in faults(world, rules):
            yield f"FAULT {name}", _costing(happen)


def _costing(happen: Callable[[World], None]) -> Callable[[World], None]:
    def costly(world: World) -> None:
        world.faults -= 1
        happen(world)

    return costly
