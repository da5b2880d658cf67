"""What is known of one task of a soak, for those who judge."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.soak.plan import Task

FOR_EVER = 1e12


@dataclass
class Try:
    """One try of a task: its state in Airflow's words, "deleted" with its run; epoch seconds.

    :param start: ``FOR_EVER`` for one that never began.
    """

    number: int
    state: str | None
    start: float
    end: float | None


@dataclass
class Cause:
    """Something that may well end a task, from a moment until another, in epoch seconds."""

    what: str
    begin: float
    end: float = FOR_EVER


@dataclass
class Record:
    """One task.

    :param scope: the place that it had for itself from ``leased`` on, until another record has it.
    :param strikes: when planned faults, and the end that the plan has for it, struck.
    :param causes: these and all else that may have ended it or led to an error in it.
    :param is_marked_success: a person has called it a success while its job ran.
    :param notes: what did not go as planned.
    """

    task: Task
    dag_id: str = ""
    run_id: str = ""
    scope: str = ""
    leased: float = field(default_factory=time.time)
    begun: float = field(default_factory=time.time)
    in_place: float | None = None
    strikes: list[float] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)
    is_marked_success: bool = False
    is_over: bool = False
    notes: list[str] = field(default_factory=list)

    def caused(self, what: str, seconds: float = FOR_EVER) -> None:
        """Note that something happens now that may end the task, for so long."""
        now = time.time()
        self.causes.append(Cause(what, now, min(now + seconds, FOR_EVER)))

    @property
    def state(self) -> str:
        """How the task ended."""
        return str(self.tries[-1].state) if self.tries else "never started"
