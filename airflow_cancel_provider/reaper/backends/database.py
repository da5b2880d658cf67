"""The metadata database as a source of answers, through Airflow's own models."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from airflow_cancel_provider.ends_on_record import Ends, key_of, write_in_database
from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import TaskKey, release_key
from airflow_cancel_provider.reaper.backends.base import (
    NOT_STARTED,
    NOT_THERE,
    RELEASE_PREFIX,
    Airflow,
    OwnerState,
    TryPhase,
    phase_of,
    phase_of_replaced,
)
from airflow_cancel_provider.record import JobEnd
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.services.base import chunks

IDS_PER_QUERY = 500


class Database(Airflow):
    """Reads the metadata database, where every try has its own task-instance id, also as history."""

    def owners(self, ti_ids: Collection[UUID]) -> Mapping[UUID, OwnerState]:
        """As :func:`tries`."""
        with session_of_airflow() as session:
            return tries(session, ti_ids)

    def releases(self, most: int) -> Mapping[str, str | None]:
        """One query."""
        from airflow.models.variable import Variable

        named = Variable.key.startswith(RELEASE_PREFIX, autoescape=True)
        query = select(Variable).where(named).order_by(Variable.key).limit(most)
        with session_of_airflow() as session:
            return {found.key: _value(found) for found in session.scalars(query)}

    def variable(self, key: str) -> str | None:
        """An Airflow Variable that was set in the database."""
        # Variable.get treats a database error like a missing Variable.
        from airflow.models.variable import Variable

        with session_of_airflow() as session:
            found = session.scalar(select(Variable).where(Variable.key == key))
            value = _value(found) if found else None
        if found and value is None:
            raise AirflowUnavailable(f"Airflow Variable {key} can't be decrypted with this fernet_key.")
        return value

    def write_ends(self, ends: Mapping[UUID, Ends]) -> None:
        """Three queries, and two for each task instance with something new."""
        with session_of_airflow() as session:
            write_ends_of_tries(session, ends)

    def set_variable(self, key: str, value: str | None) -> None:
        """Write an Airflow Variable."""
        from airflow.models.variable import Variable

        with _translated():
            if value is None:
                Variable.delete(key)
            else:
                Variable.set(key, value)


def write_ends_of_tries(session: Any, ends: Mapping[UUID, Ends]) -> None:
    """Put on record how jobs of these tries have ended; a try that Airflow does not know is passed over."""
    tasks = tasks_of(session, ends)
    by_task: dict[TaskKey, dict[RemoteJob, JobEnd]] = {}
    for ti_id, task in tasks.items():
        by_task.setdefault(task, {}).update(ends[ti_id])
    write_in_database(session, by_task)


def tasks_of(session: Any, ti_ids: Collection[UUID]) -> dict[UUID, TaskKey]:
    """The task instances of these tries, present and earlier ones. Two queries for each 500."""
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817  as everywhere in Airflow
    from airflow.models.taskinstancehistory import TaskInstanceHistory as TIH  # noqa: N817

    found: dict[UUID, TaskKey] = {}
    for some in chunks(list(ti_ids), IDS_PER_QUERY):
        for table, id_column in ((TI, TI.id), (TIH, TIH.task_instance_id)):
            query: Any = select(id_column, *key_of(table)).where(id_column.in_(as_ids(some)))
            found |= {UUID(str(ti_id)): TaskKey(*key) for ti_id, *key in session.execute(query)}
    return found


def tries(session: Any, ti_ids: Collection[UUID]) -> dict[UUID, OwnerState]:
    """Read these tries from the database.

    One query for each 500; where some are history two more; one for the releases of those that are over.
    """
    found: dict[UUID, OwnerState] = {}
    for some in chunks(list(dict.fromkeys(ti_ids)), IDS_PER_QUERY):
        found |= _current(session, some)
        missing = [ti_id for ti_id in some if ti_id not in found]
        found |= _archived(session, missing) if missing else {}
        absent = OwnerState(TryPhase.DELETED, state=NOT_THERE)
        # After the states: a release is written before success is reported.
        found |= _with_releases(session, {ti_id: found.get(ti_id, absent) for ti_id in some})
    return found


def _current(session: Any, ids: Sequence[UUID]) -> dict[UUID, OwnerState]:
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817  as everywhere in Airflow

    query: Any = select(TI.id, TI.state, TI.end_date, *key_of(TI), TI.try_number)
    return {
        UUID(str(ti_id)): OwnerState(
            phase_of(state),
            task=_in_words(*names),
            state=state or NOT_STARTED,
            ended=ended,
            dag_id=names[0],
        )
        for ti_id, state, ended, *names in session.execute(query.where(TI.id.in_(as_ids(ids))))
    }


def _in_words(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> str:
    return TaskKey(dag_id, run_id, task_id, map_index).with_try(try_number)


def _archived(session: Any, ids: Sequence[UUID]) -> dict[UUID, OwnerState]:
    from airflow.models.taskinstancehistory import TaskInstanceHistory as TIH  # noqa: N817

    query: Any = select(TIH.task_instance_id, TIH.state, TIH.end_date, *key_of(TIH), TIH.try_number)
    rows = list(session.execute(query.where(TIH.task_instance_id.in_(as_ids(ids)))))
    # A foreign key ties a row of history to its task instance; they are deleted together.
    latest = _latest(session, {tuple(row[3:7]) for row in rows})
    return {
        UUID(str(ti_id)): OwnerState(
            phase_of_replaced(state),
            # The foreign key ensures that it is there; otherwise that try counts as ALIVE.
            phase_of(latest.get(tuple(names[:4]))),
            _in_words(*names),
            state or NOT_STARTED,
            ended=ended,
            dag_id=names[0],
        )
        for ti_id, state, ended, *names in rows
    }


def _latest(session: Any, tasks: Collection[tuple[Any, ...]]) -> dict[tuple[Any, ...], str | None]:
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817

    key = key_of(TI)
    if not tasks:
        return {}
    rows = session.execute(select(*key, TI.state).where(tuple_(*key).in_(list(tasks))))
    return {tuple(row[:4]): row[4] for row in rows}


def _with_releases(session: Any, owners: Mapping[UUID, OwnerState]) -> dict[UUID, OwnerState]:
    """The same, with the releases of tries that are over and have not succeeded."""
    over = [
        ti_id for ti_id, owner in owners.items() if owner.phase not in (TryPhase.ALIVE, TryPhase.SUCCEEDED)
    ]
    found = releases_of(session, over)
    return {ti_id: replace(owner, release=found.get(ti_id)) for ti_id, owner in owners.items()}


def releases_of(session: Any, ti_ids: Collection[UUID]) -> dict[UUID, Release]:
    """The releases of these tries, where there are some. One query for each 500."""
    from airflow.models.variable import Variable

    keys = {release_key(ti_id): ti_id for ti_id in ti_ids}
    found: dict[UUID, Release] = {}
    for some in chunks(list(keys), IDS_PER_QUERY):
        rows = session.scalars(select(Variable).where(Variable.key.in_(some)))
        found |= {keys[row.key]: Release.parse(_value(row)) for row in rows}
    return found


def _value(variable: Any) -> str | None:
    """A Variable's value; None if it can't be decrypted."""
    value: str | None = variable.get_val()
    return value


def as_ids(ids: Sequence[UUID]) -> list[Any]:
    """Ids of task instances in the type of their column."""
    # Up to Airflow 3.2 the ids of task instances are text, in every database.
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817

    try:
        is_text = TI.__table__.c.id.type.python_type is str
    except NotImplementedError:  # Airflow 3.0: SQLAlchemy 1.4 does not know the type where databases differ
        is_text = True
    return [str(ti_id) for ti_id in ids] if is_text else list(ids)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        words = str(error).splitlines()[0]
        hint = " Is this the right AIRFLOW_HOME?" if _has_no_tables(words) else ""
        raise AirflowUnavailable(f"Airflow's database did not answer: {words}.{hint}") from error


def _has_no_tables(words: str) -> bool:
    """Whether SQLite or PostgreSQL complains that ``airflow db migrate`` was not run on this database."""
    return "no such table" in words or "UndefinedTable" in words


@contextmanager
def session_of_airflow() -> Iterator[Any]:
    """A session of Airflow's own.

    :raises AirflowUnavailable: the database does not answer.
    """
    from airflow.utils.session import create_session

    with _translated(), create_session() as session:
        yield session
