"""Airflow by its own models: exact, for processes that may use the metadata database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.exc import SQLAlchemyError

from airflow_cancel_provider.exceptions import AirflowUnavailable
from airflow_cancel_provider.jobs import JobStatus, RemoteJob
from airflow_cancel_provider.owner import OWNER_PREFIX, Label, Owner
from airflow_cancel_provider.reaper.airflows.base import Airflow, standing, standing_before, task_name
from airflow_cancel_provider.reaper.airflows.records import by_address, by_intent
from airflow_cancel_provider.reaper.decide import OwnerState, Standing
from airflow_cancel_provider.services.base import chunks

IDS_PER_QUERY = 500


class Database(Airflow):
    """Asks the metadata database: every try has a task-instance id of its own, also when it is history.

    :param trusts_records: also find the owner of a job without a label: by XCom ``remote_jobs``; or, where a
        task died before it could write that, by what it was about to submit, where, and when. Whoever may
        write a task's XCom can then have other jobs cancelled with the reaper's identity.
    """

    def __init__(self, *, trusts_records: bool = False) -> None:
        self.trusts_records = trusts_records

    def owners(self, labels: Collection[Label]) -> Mapping[UUID, OwnerState]:
        """One query for each 500 tries, two more where some are history, one where some have no trace."""
        by_id = {label.ti_id: label for label in labels}
        found: dict[UUID, OwnerState] = {}
        with _session() as session:
            for some in chunks(list(by_id), IDS_PER_QUERY):
                found |= _current(session, some)
                missing = [ti_id for ti_id in some if ti_id not in found]
                found |= _archived(session, missing) if missing else {}
                found |= _deleted(session, [by_id[ti_id] for ti_id in missing if ti_id not in found])
        return found

    def recorded(self, claims: Sequence[JobStatus], *, is_final: bool) -> Mapping[RemoteJob, OwnerState]:
        """One query over all XComs ``remote_jobs``, and one over ``remote_jobs_intents``."""
        if not self.trusts_records or not claims:
            return {}
        with _session() as session:
            found = by_address(session, claims)
            rest = [claim for claim in claims if claim.job not in found]
            return found | (by_intent(session, rest, is_final=is_final) if rest else {})

    def variable(self, key: str) -> str | None:
        """An Airflow Variable that was set in the database."""
        # Variable.get would say of a database that does not answer that there is no such Variable.
        from airflow.models.variable import Variable

        with _session() as session:
            found = session.scalar(select(Variable).where(Variable.key == key))
            value: str | None = found.get_val() if found else None
        if found and value is None:
            raise AirflowUnavailable(
                f"Airflow Variable {key} can't be decrypted with this fernet_key. Nothing is cancelled."
            )
        return value

    def set_variable(self, key: str, value: str | None) -> None:
        """Write an Airflow Variable."""
        from airflow.models.variable import Variable

        with _translated():
            if value is None:
                Variable.delete(key)
            else:
                Variable.set(key, value)


def _current(session: Any, ids: Sequence[UUID]) -> dict[UUID, OwnerState]:
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817

    query = select(TI.id, TI.state, TI.dag_id, TI.run_id, TI.task_id, TI.map_index, TI.try_number)
    return {
        UUID(str(ti_id)): OwnerState(standing(state), task=task_name(*names), state=state or "not started")
        for ti_id, state, *names in session.execute(query.where(TI.id.in_(_as_ids(ids))))
    }


def _archived(session: Any, ids: Sequence[UUID]) -> dict[UUID, OwnerState]:
    from airflow.models.taskinstancehistory import TaskInstanceHistory as TIH  # noqa: N817

    query = select(
        TIH.task_instance_id, TIH.state, TIH.dag_id, TIH.run_id, TIH.task_id, TIH.map_index, TIH.try_number
    )
    rows = list(session.execute(query.where(TIH.task_instance_id.in_(_as_ids(ids)))))
    latest = _latest(session, {tuple(row[2:6]) for row in rows})
    found = {}
    for ti_id, state, *names in rows:
        later = latest.get(tuple(names[:4]))
        found[UUID(str(ti_id))] = OwnerState(standing_before(state), later, task_name(*names), state or "")
    return found


def _deleted(session: Any, labels: Sequence[Label]) -> dict[UUID, OwnerState]:
    """Tries without a trace, but for a Variable, perhaps, which says that its work was not done."""
    from airflow.models.variable import Variable

    keys = {f"{OWNER_PREFIX}{label.ti_id}": label for label in labels}
    known = set(session.scalars(select(Variable.key).where(Variable.key.in_(keys)))) if keys else set()
    # `airflow db clean` takes a task's old tries, and leaves the one that goes on with their jobs.
    handing_on = [label for label in labels if label.reconnects]
    latest = _latest(session, {_names(label.owner)[:4] for label in handing_on if label.owner})
    found = {}
    for key, label in keys.items():
        names = _names(label.owner) if label.owner else None
        later = (latest.get(names[:4]) if names else Standing.UNKNOWN) if label.reconnects else None
        task = task_name(*names) if names else ""
        found[label.ti_id] = OwnerState(Standing.DELETED, later, task, is_unfinished=key in known)
    return found


def _names(owner: Owner) -> tuple[str, str, str, int, int]:
    return owner.dag_id, owner.run_id, owner.task_id, owner.map_index, owner.try_number


def _latest(session: Any, tasks: Collection[tuple[Any, ...]]) -> dict[tuple[Any, ...], Standing]:
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817

    key = (TI.dag_id, TI.run_id, TI.task_id, TI.map_index)
    if not tasks:
        return {}
    rows = session.execute(select(*key, TI.state).where(tuple_(*key).in_(list(tasks))))
    return {tuple(row[:4]): standing(row[4]) for row in rows}


def _as_ids(ids: Sequence[UUID]) -> list[Any]:
    # Task instances have UUIDs as text up to Airflow 3.2, whatever the database.
    from airflow.models.taskinstance import TaskInstance as TI  # noqa: N817

    try:
        is_text = TI.__table__.c.id.type.python_type is str
    except NotImplementedError:  # of Airflow 3.0's: SQLAlchemy 1.4 does not say it where databases differ
        is_text = True
    return [str(ti_id) for ti_id in ids] if is_text else list(ids)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        words = str(error).splitlines()[0]
        raise AirflowUnavailable(
            f"Airflow's database did not answer: {words}. Nothing is cancelled."
        ) from error


@contextmanager
def _session() -> Iterator[Any]:
    from airflow.utils.session import create_session

    with _translated(), create_session() as session:
        yield session
