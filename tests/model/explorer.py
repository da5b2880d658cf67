"""Breadth-first over all orders of events; a state that was met before is not gone into again."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.model.guards import Rules
from tests.model.moves import moves
from tests.model.open_world import OPEN
from tests.model.promises import missed
from tests.model.wiring import wired
from tests.model.world import World


@dataclass
class Findings:
    """What an exploration has met."""

    states: int = 0
    moves: int = 0
    ends: int = 0
    depth: int = 0
    seconds: float = 0.0
    is_whole: bool = True
    wrongs: dict[str, list[str]] = field(default_factory=dict)
    """What is wrong, and the shortest way there."""


Node = tuple[World, Any, int]


def explore(rules: Rules, faults: int, *, most: int = 10_000_000, stop_at_first: bool = False) -> Findings:
    """Go through everything that can happen to one task.

    :param faults: how many may happen.
    :param most: states, at most.
    """
    first = World(faults=faults, max_tries=rules.max_tries)
    came: dict[Any, tuple[Any, str]] = {first.key: (None, "")}
    queue = deque([(first, first.key, 0)])
    found, begun = Findings(), time.monotonic()
    with wired():
        while queue and not (stop_at_first and found.wrongs):
            if len(came) > most:
                found.is_whole = False
                break
            _expand(queue.popleft(), rules, came, queue, found)
    found.states, found.seconds = len(came), time.monotonic() - begun
    return found


def _expand(node: Node, rules: Rules, came: dict[Any, Any], queue: deque[Node], found: Findings) -> None:
    world, key, depth = node
    found.depth = max(found.depth, depth)
    is_end = True
    for name, happen in moves(world, rules):
        after = world.clone()
        OPEN[:] = [after]
        happen(after)
        found.moves += 1
        new = after.key
        if new == key:
            continue
        is_end = is_end and name.startswith("FAULT")
        if new in came:
            continue
        came[new] = (key, name)
        for wrong in after.wrongs:
            found.wrongs.setdefault(wrong, _way(came, new))
        if not after.wrongs:
            queue.append((after, new, depth + 1))
    if is_end:
        found.ends += 1
        for name in missed(world, has_reaper=rules.has_reaper):
            found.wrongs.setdefault(f"{name} was never asked to end", _way(came, key))


def _way(came: dict[Any, Any], key: Any) -> list[str]:
    names: list[str] = []
    while key is not None:
        key, name = came[key]
        names.append(name)
    return names[-2::-1]
