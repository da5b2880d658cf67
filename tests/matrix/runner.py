"""Run cells: many victims at the same time where the fault concerns one, phase by phase where it does not."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, NoReturn, Protocol

from tests.matrix import phases
from tests.matrix.ground import Ground
from tests.matrix.scenario import Cell, Result, Verdict
from tests.matrix.verdicts import observe
from tests.matrix.victim import PATIENCE, Victim

AT_ONCE = 24
THREADS = 160
BETWEEN_FAULTS = 0.4
"""Seconds; so that what one fault sets off is not measured while it waits for another's."""
BETWEEN_STARTS = 0.3
BEFORE_NEXT_BATCH = 6.0


class Acts(Protocol):
    """A module of faults that concern everybody, as ``phases`` is."""

    PHASES: dict[str, Callable[[Ground, phases.Group], None]]

    def prepare(self, phase: str, ground: Ground) -> None:
        """Done before the victims of a phase start."""

    def restore(self, phase: str, ground: Ground) -> None:
        """Done after a phase."""


class Runner:
    """Runs cells on one ground.

    :param tell: is given each result as it comes.
    :param acts: the faults that have the place to themselves.
    :param at_once: runs that are in place before the first of them is struck.
    :param between_faults: seconds.
    :param patience: seconds that a victim may take to be in place.
    """

    def __init__(
        self,
        ground: Ground,
        tell: Callable[[Result], None] | None = None,
        acts: Acts = phases,
        *,
        at_once: int = AT_ONCE,
        between_faults: float = BETWEEN_FAULTS,
        patience: float = PATIENCE,
    ) -> None:
        self.ground, self.tell, self.acts = ground, tell, acts
        self.at_once, self.between_faults, self.patience = at_once, between_faults, patience
        self.results: list[Result] = []
        self.victims: list[Victim] = []
        """All that were in place."""
        self._pool = ThreadPoolExecutor(max(THREADS, at_once), thread_name_prefix="cell")
        self._open: list[Future[None]] = []

    def run(self, cells: Iterable[Cell]) -> list[Result]:
        """Run them all."""
        cells = list(cells)
        alone = [cell for cell in cells if not cell.scenario.phase]
        for batch in batched(alone, self.at_once):
            self._run_batch(batch)
        wait(self._open)
        for phase in self.acts.PHASES:
            members = [cell for cell in cells if cell.scenario.phase == phase]
            if members:
                self._run_phase(phase, members)
        wait(self._open)
        self._pool.shutdown()
        return self.results

    def _run_batch(self, cells: list[Cell]) -> None:
        phases.mend(self.ground)
        victims = self._start(cells)
        struck = []
        for victim in victims:
            struck.append(self._pool.submit(self._guarded, victim, self._strike_and_observe))
            time.sleep(self.between_faults)
        self._open += struck
        wait(struck, timeout=BEFORE_NEXT_BATCH)

    def _run_phase(self, phase: str, cells: list[Cell]) -> None:
        self.acts.prepare(phase, self.ground)
        victims = self._start(cells)
        group: dict[str, list[Victim]] = {}
        for victim in victims:
            group.setdefault(victim.scenario.name, []).append(victim)
        doing = self._pool.submit(self.acts.PHASES[phase], self.ground, group)
        looking = [self._pool.submit(self._guarded, victim, self._observe_struck) for victim in victims]
        wait([doing, *looking])
        self.acts.restore(phase, self.ground)
        if error := doing.exception():
            print(f"Phase {phase}: {error!r}", flush=True)

    def _start(self, cells: list[Cell]) -> list[Victim]:
        """Put victims in place, some at the same time; those that can't be are told of and left out."""
        victims = [Victim(self.ground, cell, patience=self.patience) for cell in cells]
        there: list[Victim] = []
        # Hundreds that start together keep Airflow's API from answering anybody.
        for first in range(0, len(victims), AT_ONCE):
            some = victims[first : first + AT_ONCE]
            futures = []
            for victim in some:
                futures.append(self._pool.submit(self._guarded, victim, Victim.start))
                time.sleep(BETWEEN_STARTS)
            there += [victim for victim, future in zip(some, futures, strict=True) if future.result()]
        self.victims += there
        return there

    def _guarded(self, victim: Victim, act: Callable[[Victim], Any]) -> bool:
        """Whether it went well; what goes wrong is a result too."""
        try:
            act(victim)
        except Exception as error:  # noqa: BLE001  whatever it is, it is this cell's
            self._conclude(victim, Result(victim.cell, Verdict.ERROR, note=repr(error)))
            return False
        return True

    def _strike_and_observe(self, victim: Victim) -> None:
        victim.scenario.strike(victim)
        self._conclude(victim, self._look_on(victim))

    def _observe_struck(self, victim: Victim) -> None:
        deadline = time.monotonic() + 200
        while not victim.strikes:
            if time.monotonic() > deadline:
                raise TimeoutError("the fault did not come")
            time.sleep(0.2)
        self._conclude(victim, self._look_on(victim))

    def _look_on(self, victim: Victim) -> Result:
        return observe(victim)

    def _conclude(self, victim: Victim, result: Result) -> None:
        self.results.append(result)
        if self.tell:
            self.tell(result)
        victim.finish()


def batched(cells: Iterable[Cell], at_once: int = AT_ONCE) -> Iterator[list[Cell]]:
    """Cells, as many at a time as run together."""
    batch: list[Cell] = []
    for cell in cells:
        if batch and sum(each.scenario.runs for each in (*batch, cell)) > at_once:
            yield batch
            batch = []
        batch.append(cell)
    if batch:
        yield batch


def run_to_the_end(main: Callable[[], int]) -> NoReturn:
    """Run a program, and end the process: threads that still wait for something would hold up its end."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        code = main()
    except KeyboardInterrupt:
        code = 130
    except Exception:  # noqa: BLE001  it is shown, and the end must not wait
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    os._exit(code)
