"""A service that lives in memory: every state, answer and fault of its jobs is set by the test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any, Self

import pytest

from airflow_cancel_provider.exceptions import ServiceError, UnknownScope
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.services.base import JobService
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.pool import ServicePool
from airflow_cancel_provider.services.ratelimit import EVERY, Paces
from airflow_cancel_provider.services.registry import SERVICES, ServiceInfo
from airflow_cancel_provider.services.retry import Patience

ROW = ServiceInfo(
    name="memory",
    title="Memory",
    service="tests.memory_service.MemoryService",
    hook="tests.memory_service.MemoryHook",
    family=None,
    scope_param="place",
    ids_param="ids",
    submissions=(),
    docs_url="",
)


@dataclass
class Memory:
    """What a :class:`MemoryService` answers, and what it was asked.

    ``states`` and ``outcomes`` go by job id. ``errors``: raised by the next polls, one each.
    """

    states: dict[str, JobState] = field(default_factory=dict)
    outcomes: dict[str, CancelOutcome] = field(default_factory=dict)
    forced_outcomes: dict[str, CancelOutcome] = field(default_factory=dict)
    errors: list[ServiceError] = field(default_factory=list)
    hard: bool = True
    """Whether force adds something."""
    polls: list[list[str]] = field(default_factory=list)
    sent: list[tuple[str, bool]] = field(default_factory=list)
    """Cancel requests: job id, and whether by force."""
    opened: list[tuple[str | None, str | None]] = field(default_factory=list)
    quota: tuple[int, float] = (1000, 1000.0)
    paces: Paces = field(default_factory=Paces)
    unknown_scopes: set[str] = field(default_factory=set)
    labels: dict[str, Label] = field(default_factory=dict)
    """By job id."""
    claims: list[JobStatus] = field(default_factory=list)
    """What listings show, in the states of ``states``."""
    held: dict[str, Event] = field(default_factory=dict)
    """By job id: a cancel request gets no answer before. By connection: it is not open before."""

    def job(self, id: str, state: JobState = JobState.RUNNING, scope: str = "place") -> RemoteJob:
        """Make a job."""
        self.states[id] = state
        return RemoteJob.of("memory", id, scope=scope)

    def jobs(self, *ids: str) -> list[RemoteJob]:
        """Make running jobs."""
        return [self.job(name) for name in ids]

    def pool(self) -> ServicePool:
        """A way to its jobs."""
        return ServicePool(lambda _, conn_id, region: MemoryService(self, conn_id, region))


class MemoryService(JobService):
    """The contract, over a :class:`Memory`."""

    name = "memory"
    scope_word = "place"
    scope_pattern = re.compile(r"\w+")
    id_word = "id"
    id_pattern = re.compile(r"\w+")

    def __init__(self, memory: Memory, conn_id: str | None, region: str | None) -> None:
        super().__init__(conn_id=conn_id, region=region)
        self.memory = memory
        self.quotas, self.paces = {EVERY: memory.quota}, memory.paces  # type: ignore[misc]

    @classmethod
    def over(cls, spec: ClientSpec, patience: Patience) -> Self:
        raise NotImplementedError

    @property
    def spec(self) -> ClientSpec:
        return ClientSpec(self.name, self.conn_id, self.region, None)

    def describe(self, jobs: Iterable[RemoteJob]) -> list[JobStatus]:
        jobs = list(dict.fromkeys(jobs))
        self.meter.turn(self.poll_operation)
        self.memory.polls.append([job.id for job in jobs])
        if self.memory.errors:
            raise self.memory.errors.pop(0)
        if unknown := {str(job.scope) for job in jobs} & self.memory.unknown_scopes:
            raise UnknownScope(f"There is no place {unknown}.")
        states, labels = self.memory.states, self.memory.labels
        return [JobStatus(j, states.get(j.id, JobState.GONE), label=labels.get(j.id)) for j in jobs]

    def cancel(self, jobs: Iterable[RemoteJob], reason: str, *, force: bool = False) -> list[CancelResult]:
        outcomes = self.memory.forced_outcomes if force else self.memory.outcomes
        jobs = list(dict.fromkeys(jobs))
        self.memory.sent += [(job.id, force) for job in jobs]
        for job in jobs:
            if job.id in self.memory.held:
                self.memory.held[job.id].wait(60)  # longer than tests wait
        return [CancelResult(job, outcomes.get(job.id, CancelOutcome.REQUESTED), reason) for job in jobs]

    def scopes(self) -> Iterator[str]:
        yield from dict.fromkeys(str(claim.job.scope) for claim in self.memory.claims)

    def _alive(self, scope: str, name_prefix: str = "") -> Iterator[JobStatus]:
        if self.memory.errors:
            raise self.memory.errors.pop(0)
        for claim in self.memory.claims:
            job = claim.job
            state = self.memory.states.get(job.id, JobState.GONE)
            if job.scope == scope and not state.is_terminal:
                yield replace(claim, state=state)

    @property
    def can_escalate(self) -> bool:
        return self.memory.hard


class MemoryHook:
    """What ``Access`` opens when the registry names it; a test sets ``memory``."""

    memory = Memory()

    def __init__(self, service: MemoryService) -> None:
        self.service: Any = service

    @classmethod
    def for_address(cls, conn_id: str | None, region: str | None, access: Access) -> Self:  # noqa: ARG003
        cls.memory.opened.append((conn_id, region))
        if held := cls.memory.held.get(conn_id or ""):
            held.wait()
        return cls(MemoryService(cls.memory, conn_id, region))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """A service that a test has every answer of in its hand, among the real ones."""
    monkeypatch.setitem(SERVICES, "memory", ROW)
    monkeypatch.setattr(MemoryHook, "memory", Memory())
    return MemoryHook.memory
