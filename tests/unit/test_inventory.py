"""The inventory: jobs on record, over Airflow's own tables."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from airflow_cancel_provider.ends_on_record import ENDS_KEY, OF_TRIGGER
from airflow_cancel_provider.inventory import Inventory, inventory
from airflow_cancel_provider.jobs import JobState, RemoteJob
from airflow_cancel_provider.owner import TaskKey, deployment_of
from airflow_cancel_provider.reaper.backends.database import session_of_airflow
from airflow_cancel_provider.record import EARLIER_KEY, RECORD_KEY, Actor, JobEnd, TryRecord, TryState
from tests.reaper_airflow import tables
from tests.record_fixtures import AT, Records, records

__all__ = ["records", "tables"]


def new_job(service: str = "batch") -> RemoteJob:
    scope = None if service == "batch" else "j-1"
    return RemoteJob.of(service, str(uuid4()), scope=scope, conn_id="aws_default", region="us-east-1")


def listed(**filters: Any) -> Inventory:
    with session_of_airflow() as session:
        return inventory(session, **filters)


@pytest.mark.usefixtures("tables")
def test_none() -> None:
    assert listed() == Inventory([], 0)


def test_a_job_of_a_task_that_runs(records: Records) -> None:
    ti_id, job = uuid4(), new_job()
    record = TryRecord(ti_id, jobs=(job,), submitted={job: AT.timestamp()})
    records.put(record, try_number=3, map_index=2)
    (entry,) = listed().entries
    assert (entry.job, entry.ti_id, entry.ti_state) == (job, ti_id, "running")
    assert entry.task == TaskKey("dag", "run", "task", 2)
    assert (entry.try_number, entry.submitted_at, entry.end) == (3, AT, None)
    assert (entry.state, entry.is_orphan, entry.is_current_try) == ("living", False, True)


def test_only_some_of_the_jobs_of_a_task(records: Records) -> None:
    """The page asks for the few that it shows, again and again; a task may have started thousands."""
    jobs = [new_job() for _ in range(3)]
    records.put(TryRecord(uuid4(), jobs=tuple(jobs)))
    found = listed(tasks=[TaskKey("dag", "run", "task")], jobs=[jobs[1]])
    assert ([entry.job for entry in found.entries], found.total) == ([jobs[1]], 1)


def test_an_end_that_somebody_saw(records: Records) -> None:
    ti_id, job = uuid4(), new_job()
    end = JobEnd(JobState.CANCELLED, Actor.SENTINEL, "killed", 5.0)
    records.put(TryRecord(ti_id, jobs=(job,), ends={job: end}), "failed")
    (entry,) = listed().entries
    assert (entry.state, entry.end, entry.is_orphan) == ("ended", end, False)


@pytest.mark.parametrize(
    "ti_state, state, is_orphan",
    [
        (None, "living", False),
        ("deferred", "living", False),
        ("up_for_reschedule", "living", False),
        ("up_for_retry", "living", False),
        ("success", "released", False),
        ("failed", "unknown", True),
        ("skipped", "unknown", True),
        ("removed", "unknown", True),
        ("a new state", "living", False),
    ],
)
def test_states(records: Records, ti_state: str | None, state: str, is_orphan: bool) -> None:
    records.put(TryRecord(uuid4(), jobs=(new_job(),)), ti_state)
    (entry,) = listed().entries
    assert (entry.state, entry.is_orphan) == (state, is_orphan)


@pytest.mark.parametrize("ti_state", ["deferred", "failed", None])
@pytest.mark.parametrize("name, is_own", [("production", True), ("staging", False)])
def test_a_record_that_another_airflow_wrote(
    records: Records, monkeypatch: pytest.MonkeyPatch, ti_state: str | None, name: str, is_own: bool
) -> None:
    """On a copy of its database tasks look as if they had failed; the reaper calls such jobs foreign."""
    monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__DEPLOYMENT", name)
    records.put(TryRecord(uuid4(), jobs=(new_job(),), deployment=deployment_of("production")), ti_state)
    (entry,) = listed().entries
    state = "unknown" if ti_state == "failed" else "living"
    assert (entry.state, entry.is_orphan) == ((state, state == "unknown") if is_own else ("foreign", False))


def test_what_was_released_is_no_orphan(records: Records) -> None:
    ti_id, job, kept = uuid4(), new_job(), new_job()
    records.put(TryRecord(ti_id, jobs=(job, kept)), "failed")
    records.tables.release(ti_id, job)
    states = {entry.job: (entry.state, entry.is_orphan) for entry in listed().entries}
    assert states == {job: ("released", False), kept: ("unknown", True)}
    assert [entry.job for entry in listed(orphans_only=True).entries] == [kept]


def test_a_try_that_has_returned_releases_its_jobs(records: Records) -> None:
    records.put(TryRecord(uuid4(), TryState.RETURNED, (new_job(),)), "failed")
    (entry,) = listed().entries
    assert (entry.state, entry.is_orphan) == ("released", False)


def test_a_try_whose_place_another_has_taken(records: Records) -> None:
    before, job = uuid4(), new_job()
    records.put(TryRecord(before, jobs=(job,)), "running", ti=uuid4(), try_number=2)
    records.tables.history(before, "failed", try_number=1)
    (entry,) = listed().entries
    assert (entry.ti_id, entry.try_number, entry.ti_state) == (before, 1, "failed")
    assert (entry.is_current_try, entry.state, entry.is_orphan) == (False, "unknown", True)


def test_what_was_taken_over_lives_with_its_keeper(records: Records) -> None:
    before, now, job = uuid4(), uuid4(), new_job()
    records.tables.history(before, "failed", try_number=1)
    earlier = TryRecord(before, jobs=(job,))
    records.put(TryRecord(now, earlier=(earlier,)), "running", try_number=2)
    (entry,) = listed().entries
    assert (entry.ti_id, entry.try_number, entry.is_current_try) == (before, 1, False)
    assert (entry.state, entry.is_orphan) == ("living", False)


def test_jobs_of_earlier_tries_are_listed_beside_those_of_the_present_one(records: Records) -> None:
    before, now, first, second = uuid4(), uuid4(), new_job(), new_job()
    records.tables.history(before, "failed", try_number=1)
    end = JobEnd(JobState.CANCELLED, Actor.SENTINEL, "killed", 1.0)
    earlier = TryRecord(before, jobs=(first,), ends={first: end})
    records.put(TryRecord(now, jobs=(second,)), "running", try_number=2)
    records.xcom([earlier.as_json()], key=EARLIER_KEY)
    found = {entry.job: (entry.try_number, entry.state, entry.end) for entry in listed().entries}
    assert found == {first: (1, "ended", end), second: (2, "living", None)}


@pytest.mark.parametrize("state", ["running", "up_for_retry"])
def test_an_earlier_job_without_an_end_is_nobodys(records: Records, state: str) -> None:
    before, job = uuid4(), new_job()
    records.tables.history(before, "failed", try_number=1)
    records.tables.current(uuid4(), state, try_number=2)
    records.xcom([TryRecord(before, jobs=(job,)).as_json()], key=EARLIER_KEY)
    (entry,) = listed().entries
    assert (entry.try_number, entry.state, entry.is_orphan) == (1, "unknown", True)


def test_a_job_that_was_taken_over_is_listed_once(records: Records) -> None:
    before, job = uuid4(), new_job()
    records.tables.history(before, "failed", try_number=1)
    earlier = TryRecord(before, jobs=(job,))
    records.put(TryRecord(uuid4(), earlier=(earlier,)), "running", try_number=2)
    records.xcom([earlier.as_json()], key=EARLIER_KEY)
    (entry,) = listed().entries
    assert entry.state == "living"


def test_a_try_that_airflow_has_no_row_of(records: Records) -> None:
    records.put(TryRecord(uuid4(), jobs=(new_job(),)), "success", ti=uuid4())
    (entry,) = listed().entries
    assert (entry.try_number, entry.ti_state, entry.state, entry.is_orphan) == (0, None, "unknown", True)


def odd_record(**parts: Any) -> dict[str, Any]:
    """A record of which a part is no such part."""
    return TryRecord(uuid4(), jobs=(RemoteJob("batch://@us-east-1/a"),)).as_json() | parts


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "x",
        {"ti_id": 1},
        {"ti_id": str(uuid4()), "jobs": ["nonsense"]},
        *(odd_record(submitted={"batch://@us-east-1/a": at}) for at in (1e300, -1e300, float("nan"))),
        json.dumps({"__classname__": "not.Allowed", "__version__": 1, "__data__": 1}),
    ],
)
def test_what_is_no_record_is_passed_over(records: Records, value: Any) -> None:
    records.tables.current(uuid4(), "running", task_id="other")
    records.xcom(value, task_id="other")
    job = new_job()
    records.put(TryRecord(uuid4(), jobs=(job,)))
    assert [entry.job for entry in listed().entries] == [job]


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, "x", ["x"], {"nonsense": {}}, {"batch://@us-east-1/a": {"state": "CANCELLED"}}),
        *({"batch://@us-east-1/a": {"state": "CANCELLED", "by": "user", "at": at}} for at in (1e300, "x")),
        json.dumps({"__classname__": "not.Allowed", "__version__": 1, "__data__": 1}),
    ],
)
def test_what_is_no_end_is_passed_over(records: Records, value: Any) -> None:
    job = new_job()
    records.put(TryRecord(uuid4(), jobs=(job,)))
    records.xcom(value, ENDS_KEY)
    assert [(entry.job, entry.end) for entry in listed().entries] == [(job, None)]


def test_an_end_counts_for_the_jobs_of_its_own_task_instance(records: Records) -> None:
    job = new_job()
    records.put(TryRecord(uuid4(), jobs=(job,)))
    end = JobEnd(JobState.CANCELLED, Actor.USER, "", 1.0)
    records.xcom({str(job): end.as_json()}, ENDS_KEY, task_id="another")
    assert [entry.end for entry in listed().entries] == [None]
    records.xcom({str(job): end.as_json()}, ENDS_KEY)
    assert [entry.end for entry in listed().entries] == [end]


@pytest.mark.parametrize("first", [Actor.TRIGGER, Actor.SERVICE])
def test_who_has_cancelled_a_job_knows_most_of_its_end(records: Records, first: Actor) -> None:
    job = new_job()
    records.put(TryRecord(uuid4(), jobs=(job,)))
    ends = {by: JobEnd(JobState.CANCELLED, by, "", 1.0) for by in (Actor.TRIGGER, Actor.SERVICE)}
    other = Actor.SERVICE if first is Actor.TRIGGER else Actor.TRIGGER
    records.xcom({str(job): ends[first].as_json()}, OF_TRIGGER.format(job.service))
    records.xcom({str(job): ends[other].as_json()}, ENDS_KEY)
    assert [entry.end for entry in listed().entries] == [ends[Actor.TRIGGER]]


@pytest.fixture
def many(records: Records) -> list[RemoteJob]:
    """Six jobs, the oldest first, of as many task instances."""
    jobs = [new_job(service) for service in ("batch", "emr") * 3]
    for i, job in enumerate(jobs):
        at = (AT + timedelta(hours=i)).timestamp()
        names = {"dag_id": f"dag{i % 2}", "run_id": f"run{i % 3}", "task_id": f"task{i}", "map_index": i - 1}
        state = "failed" if i == 0 else "running"
        records.put(TryRecord(uuid4(), jobs=(job,), submitted={job: at}), state, **names)
    return jobs


@pytest.mark.parametrize(
    "filters, expected",
    [
        ({}, [5, 4, 3, 2, 1, 0]),
        ({"dag_ids": ["dag1"]}, [5, 3, 1]),
        ({"dag_ids": []}, []),
        ({"dag_ids": ["dag1"], "dag_id": "dag0"}, []),
        ({"dag_id": "dag0"}, [4, 2, 0]),
        ({"run_id": "run2"}, [5, 2]),
        ({"task_id": "task3"}, [3]),
        ({"map_index": -1}, [0]),
        ({"service": "emr"}, [5, 3, 1]),
        ({"states": ["living"]}, [5, 4, 3, 2, 1]),
        ({"states": ["unknown", "ended"]}, [0]),
        ({"orphans_only": True}, [0]),
        ({"since": AT + timedelta(hours=4)}, [5, 4]),
    ],
)
def test_filters(many: list[RemoteJob], filters: dict[str, Any], expected: list[int]) -> None:
    page = listed(**filters)
    assert [many.index(entry.job) for entry in page.entries] == expected
    assert page.total == len(expected)


@pytest.mark.parametrize("states", [None, ["living", "unknown"]])
def test_pages(many: list[RemoteJob], states: list[str] | None) -> None:
    page = listed(states=states, limit=2, offset=3)
    assert ([many.index(entry.job) for entry in page.entries], page.total) == ([2, 1], 6)


def test_few_queries_for_many_records(records: Records) -> None:
    """A page of ten thousand task instances asks as little as one of ten."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel

    tables, size = records.tables, 10_000
    tries, xcoms = [], []
    for i in range(size):
        ti_id, job, names = uuid4(), new_job(), {"task_id": f"task{i}"}
        named = tables._names(names)
        key = {name: named[name] for name in ("dag_id", "run_id", "task_id", "map_index")}
        record = TryRecord(ti_id, jobs=(job,), submitted={job: AT.timestamp() + i})
        tries.append({"id": tables._as_id(ti_id), "state": "running", **named})
        xcoms.append({"dag_run_id": 1, "key": RECORD_KEY, "value": record.as_json(), "timestamp": AT, **key})
    with tables.engine.begin() as connection:
        connection.execute(TaskInstance.__table__.insert(), tries)
        connection.execute(XComModel.__table__.insert(), xcoms)
    sent: list[str] = []
    event.listen(tables.engine, "before_cursor_execute", lambda *call: sent.append(call[2]))
    begun = time.process_time()
    page = listed(limit=50)
    took = time.process_time() - begun
    assert (len(page.entries), page.total, len(sent)) == (50, size, 2)
    assert took < 5.0
