"""What is stored where others can write: XCom, the task state store, Variables, notes, Airflow's answers."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.engine.recorded import by_service, cancel_over_connections, cancel_requests
from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.guard.events import JobsStarted, RecordInherited, SubmissionIntended
from airflow_cancel_provider.guard.ledger import TryLedger
from airflow_cancel_provider.guard.sentinel.notes import UNREADABLE, event_of, notes_of
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.owner import Label
from airflow_cancel_provider.reaper.backends.base import OwnerState
from airflow_cancel_provider.record import JobEnd, StoredIntent, TryRecord, TryState
from airflow_cancel_provider.release import Release
from airflow_cancel_provider.triggers.ownership import DeferredTry, Verdict, judged
from tests.fuzz.strategies import ANY_JSON, examples, spoilt
from tests.memory_service import Memory, MemoryService
from tests.model.world import CLIENT, DEPLOYMENT, TASK, label, owner, ti_id

QUIET = logging.getLogger("tests.fuzz")
QUIET.disabled = True
JOB, EARLIER = (RemoteJob.of("memory", name, scope="place") for name in ("own", "earlier"))
FULL = TryRecord(
    ti_id(0),
    TryState.DEFERRED,
    (JOB,),
    (StoredIntent("memory", None, None, "place", label(0, reconnects=False), 5.0),),
    {JOB: 4.5},
    (TryRecord(ti_id(1), TryState.RUNNING, (EARLIER,)),),
    {JOB: 4.0},
    {JOB: JobEnd(JobState.CANCELLED, "sentinel", "why", 6.0)},
)
RELEASE = {
    "all": False,
    "jobs": [str(JOB)],
    "at": "2026-01-01T00:00:00+00:00",
    "more": ["memory://a@b/*"],
    "task": "t",
}
ANSWER = OwnerState.from_json(
    {
        "phase": "FAILED",
        "later": "ALIVE",
        "task": "t",
        "state": "failed",
        "release": Release(all=False, jobs=(JOB,)).as_json(),
        "ended": "2026-11-20T12:00:00+00:00",
    }
).as_json()


def read(values: Any) -> TryRecord | None:
    with suppress(InvalidInput):
        return TryRecord.from_json(values)
    return None


def test_a_whole_record_survives_its_way_through_json() -> None:
    assert TryRecord.from_json(json.loads(json.dumps(FULL.as_json()))) == FULL


@examples(80)
@given(ANY_JSON | spoilt(FULL.as_json()))
def test_what_is_stored_is_a_record_or_refused(values: Any) -> None:
    record = read(values)
    if record is None:
        return
    ledger = TryLedger()
    ledger.apply(RecordInherited(record))
    assert {job for one in (record, *record.earlier) for job in one.jobs} == set(ledger.jobs)
    for request in cancel_requests(record, "fuzz", QUIET, TASK):
        assert by_service([request]) or not (request.jobs or request.intents)
    standing = judged(DeferredTry(TASK, ti_id(0)), "failed", record)
    assert standing.verdict in Verdict


@examples(40)
@given(st.data())
def test_no_record_makes_us_cancel_what_is_not_ours(data: st.DataObject) -> None:
    """Jobs carry labels as they like, and the record names any of them."""
    memory = Memory()
    names = data.draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1))
    labels = st.one_of(
        st.none(),
        st.builds(label, st.integers(-1, 3), reconnects=st.booleans()),
        st.builds(lambda number: Label("99999999", ti_id(number)), st.integers(0, 1)),
    )
    for name in names:
        job, memory.labels[name] = memory.job(name), data.draw(labels)  # type: ignore[assignment]
        memory.claims.append(JobStatus(job, JobState.RUNNING, label=memory.labels[name]))
    jobs = st.lists(st.sampled_from([RemoteJob.of("memory", name, scope="place") for name in names]))
    earlier = TryRecord(ti_id(1), jobs=tuple(data.draw(jobs)), not_before={})
    own = replace(FULL, jobs=tuple(data.draw(jobs)), earlier=(earlier,), not_before={}, submitted={}, ends={})
    record = read(data.draw(spoilt(own.as_json())))
    if record is None:
        return
    requests = cancel_requests(record, "fuzz", QUIET, TASK)
    ids = {one.ti_id for one in (record, *record.earlier)}
    engine = cancel_over_connections(
        lambda _, conn_id, region: MemoryService(memory, conn_id, region),
        requests,
        DEPLOYMENT,
        call_seconds=1,
    )
    engine.step()
    for name, _ in memory.sent:
        found = memory.labels.get(name)
        # What carries no label can only be told by the record.
        if found is not None:
            assert found.deployment == DEPLOYMENT
            assert found.ti_id in ids
            assert found.ti_id == record.ti_id or found.task == TASK.digest


@examples(80)
@given(ANY_JSON | spoilt(RELEASE))
def test_a_release_that_can_not_be_read_covers_everything(values: Any) -> None:
    release = Release.from_json(values)
    jobs = values.get("jobs") if isinstance(values, dict) else None
    named = [each for each in jobs if isinstance(each, str)] if isinstance(jobs, list) else []
    assert release.is_readable or release.all
    assert release.covers(JOB) or str(JOB) not in named
    assert Release.from_json(json.loads(json.dumps(release.as_json()))).covers(JOB) or not release.covers(JOB)


@examples(40)
@given(st.text() | st.none())
def test_a_variable_with_any_text_is_a_release(text: str | None) -> None:
    release = Release.parse(text)
    assert release.is_readable or release.all


@examples(60)
@given(ANY_JSON | spoilt(ANSWER))
def test_an_answer_of_airflow_is_understood_or_refused(values: Any) -> None:
    with suppress(KeyError, TypeError, ValueError):
        answer = OwnerState.from_json(values)
        assert str(answer)


NOTES = [
    json.loads(json.dumps(note))
    for event in (
        SubmissionIntended("1", CLIENT, "place", label(0, reconnects=True), at=5.0, ti_id=ti_id(0)),
        JobsStarted("1", (JOB,), CLIENT, 5.0, 4.0, ti_id(0)),
    )
    for note in notes_of(event, lambda _: "client")
]


@examples(60)
@given(ANY_JSON | st.sampled_from(NOTES).flatmap(spoilt))
def test_a_note_is_an_event_or_refused(note: Any) -> None:
    ledger = TryLedger()
    try:
        event = event_of(note, {"client": CLIENT})
        ledger.apply(event)
    except UNREADABLE:
        return
    assert list(notes_of(event, lambda _: "client")) or isinstance(event, JobsStarted)


@examples(30)
@given(st.sampled_from(NOTES))
def test_an_event_survives_its_way_to_the_sentinel(note: dict[str, Any]) -> None:
    (again,) = notes_of(event_of(note, {"client": CLIENT}), lambda _: "client")
    assert again == note


assert owner(0).label == label(0, reconnects=False)
