"""Ends of jobs as others than their task have seen them, and several who write them at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from airflow_cancel_provider import ends_on_record
from airflow_cancel_provider.ends_on_record import write_in_database
from airflow_cancel_provider.inventory import inventory
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.reaper.backends.database import session_of_airflow
from airflow_cancel_provider.record import Actor, JobEnd, TryRecord
from tests.reaper_airflow import Tables, tables
from tests.record_fixtures import Records, records

__all__ = ["records", "tables"]

TASK = TaskKey("dag", "run", "task")
FIRST, SECOND, THIRD = (RemoteJob(f"batch://aws_default@us-east-1/{number}") for number in range(3))


def end(by: Actor) -> JobEnd:
    return JobEnd(JobState.CANCELLED, by, "why", 1795000000.0)


def write(job: RemoteJob, by: Actor) -> None:
    with session_of_airflow() as session:
        write_in_database(session, {TASK: {job: end(by)}})


def known() -> dict[RemoteJob, str]:
    with session_of_airflow() as session:
        return {entry.job: entry.end.by for entry in inventory(session).entries if entry.end}


@contextmanager
def meanwhile(tables: Tables, job: RemoteJob, by: Actor, *, times: int = 1) -> Iterator[None]:
    """Somebody else writes an end whenever the next writer has read, and is about to write."""
    left = [None] * times

    def write_too(_: Any, __: Any, statement: str, *___: Any) -> None:
        if left and not statement.startswith("SELECT"):
            left.pop()
            waiting, left[:] = list(left), []
            write(job, by)
            left[:] = waiting

    event.listen(tables.engine, "before_cursor_execute", write_too)
    yield
    event.remove(tables.engine, "before_cursor_execute", write_too)
    assert not left


@pytest.mark.parametrize("is_first", [True, False], ids=["no end on record", "one on record"])
def test_two_who_write_at_once_lose_nothing(tables: Tables, records: Records, is_first: bool) -> None:
    """As a person and the reaper, who have cancelled jobs of one task and see them end."""
    records.put(TryRecord(uuid4(), jobs=(FIRST, SECOND, THIRD)), "failed")
    if not is_first:
        write(THIRD, Actor.SENTINEL)
    with meanwhile(tables, SECOND, Actor.REAPER):
        write(FIRST, Actor.USER)
    before = {} if is_first else {THIRD: Actor.SENTINEL}
    assert known() == {FIRST: Actor.USER, SECOND: Actor.REAPER, **before}


def test_who_comes_too_late_again_and_again_gives_up(
    tables: Tables, records: Records, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ends_on_record, "ATTEMPTS", 1)
    records.put(TryRecord(uuid4(), jobs=(FIRST, SECOND)), "failed")
    with meanwhile(tables, SECOND, Actor.REAPER):
        write(FIRST, Actor.USER)
    assert known() == {SECOND: Actor.REAPER}
    assert "is not put on record of dag / run / task: others write there" in caplog.text


@pytest.mark.parametrize("place", ["reaper@us-east-1", "aws_default", "@us-east-1"])
def test_who_reaches_the_job_another_way(records: Records, place: str) -> None:
    """As a reaper with a connection of its own, or a person at the command line."""
    records.put(TryRecord(uuid4(), jobs=(FIRST, SECOND)), "failed")
    write(RemoteJob(f"batch://{place}/{FIRST.id}"), Actor.REAPER)
    assert known() == {FIRST: Actor.REAPER}
    write(FIRST, Actor.SERVICE)
    assert known() == {FIRST: Actor.REAPER}
