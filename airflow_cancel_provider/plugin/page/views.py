"""What the page shows to one user: jobs of the Dags that they may read, and what needs attention first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.inventory import RemoteJobEntry, inventory
from airflow_cancel_provider.plugin.event_log import asked_cancels
from airflow_cancel_provider.plugin.page.cross_site import token_for
from airflow_cancel_provider.plugin.page.filters import AGES, PAGE_SIZE, STATES, Filters
from airflow_cancel_provider.plugin.page.rows import Row, is_ended, rows
from airflow_cancel_provider.plugin.permissions import editable, may_read_all, readable
from airflow_cancel_provider.record import RECORD_KEY
from airflow_cancel_provider.services.registry import SERVICES

MOST_ON_TOP = 5
"""Orphans and dead letters that are shown above the table."""
AGE_WORDS = {"1h": "the last hour", "1d": "the last day", "7d": "the last 7 days", "30d": "the last 30 days"}


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that a service refused to cancel."""

    job: str
    task: str
    why: str
    since: str


@dataclass(frozen=True)
class View:
    """Everything that the template needs.

    :param task: what a tab of one task instance is about; empty for the whole page.
    """

    user: str
    token: str
    base: str
    filters: Filters
    rows: list[Row]
    total: int
    dag_ids: list[str]
    orphans: list[Row] = field(default_factory=list)
    orphan_count: int = 0
    letters: list[DeadLetter] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    task: str = ""

    @property
    def first(self) -> int:
        """Number of the first row, from 1 on."""
        return self.filters.offset + 1

    @property
    def last(self) -> int:
        """Number of the last row."""
        return self.filters.offset + len(self.rows)

    @property
    def has_more(self) -> bool:
        """Whether there is another page."""
        return self.last < self.total

    @property
    def may_cancel(self) -> bool:
        """Whether the user may cancel one of the jobs that are shown."""
        return any(row.may_cancel for row in (*self.rows, *self.orphans))


def view(user: Any, filters: Filters, base: str, *, is_tab: bool = False) -> View:
    """Read what is to be shown.

    :param is_tab: for one task instance only, without what needs attention elsewhere.
    :raises AirflowUnavailable: the database does not answer.
    """
    from airflow_cancel_provider.reaper.backends.database import session_of_airflow

    with session_of_airflow() as session:
        dag_ids = readable(user, _dags_with_jobs(session, filters.dag_id if is_tab else ""))
        found, orphans, total = _found(session, dag_ids, filters, is_tab=is_tab)
        asked = asked_cancels(session, {each.job for each in (*found, *orphans)})
        orphans = [each for each in orphans if not is_ended(asked.get(each.job))]
        entries = [*found, *orphans[:MOST_ON_TOP]]
        may_edit = editable(user, {each.task.dag_id for each in entries})
        letters, troubles = ([], []) if is_tab else _letters(user, session, dag_ids)
    return View(
        user=str(user.get_name()),
        token=token_for(user),
        base=base,
        filters=filters,
        rows=rows(found, may_edit, asked, base),
        total=total,
        dag_ids=sorted(dag_ids),
        orphans=rows(orphans[:MOST_ON_TOP], may_edit, asked, base),
        orphan_count=len(orphans),
        letters=letters,
        troubles=troubles,
        task=_task_words(filters) if is_tab else "",
    )


def _found(
    session: Any, dag_ids: Collection[str], filters: Filters, *, is_tab: bool
) -> tuple[Sequence[RemoteJobEntry], Sequence[RemoteJobEntry], int]:
    """Jobs of the page, orphans for its top, and how many jobs there are on all pages."""
    if not is_tab and filters == Filters():
        # Orphans are found by judging every job, so all are read, and once.
        every = inventory(session, dag_ids=dag_ids).entries
        return every[:PAGE_SIZE], [each for each in every if each.is_orphan], len(every)
    found = inventory(
        session,
        dag_ids=dag_ids,
        dag_id=filters.dag_id or None,
        run_id=filters.run_id or None,
        task_id=filters.task_id or None,
        # A tab of a task that is not mapped names no index.
        map_index=-1 if is_tab and filters.map_index is None else filters.map_index,
        service=filters.service or None,
        states=[filters.state] if filters.state else None,
        since=filters.since,
        orphans_only=filters.orphans,
        limit=PAGE_SIZE,
        offset=filters.offset,
    )
    return found.entries, [], found.total


def _dags_with_jobs(session: Any, dag_id: str) -> set[str]:
    """Dags that have started remote jobs; with an id that one only."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select

    if dag_id:
        return {dag_id}
    query = select(XComModel.dag_id).where(XComModel.key == RECORD_KEY).distinct()
    return set(session.scalars(query))


def _letters(user: Any, session: Any, dag_ids: Collection[str]) -> tuple[list[DeadLetter], list[str]]:
    """Jobs that a service refused to cancel, of Dags that the user may read, and what hides others."""
    from airflow_cancel_provider.reaper.backends.database import Database
    from airflow_cancel_provider.reaper.dead_letters import DeadLetters, unacknowledged

    try:
        found = unacknowledged(DeadLetters(Database()).read())
    except InvalidInput as error:
        return [], [str(error)]
    if not found:
        return [], []
    # Their Dag stands in front of the names: ids have no spaces. Where it is not known, it may be any.
    dags = {job: str(letter.get("task") or "").split(" / ")[0] for job, letter in found.items()}
    shown = set(dag_ids) | readable(user, set(dags.values()) - {""})
    may_read_any = may_read_all(user, session)
    letters = [
        DeadLetter(
            job,
            str(letter.get("task") or ""),
            ": ".join(str(letter[key]) for key in ("code", "why") if letter.get(key)),
            str(letter.get("since") or ""),
        )
        for job, letter in found.items()
        if may_read_any or dags[job] in shown
    ]
    return letters, []


def _task_words(filters: Filters) -> str:
    mapped = f"[{filters.map_index}]" if filters.map_index is not None else ""
    return f"{filters.task_id}{mapped}"


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.globals |= {
        "STATES": STATES,
        "AGES": {age: AGE_WORDS[age] for age in AGES},
        "SERVICES": SERVICES,
    }
    return environment


def render(template: str, **values: Any) -> str:
    """HTML in which every value is escaped."""
    return str(_environment().get_template(template).render(**values))
