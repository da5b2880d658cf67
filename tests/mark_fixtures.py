"""Tasks that are marked: real XCom rows in SQLite, and an API server in haste."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

from airflow_cancel_provider.ends_on_record import ENDS_KEY, ends_from_json
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import release_key
from airflow_cancel_provider.plugin import api_server as marked
from airflow_cancel_provider.plugin.due_queue import DueQueue
from airflow_cancel_provider.reaper.backends.database import as_ids
from airflow_cancel_provider.record import RECORD_KEY, JobEnd, TryRecord, TryState
from airflow_cancel_provider.services.registry import SERVICES
from tests import memory_service
from tests.memory_service import Memory, MemoryHook
from tests.reaper_airflow import empty_database
from tests.task_fixtures import TaskInstance

NAME = "remote-jobs-marked"


class XComs:
    """Airflow's table of XComs."""

    def __init__(self, folder: Path) -> None:
        from airflow.models.log import Log
        from airflow.models.taskinstance import TaskInstance as Current
        from airflow.models.taskinstancehistory import TaskInstanceHistory
        from airflow.models.variable import Variable
        from airflow.models.xcom import XComModel

        shutil.copy(empty_database(), folder / "airflow.db")
        self.engine = create_engine(f"sqlite:///{folder / 'airflow.db'}")
        self._table: Any = XComModel.__table__
        self._variables: Any = Variable.__table__
        self.events: Any = Log.__table__
        self._current: Any = Current.__table__
        self._history: Any = TaskInstanceHistory.__table__
        self._runs: dict[tuple[str, str], int] = {}

    def put(self, *rows: tuple[TaskInstance, Any]) -> None:
        values = [
            {
                "dag_run_id": self._runs.setdefault((ti.dag_id, ti.run_id), len(self._runs) + 1),
                "key": RECORD_KEY,
                "value": value.as_json() if isinstance(value, TryRecord) else value,
                "timestamp": datetime(2026, 11, 20, 12, tzinfo=UTC),
                "dag_id": ti.dag_id,
                "run_id": ti.run_id,
                "task_id": ti.task_id,
                "map_index": ti.map_index,
            }
            for ti, value in rows
        ]
        with self.engine.begin() as connection:
            connection.execute(self._table.insert(), values)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Meanwhile no query of XComs is answered."""
        rename = "ALTER TABLE {} RENAME TO {}"
        with self.engine.begin() as connection:
            connection.execute(text(rename.format("xcom", "away")))
        yield
        with self.engine.begin() as connection:
            connection.execute(text(rename.format("away", "xcom")))

    def ends(self, ti: TaskInstance) -> dict[RemoteJob, JobEnd]:
        """Ends of jobs that others than the task have written."""
        columns = self._table.c
        query = self._table.select().where(columns.key == ENDS_KEY, columns.map_index == ti.map_index)
        with self.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
            return ends_from_json(row.value) if row else {}

    def tries(
        self, ti: TaskInstance, before: UUID, state: str = "failed", at: datetime | None = None
    ) -> None:
        """A task instance in the state that it has, and how the try before it has ended.

        :param at: when its row was written.
        """
        names = {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
        now, then = as_ids([ti.id, before])
        with self.engine.begin() as connection:
            rest = {**names, "pool": "default_pool", "try_number": 1}
            row = {"id": now, "state": ti.state, "updated_at": at or datetime.now(UTC), **rest}
            connection.execute(self._current.insert(), [row])
            connection.execute(self._history.insert(), [{"task_instance_id": then, "state": state, **rest}])

    def release(self, ti_id: UUID, value: str) -> None:
        with self.engine.begin() as connection:
            row = {"key": release_key(ti_id), "val": value, "is_encrypted": False}
            connection.execute(self._variables.insert(), [row])


@pytest.fixture
def xcoms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[XComs]:
    from airflow import settings

    xcoms = XComs(tmp_path)
    monkeypatch.setattr(settings, "Session", sessionmaker(xcoms.engine))
    yield xcoms
    xcoms.engine.dispose()


@contextmanager
def own_queue(patch: pytest.MonkeyPatch, **seconds: float) -> Iterator[Memory]:
    """A service in memory; an API server in haste, with a queue of its own that is over with the test."""
    patch.setitem(SERVICES, "memory", memory_service.ROW)
    patch.setattr(MemoryHook, "memory", Memory())
    for name, value in {"FIRST_PAUSE": 0.05, "LONGEST_PAUSE": 0.1, "TOGETHER": 0.01, **seconds}.items():
        patch.setattr(marked, name, value)
    lock, is_over = threading.Lock(), threading.Event()

    def do(due: Any) -> None:
        with lock:
            if not is_over.is_set():
                marked._do(due)

    patch.setattr(marked, "_queue", DueQueue(do, NAME))
    patch.setattr(marked, "_under_way", set())
    yield MemoryHook.memory
    with lock:
        is_over.set()


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", "production")
    monkeypatch.setattr(marked, "_is_prepared", True)
    with own_queue(monkeypatch, HEAD_START=0.3, LONG_HEAD_START=0.3) as memory:
        yield memory


def deferred(ti: TaskInstance, *jobs: RemoteJob, state: TryState = TryState.DEFERRED) -> TryRecord:
    return TryRecord(ti.id, state, jobs)


def threads() -> int:
    return sum(thread.name == NAME for thread in threading.enumerate())


def sent(memory: Memory) -> set[str]:
    return {job for job, _ in memory.sent}
