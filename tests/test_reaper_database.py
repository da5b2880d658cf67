"""What Airflow's own tables say of tries: real models, in SQLite."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.orm import sessionmaker

from airflow_cancel_provider.jobs import INTENTS_KEY, XCOM_KEY, JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import OWNER_PREFIX, Label, Owner
from airflow_cancel_provider.reaper.airflows.database import Database
from airflow_cancel_provider.reaper.decide import OwnerState, Standing
from airflow_cancel_provider.services.base import Claim
from tests.reaper_fixtures import DEPLOYMENT, Ground, fates, ground
from tests.task_fixtures import connections

__all__ = ["connections", "ground"]

S = Standing
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
JOB = RemoteJob("batch://aws_default@us-east-1/5b1f0000-0000-0000-0000-000000000001")


class Tables:
    """Airflow's tables, empty at first."""

    def __init__(self, engine: Engine) -> None:
        from airflow.models import import_all_models
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.taskinstancehistory import TaskInstanceHistory
        from airflow.models.variable import Variable
        from airflow.models.xcom import XComModel

        import_all_models()  # type: ignore[no-untyped-call]  # which refer to each other
        self._engine = engine
        self._current, self._history = TaskInstance.__table__, TaskInstanceHistory.__table__
        self._variables, self._xcoms = Variable.__table__, XComModel.__table__
        for table in (self._current, self._history, self._variables, self._xcoms):
            table.create(engine)

    def current(self, ti_id: UUID, state: str | None, **names: Any) -> None:
        """A task's present try."""
        self._insert(self._current, id=ti_id, state=state, **self._names(names))

    def history(self, ti_id: UUID, state: str, **names: Any) -> None:
        """A try before that."""
        self._insert(self._history, task_instance_id=ti_id, state=state, **self._names(names))

    def xcom(self, key: str, value: Any, **names: Any) -> None:
        """What a task has on record."""
        plain = {
            name: value for name, value in self._names(names).items() if name not in ("pool", "try_number")
        }
        self._insert(self._xcoms, dag_run_id=1, key=key, value=value, timestamp=NOW, **plain)

    def variable(self, key: str) -> None:
        """An Airflow Variable."""
        self._insert(self._variables, key=key, val="1")

    def _insert(self, table: Any, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(table.insert().values(**values))

    def _names(self, names: dict[str, Any]) -> dict[str, Any]:
        usual = {"dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1, "try_number": 1}
        return {**usual, "pool": "default_pool", **names}


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Tables]:
    from airflow import settings

    engine = create_engine(f"sqlite:///{tmp_path / 'airflow.db'}")
    monkeypatch.setattr(settings, "Session", sessionmaker(engine))
    yield Tables(engine)
    engine.dispose()


def owner(ti_id: UUID) -> Owner:
    return Owner(DEPLOYMENT, "dag", "run", "task", -1, 1, ti_id)


def said(label: Label) -> OwnerState:
    return Database().owners([label])[label.ti_id]


def test_a_task_that_was_expanded_to_fewer(tables: Tables, ground: Ground) -> None:
    """Airflow writes "removed" over success: a job that was to live on is left alone."""
    forgotten = ground.start("batch", None, waits=False)
    waited_for = ground.start("batch", None, waits=True)
    before = ground.start("batch", None, waits=False)
    for index, job in enumerate((forgotten, waited_for)):
        tables.current(ground.owners[job], "removed", map_index=index)
    tables.history(ground.owners[before], "removed", map_index=2)
    tables.current(uuid4(), "running", map_index=2)
    reaper = ground.reaper()
    reaper.airflow = reaper.letters._airflow = Database()
    report = reaper.sweep()
    assert report.troubles == []
    assert fates(report) == {waited_for: "ended"}
    assert ground.lives(forgotten, before)


def test_tries_that_were_replaced(tables: Tables) -> None:
    cleared, failed = uuid4(), uuid4()
    tables.history(cleared, "success")
    tables.history(failed, "failed", try_number=2)
    tables.current(uuid4(), "up_for_retry", try_number=3)
    assert said(Label(DEPLOYMENT, cleared)).standing is S.SUCCEEDED
    assert said(Label(DEPLOYMENT, failed)) == OwnerState(
        S.FAILED, S.RETRYING, "dag / run / task try 2", "failed"
    )


def test_a_try_whose_history_was_cleaned(tables: Tables) -> None:
    """`airflow db clean` leaves the task's present try, which may go on with the job."""
    ti_id = uuid4()
    label = Label(DEPLOYMENT, ti_id, reconnects=True, waits=True)
    named = replace(label, owner=owner(ti_id))
    assert (said(label).standing, said(label).later) == (S.DELETED, S.UNKNOWN)
    assert (said(named).standing, said(named).later) == (S.DELETED, None)
    tables.current(uuid4(), "running", try_number=2)
    assert said(named) == OwnerState(S.DELETED, S.ALIVE, "dag / run / task try 1")
    assert said(Label(DEPLOYMENT, ti_id, waits=True)) == OwnerState(S.DELETED)


def test_a_deleted_try_that_was_not_done(tables: Tables) -> None:
    ti_id = uuid4()
    assert not said(Label(DEPLOYMENT, ti_id)).is_unfinished
    tables.variable(f"{OWNER_PREFIX}{ti_id}")
    assert said(Label(DEPLOYMENT, ti_id)).is_unfinished


class TestRecords:
    """What a task has on record anybody may have written."""

    def recorded(self, at: datetime = NOW) -> dict[RemoteJob, OwnerState]:
        claim = Claim(JobStatus(JOB, JobState.RUNNING, name="load"), None, at)
        return dict(Database(trusts_records=True).recorded([claim], is_final=True))

    @pytest.mark.parametrize(
        "value",
        ['{"__classname__": "no.such.Thing", "__version__": 1, "__data__": 1}', "no JSON", 7, [7, {}], {}],
        ids=str,
    )
    @pytest.mark.parametrize("key", [XCOM_KEY, INTENTS_KEY])
    def test_nonsense_hides_no_other_record(self, tables: Tables, key: str, value: Any) -> None:
        tables.current(uuid4(), "failed")
        tables.xcom(key, value)
        tables.current(uuid4(), "failed", task_id="other")
        tables.xcom(XCOM_KEY, [str(JOB)], task_id="other")
        assert self.recorded() == {JOB: OwnerState(S.FAILED, task="dag / run / other", state="failed")}

    def test_an_intent_without_a_zone(self, tables: Tables) -> None:
        intent = {"service": "batch", "region": "us-east-1", "scope": None, "name": "load"}
        tables.current(uuid4(), "failed")
        tables.xcom(INTENTS_KEY, [{**intent, "at": NOW.replace(tzinfo=None).isoformat()}])
        assert self.recorded() == {}
        tables.current(uuid4(), "failed", task_id="other")
        tables.xcom(INTENTS_KEY, [{**intent, "at": NOW.isoformat()}], task_id="other")
        assert list(self.recorded(NOW + timedelta(seconds=2))) == [JOB]

    def test_a_task_that_was_removed(self, tables: Tables) -> None:
        tables.current(uuid4(), "removed")
        tables.xcom(XCOM_KEY, [str(JOB)])
        assert self.recorded()[JOB].standing is S.REMOVED
