"""Deferred tasks in Airflow's database, as workers would have left them, for a triggerer to wait for.

There is no scheduler and no worker: a task whose trigger has fired is taken off here.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from airflow.jobs.job import Job
from airflow.models.connection import Connection
from airflow.models.dag_version import DagVersion
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.models.xcom import XComModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.serde import deserialize
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import func, select, update

from airflow_cancel_provider.guard.trigger import GuardTrigger
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import deployment_of
from airflow_cancel_provider.record import RECORD_KEY, TryRecord, TryState
from benchmarks.account.population import DEPLOYMENT
from benchmarks.waits.triggers import CONNECTION, trigger

NAME, RUN = "endurance", "run"
"""Names of the Dag, its bundle and its only task; id of the Dag run."""


@dataclass(frozen=True)
class Fired:
    """A task that a trigger has resumed.

    :param index: its map index.
    :param at: epoch seconds.
    :param payload: of the event; None where the trigger has failed.
    """

    index: int
    at: float
    payload: dict[str, Any] | None


class DeferredTasks:
    """The task instances of one mapped task, each deferred by an operator of this package that is guarded."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._next = 0
        with DAG(NAME, schedule=None) as dag:
            EmptyOperator(task_id=NAME)
        with create_session() as session:
            session.add(DagBundleModel(name=NAME))
            session.flush()
            SerializedDAG.bulk_write_to_db(NAME, None, [dag], session=session)
            lazy = LazyDeserializedDAG.from_dag(dag)
            SerializedDagModel.write_dag(lazy, NAME, session=session)
            session.flush()
            version = DagVersion.get_latest_version(NAME, session=session)
            assert version
            manual = {"run_type": DagRunType.MANUAL, "triggered_by": DagRunTriggeredByType.TEST}
            run = DagRun(NAME, RUN, state=DagRunState.RUNNING, **manual)
            run.created_dag_version_id = self._version = version.id
            session.add(run)
            session.flush()
            self._run = run.id
            written = SerializedDagModel.get(NAME, session=session)
            assert written
            self._task = written.dag.get_task(NAME)

    def add(self, waits: Collection[tuple[RemoteJob, UUID]]) -> range:
        """Defer a task for each job, in a try of that id; their map indexes."""
        added = range(self._next, self._next + len(waits))
        self._next = added.stop
        records = []
        with create_session() as session:
            for index, (job, ti_id) in zip(added, waits, strict=True):
                record = TryRecord(ti_id, TryState.DEFERRED, (job,))
                session.add(self._task_instance(index, record))
                names = {"dag_id": NAME, "run_id": RUN, "task_id": NAME, "map_index": index}
                records.append(
                    XComModel(dag_run_id=self._run, key=RECORD_KEY, value=record.as_json(), **names)
                )
            session.flush()
            session.add_all(records)
        return added

    def _task_instance(self, index: int, record: TryRecord) -> TaskInstance:
        own, deployment = trigger("ours", record.jobs[0], self._delay), deployment_of(DEPLOYMENT)
        ti = TaskInstance(self._task, self._version, RUN, TaskInstanceState.DEFERRED, index)
        ti.id, ti.try_number, ti.next_method = record.ti_id, 1, "execute_complete"
        ti.trigger = Trigger.from_object(GuardTrigger.around(own, record, "endurance", deployment))
        return ti

    def running(self) -> int:
        """How many have a triggerer."""
        with create_session() as session:
            found = session.scalar(select(func.count(Trigger.id)).where(Trigger.triggerer_id.is_not(None)))
            return int(found or 0)

    def fired(self) -> list[Fired]:
        """Those that were resumed since the last call; they have succeeded now."""
        with create_session() as session:
            query = select(TaskInstance).where(TaskInstance.state == TaskInstanceState.SCHEDULED)
            found = list(session.scalars(query))
            for ti in found:
                ti.state = TaskInstanceState.SUCCESS
            return [Fired(ti.map_index, _epoch(ti.scheduled_dttm), _event(ti)) for ti in found]

    def mark_failed(self, indexes: Collection[int]) -> None:
        """What a click on "Mark as failed" does in the database."""
        with create_session() as session:
            marked = TaskInstance.map_index.in_(indexes)
            session.execute(update(TaskInstance).where(marked).values(state=TaskInstanceState.FAILED))


def keep_connection(value: str) -> None:
    """Store the connection, or edit it."""
    with create_session() as session:
        for old in session.scalars(select(Connection).where(Connection.conn_id == CONNECTION)):
            session.delete(old)
        session.flush()
        session.add(Connection.from_json(value, conn_id=CONNECTION))


def heartbeat_age() -> float:
    """Seconds since the last heartbeat of the triggerer."""
    with create_session() as session:
        return time.time() - _epoch(session.scalar(select(func.max(Job.latest_heartbeat))))


def _epoch(at: datetime | None) -> float:
    assert at
    return at.timestamp()


def _event(ti: TaskInstance) -> dict[str, Any] | None:
    kwargs: Any = deserialize(ti.next_kwargs)
    event: dict[str, Any] | None = kwargs.get("event")
    return event
