"""Records of tries, in Airflow's own tables."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from airflow_cancel_provider.record import RECORD_KEY, TryRecord
from tests.reaper_airflow import Tables

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Records:
    """Task instances, with the records of their tries."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._runs: dict[tuple[str, str], int] = {}

    def put(
        self, record: TryRecord, state: str | None = "running", ti: UUID | None = None, **names: Any
    ) -> None:
        self.tables.current(ti or record.ti_id, state, **names)
        self.xcom(record.as_json(), **names)

    def xcom(self, value: Any, /, key: str = RECORD_KEY, **names: Any) -> None:
        from airflow.models.xcom import XComModel

        named = self.tables._names(names)
        keys = {name: named[name] for name in ("dag_id", "run_id", "task_id", "map_index")}
        number = self._runs.setdefault((named["dag_id"], named["run_id"]), len(self._runs) + 1)
        self.tables._insert(
            XComModel.__table__, dag_run_id=number, key=key, value=value, timestamp=AT, **keys
        )

    def delete(self, key: str) -> None:
        """Delete what is stored with this key."""
        from airflow.models.xcom import XComModel

        with self.tables.engine.begin() as connection:
            connection.execute(XComModel.__table__.delete().where(XComModel.key == key))

    def succeed(self, **names: Any) -> None:
        """Have the task instances of these names succeed."""
        from airflow.models.taskinstance import TaskInstance
        from sqlalchemy import update

        where = [getattr(TaskInstance, name) == value for name, value in names.items()]
        with self.tables.engine.begin() as connection:
            connection.execute(update(TaskInstance).where(*where).values(state="success"))


@pytest.fixture
def records(tables: Tables) -> Records:
    return Records(tables)
