"""What is to happen when: nothing but the seed and the length decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from tests.matrix.scenario import SERVICES
from tests.soak.kinds import KINDS

GAPS = (3.0, 5.0)
"""Seconds between two tasks' starts."""
QUIET = (35.0, 65.0)
"""Seconds between what happens to components and to whole services."""
WEATHER = ("throttle", "server_error", "reset", "lost_reply")
CALLS = ("submit", "poll", "cancel")
COMPONENTS = {
    "triggerer killed": 3,
    "triggerer restarted": 2,
    "scheduler restarted": 2,
    "Dag processor restarted": 1,
}
CLOUD = {"outage": 4, "throttled": 2, "failing": 2, "losing replies": 1}
EVERYTHING = [what for what, weight in (COMPONENTS | CLOUD).items() for _ in range(weight)]


@dataclass(frozen=True)
class Task:
    """One task and its fault.

    :param at: seconds from the beginning at which it is started.
    :param kind: name of what happens to it.
    :param shape: which of the victim Dags, "" for the one that the scenario names.
    :param pause: seconds between being in place and the fault.
    :param weather: what goes wrong with calls about its jobs, "" for nothing.
    :param calls: which calls: ``submit``, ``poll`` or ``cancel``.
    :param times: how many of them.
    :param company: a job beside its own: ``by hand``, ``foreign``, or "".
    :param ending: what becomes of a task that is alive after the fault: ``success`` or ``run failed``.
    """

    number: int
    at: float
    kind: str
    service: str
    mode: str
    shape: str
    pause: float
    weather: str
    calls: str
    times: int
    company: str
    ending: str

    def __str__(self) -> str:
        extra = [f"{self.weather} x{self.times} on {self.calls}"] if self.weather else []
        extra += [f"a job {self.company} beside"] if self.company else []
        form = " ".join(word for word in (self.service, self.mode, self.shape) if word)
        words = f"{self.at:7.1f} #{self.number} {self.kind} [{form}] after {self.pause:.1f} s"
        return ", ".join([words, *extra, f"then {self.ending}"])


@dataclass(frozen=True)
class Disturbance:
    """Something that concerns many.

    :param what: a key of ``COMPONENTS`` or ``CLOUD``.
    :param service: the service that it strikes, "" for a component of Airflow.
    :param seconds: how long it lasts.
    """

    at: float
    what: str
    service: str
    seconds: float

    def __str__(self) -> str:
        what = " ".join(word for word in (self.what, self.service) if word)
        return f"{self.at:7.1f} -- {what}, {self.seconds:.0f} s"


@dataclass(frozen=True)
class Plan:
    """Everything, in the order of time."""

    seed: int
    minutes: float
    tasks: tuple[Task, ...]
    disturbances: tuple[Disturbance, ...]

    def __str__(self) -> str:
        everything: list[Task | Disturbance] = [*self.tasks, *self.disturbances]
        return "\n".join(map(str, sorted(everything, key=lambda each: each.at)))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def make_plan(seed: int, minutes: float) -> Plan:
    """The plan of a seed.

    A longer one begins as a shorter one of the same seed does.
    """
    # Two sources, so that neither list depends on how many numbers the other has taken.
    tasks, disturbances = Random(f"tasks {seed}"), Random(f"disturbances {seed}")
    end = minutes * 60
    return Plan(seed, minutes, tuple(_tasks(tasks, end)), tuple(_disturbances(disturbances, end)))


def _tasks(chance: Random, end: float) -> Iterator[Task]:
    at, number = 0.0, 0
    while at < end:
        yield _task(chance, number, round(at, 1))
        at, number = at + chance.uniform(*GAPS), number + 1


def _task(chance: Random, number: int, at: float) -> Task:
    kind = chance.choices(list(KINDS.values()), [kind.weight for kind in KINDS.values()])[0]
    mode = chance.choice(list(kind.scenario.modes))
    service = chance.choice(kind.scenario.modes[mode])
    is_retried, is_foul = chance.random() < 0.3, chance.random() < 0.25
    return Task(
        number,
        at,
        kind.name,
        service,
        mode,
        shape="retries" if is_retried and kind.may_be_tried_again else "",
        pause=round(chance.choice((0.0, chance.uniform(0, 3), chance.uniform(0, 12))), 1),
        weather=chance.choice(WEATHER) if is_foul else "",
        calls=chance.choice(CALLS),
        times=chance.randint(1, 4),
        company=chance.choices(("", "by hand", "foreign"), (8, 1, 1))[0],
        ending=chance.choice(("success", "run failed")),
    )


def _disturbances(chance: Random, end: float) -> Iterator[Disturbance]:
    at, bag = chance.uniform(*QUIET), list[str]()
    while at < end:
        # Drawn without putting back: in half an hour each comes at least once.
        bag = bag or chance.sample(EVERYTHING, len(EVERYTHING))
        what = bag.pop()
        service, seconds = chance.choice(SERVICES), chance.uniform(20, 40)
        if what in COMPONENTS:
            service, seconds = "", chance.choice((0.0, chance.uniform(0, 15)))
        yield Disturbance(round(at, 1), what, service, round(seconds, 1))
        at += seconds + chance.uniform(*QUIET)
