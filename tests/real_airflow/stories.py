"""Stories: what happens in one Airflow to one user each, told at the same time because they mostly wait.

A test module parametrizes a test with its stories; all that were chosen begin when the first is asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from tests.real_airflow.world import World

AT_ONCE = 12


@dataclass(frozen=True, eq=False)
class Story:
    """A test's body."""

    tell: Callable[..., None]
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        values = "-".join(str(value) for value in self.arguments.values())
        return f"{self.tell.__name__}[{values}]" if values else self.tell.__name__


class Stories(list[Story]):
    """Those of one module; used as a decorator, with every combination of the values given."""

    def __call__(self, **values: Iterable[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
        def add(tell: Callable[..., None]) -> Callable[..., None]:
            for combination in itertools.product(*values.values()):
                self.append(Story(tell, dict(zip(values, combination, strict=True))))
            return tell

        return add


class Told:
    """Stories that have begun."""

    def __init__(self, world: World, stories: Iterable[Story]) -> None:
        self._world = world
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="story")
        self._futures: dict[Story, Future[None]] = {
            story: self._pool.submit(story.tell, world, **story.arguments) for story in stories
        }

    def __call__(self, story: Story) -> None:
        """Wait for the end of a story, and raise what it raised."""
        future = self._futures[story]
        while not wait([future], timeout=2).done:
            self._world.airflow.processes.check()
        future.result()

    def wait_for_all(self) -> None:
        """Wait until nothing goes on any more."""
        wait(self._futures.values())

    def close(self) -> None:
        """Begin no more of them."""
        self._pool.shutdown(cancel_futures=True)
