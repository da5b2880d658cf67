"""Thousands of jobs of one task: what is logged of them, and what is looked at for each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.engine.recorded import CancelRequest, cancel_over_connections
from airflow_cancel_provider.jobs import JobState, JobStatus
from airflow_cancel_provider.watch import MANY, take_in
from tests.memory_service import Memory, MemoryService

JOBS = 2 * MANY
log = logging.getLogger(__name__)


def test_jobs_of_a_task_share_lines_and_each_task_has_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """The lines of a deferred task go over the triggerer's supervisor, which has others to serve."""
    caplog.set_level(logging.INFO)
    memory = Memory()
    tasks = {name: memory.jobs(*(f"{name}{number}" for number in range(JOBS))) for name in ("a", "b")}
    requests = [CancelRequest(tuple(jobs), "why", log.getChild(name)) for name, jobs in tasks.items()]
    engine = cancel_over_connections(
        lambda *_: MemoryService(memory, None, None), requests, "00000000", call_seconds=8
    )
    engine.step()
    memory.states = dict.fromkeys(memory.states, JobState.CANCELLED)
    engine.step()
    assert engine.is_done
    lines = Counter((record.name, record.getMessage()) for record in caplog.records)
    words = [f"{JOBS} jobs: {word}" for word in ("RUNNING", "REQUESTED", "CANCELLED")]
    assert lines == dict.fromkeys(((log.getChild(name).name, each) for name in tasks for each in words), 1)


def test_what_is_seen_of_one_job_makes_nobody_look_at_all_others() -> None:
    """With 10,000 jobs each poll took 15 seconds of a processor, in which no other thread ran."""
    memory, passes = Memory(), list[Any]()

    class Noting(dict[Any, Any]):
        def __iter__(self) -> Iterator[Any]:
            passes.append(self)
            return super().__iter__()

        def items(self) -> Any:
            passes.append(self)
            return super().items()

    cancellation = Cancellation(memory.jobs("a", "b"), "why")
    cancellation.request(memory.pool())
    cancellation.results, cancellation.statuses = Noting(cancellation.results), Noting()
    for job in cancellation.jobs:
        take_in(cancellation, [JobStatus(job, JobState.RUNNING)], log)
    assert len(cancellation.statuses) == 2
    assert not passes
