"""The listing of living jobs, many places at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.reaper import living_jobs as sweeping
from airflow_cancel_provider.reaper.backends.base import TryPhase
from airflow_cancel_provider.reaper.living_jobs import BATCH, WAITING, listed
from airflow_cancel_provider.reaper.places import Place, Scopes
from tests.memory_service import Memory, MemoryService, memory
from tests.reaper_fixtures import Ground, ground
from tests.task_fixtures import connections

__all__ = ["connections", "ground", "memory"]

S = TryPhase


class TestListing:
    def test_a_slow_consumer_bounds_what_is_read(
        self, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Jobs without end live; no more of them are read than there is room for."""
        read = 0

        def claims(_: MemoryService, scope: str) -> Iterator[JobStatus]:
            nonlocal read
            claim = JobStatus(RemoteJob.of("memory", "a", scope=scope), JobState.RUNNING)
            while True:
                read += 1
                yield claim

        monkeypatch.setattr(MemoryService, "claims", claims)
        monkeypatch.setattr(MemoryService, "scopes", lambda _: iter(["place"]))
        batches = listed({Place("memory"): MemoryService(memory, None, None)}, Scopes())
        room = (WAITING + 2) * BATCH
        for taken in range(1, 4):
            assert len(next(batches).claims) == BATCH
            time.sleep(0.3)
            assert read <= room + taken * BATCH
        batches.close()  # type: ignore[attr-defined]
        wait_until(lambda: not reapers())

    def test_nobody_is_left_behind(self, ground: Ground) -> None:
        ground.start("batch", S.ALIVE)
        ground.reaper().sweep()
        wait_until(lambda: not reapers())

    def test_silences(self, memory: Memory) -> None:
        assert sweeping.MOST_UNANSWERED == 2
        service = MemoryService(memory, None, None)
        assert list(listed({Place("memory"): service}, Scopes())) == []
        assert list(listed({}, Scopes())) == []


def reapers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reaper ")]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)
