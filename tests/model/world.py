"""What there is in the model: one task instance with its tries, their processes, and the service's jobs.

A world is made of plain, hashable values. Two worlds are the same state if their values are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import Label, Owner, TaskKey
from airflow_cancel_provider.services.client_spec import ClientSpec

DEPLOYMENT = "0a1b2c3d"
CONN, REGION = "aws_default", "us-east-1"
TASK = TaskKey("dag", "run", "task")
STRANGER = -1
"""Try of somebody else's job: that one is alive for ever."""


def ti_id(number: int) -> UUID:
    """Id of a try."""
    return UUID(int=(number + 2) << 64)


def owner(number: int) -> Owner:
    """A try, by its number; tries count from 0 here, and from 1 in Airflow."""
    dag = TASK.dag_id if number != STRANGER else "another"
    return Owner(DEPLOYMENT, dag, TASK.run_id, TASK.task_id, -1, number + 1, ti_id(number))


def label(number: int, *, reconnects: bool) -> Label:
    """Label of a try's jobs."""
    return replace(owner(number).label, reconnects=reconnects)


def address(id: str) -> RemoteJob:
    """Address of a job."""
    return RemoteJob.of("batch", id, conn_id=CONN, region=REGION)


class Client(ClientSpec):
    """A client that can be part of a state."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(self.service)


CLIENT = Client("batch", CONN, REGION, None)


class Job(NamedTuple):
    """A job as the service has it. It ends as soon as a request to end it is carried out."""

    owner: int
    reconnects: bool = False
    is_listed: bool = True
    """Whether listings and polls show it already."""
    is_asked: bool = False


class Row(NamedTuple):
    """A try in Airflow's database.

    ``is_doomed``: the try was told to end, or a process of it has died: it can't succeed any more.
    ``is_told``: somebody told it to end. ``has_failed``, ``has_returned``: how its code has ended.
    ``is_marked``: a person has set its state.
    """

    state: str | None
    is_archived: bool = False
    is_doomed: bool = False
    is_told: bool = False
    has_failed: bool = False
    has_returned: bool = False
    is_marked: bool = False
    was_orphaned: bool = False
    """Whether something has happened to it that only the reaper answers for."""


class Process(NamedTuple):
    """The process of a try.

    ``phase``: ``begin``, ``work``, ``sent`` (a submission is under way), ``done`` (``execute`` has ended),
    ``reported``. ``pending``: id of the job that was made of the submission, empty if none was yet.
    ``sigterm``: ``due`` or ``done``.
    """

    number: int
    is_resumed: bool
    phase: str
    guard: Any
    token: str = ""
    pending: str = ""
    outcome: str = ""
    trigger: Any = None
    has_supervisor: bool = True
    sigterm: str = ""
    submitted: int = 0


class Sentinel(NamedTuple):
    """``inbox``: all that it was sent; ``read`` of it. ``phase``: ``watch``, ``act``, ``done``."""

    number: int
    inbox: tuple[bytes, ...] = ()
    read: int = 0
    phase: str = "watch"
    task_ended: bool = False
    supervisor_ended: bool = False
    is_alive: bool = True
    word: str = ""


class Trigger(NamedTuple):
    """``phase``: ``run``, ``killed`` (told to end), ``ask`` (it is unclear whether the task is over)."""

    number: int
    record: str
    phase: str = "run"
    has_run: bool = False
    had_no_record: bool = False


@dataclass(slots=True)
class World:
    """One state of everything."""

    rows: tuple[Row, ...] = (Row("queued"),)
    resumes: str = ""
    """Whether the next process resumes a deferred try, and how: ``event`` or ``failure``."""
    is_deleted: bool = False
    has_deferred: bool = False
    xcom: str | None = None
    stored: str | None = None
    variables: tuple[tuple[str, str], ...] = ()
    jobs: dict[str, Job] = field(default_factory=dict)
    released: frozenset[str] = frozenset()
    """Jobs that the task's code has released."""
    process: Process | None = None
    stale: Process | None = None
    """A process that Airflow has given up, and that runs still."""
    sentinels: tuple[Sentinel, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    marks: tuple[int, ...] = ()
    suspects: tuple[str, ...] = ()
    cancels_lost: int = 0
    """Requests to end a job that will get lost."""
    is_forged: bool = False
    is_write_lost: bool = False
    """Whether the next write to Airflow fails."""
    has_lost_write: bool = False
    faults: int = 0
    """How many more may happen."""
    max_tries: int = 0
    wrongs: tuple[str, ...] = ()
    """Cancels that must not have been."""

    @property
    def number(self) -> int:
        """The current try."""
        return len(self.rows) - 1

    @property
    def row(self) -> Row:
        """The current try in the database."""
        return self.rows[-1]

    def set_row(self, number: int | None = None, **changes: Any) -> None:
        """Change a try in the database; without a number the current one."""
        at = self.number if number is None else number
        self.rows = (*self.rows[:at], self.rows[at]._replace(**changes), *self.rows[at + 1 :])

    def orphan_earlier(self) -> None:
        """The try that would have ended the jobs of earlier ones never begins: that is left to the reaper."""
        if not self.triggers:
            for number in range(self.number):
                self.set_row(number, was_orphaned=True)

    def clone(self) -> World:
        """A copy that can be changed."""
        return World(*(dict(v) if isinstance(v := getattr(self, n), dict) else v for n in NAMES))

    @property
    def key(self) -> Any:
        """The same for the same states."""
        return tuple(tuple(v.items()) if isinstance(v := getattr(self, n), dict) else v for n in NAMES)


NAMES = tuple(each.name for each in fields(World))


class Clock:
    """Takes the place of module ``time``: it goes on only while somebody sleeps.

    :param start: so that ids of an old submission are not looked for any more, it can be set on.
    """

    def __init__(self) -> None:
        self.now = self.start = 1_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @contextmanager
    def later(self, seconds: float) -> Iterator[None]:
        self.now = self.start + seconds
        yield
        self.now = self.start


CLOCK = Clock()


Move = tuple[str, Callable[[World], None]]
MOST_TRIES = 3


class TaskDeferred(BaseException):
    """As Airflow's, which the guard knows by its name."""

    def __init__(self) -> None:
        self.trigger: Any = SimpleNamespace(serialize=lambda: ("an.operators.Trigger", {}))
        self.timeout = None
