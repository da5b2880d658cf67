"""What a cell of the matrix is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.matrix.victim import Victim

    Act = Callable[[Victim], None]

SERVICES = ("emr", "batch", "emr-serverless", "emr-containers", "mrs", "glue")
MODES = ("sync", "plain", "deferred")


class Expected(StrEnum):
    """What becomes of the jobs."""

    CANCELLED = "cancelled"
    LEFT_ALONE = "left alone"
    REAPER = "reaper"
    """Nobody is left who could cancel but the reaper, which is not part of this run."""


class Verdict(StrEnum):
    """What became of them."""

    OK = "ok"
    ORPHAN = "ORPHAN"
    WRONG_CANCEL = "WRONG"
    GOES_ON = "goes on"
    """The task ignores the fault: it lives on, and its job with it."""
    REAPER = "reaper"
    ERROR = "ERROR"
    """The cell could not be set up."""


@dataclass(frozen=True)
class Scenario:
    """One row of the matrix.

    :param name: words for the row.
    :param strike: does the fault, and notes when.
    :param expected: what is to become of the jobs.
    :param modes: in which modes, each with its services.
    :param shape: which of the victim Dags.
    :param prepare: done before the victim starts.
    :param ready: waits until the victim is in place; by default until its job runs.
    :param runs: victims at once in this cell.
    :param within: seconds from the fault within which the cancel is to be requested.
    :param kind: which of the totals its seconds count for: ``signal``, ``mark``, ``deferred``, or none.
    :param may_go_on: Airflow itself ignores the fault.
    :param phase: the phase in which it runs, because its fault concerns everybody.
    :param resumes: Airflow ends the try by starting its task again. ``within`` counts from that start, which
        takes Airflow a minute on a busy machine.
    """

    name: str
    strike: Act
    modes: dict[str, tuple[str, ...]]
    expected: Expected = Expected.CANCELLED
    shape: str = "waits"
    prepare: Act | None = None
    ready: Act | None = None
    runs: int = 1
    within: float = 15.0
    kind: str = ""
    may_go_on: bool = False
    phase: str = ""
    resumes: bool = False

    def cells(self) -> Iterator[Cell]:
        """Its cells."""
        for mode, services in self.modes.items():
            for service in services:
                yield Cell(self, service, mode)


@dataclass(frozen=True)
class Cell:
    """One scenario, for one service, in one mode."""

    scenario: Scenario
    service: str
    mode: str

    @property
    def name(self) -> str:
        """Its name, for ``--only``."""
        return f"{self.scenario.name} [{self.service} {self.mode}]"


@dataclass
class Result:
    """What became of one cell.

    :param seconds: from the fault to the request to cancel.
    :param noticed: seconds from the fault until Airflow itself knew of it, where that was looked at.
    """

    cell: Cell
    verdict: Verdict
    seconds: float | None = None
    note: str = ""
    noticed: float | None = None

    @property
    def is_expected(self) -> bool:
        """Whether it is as it should be."""
        scenario = self.cell.scenario
        if scenario.expected is Expected.REAPER:
            return self.verdict in (Verdict.REAPER, Verdict.OK)
        return self.verdict is Verdict.OK or (self.verdict is Verdict.GOES_ON and scenario.may_go_on)
