"""The stored record of a try."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from airflow_cancel_provider.exceptions import InvalidInput
from airflow_cancel_provider.jobs import (
    JobState,
    RemoteJob,
)
from airflow_cancel_provider.record import EARLIEST, Actor, JobEnd, TryRecord

# What tears addresses apart: delimiters, escapes and half escapes, line ends, invisible and reversing marks.


class TestStoredRecord:
    """What anybody may have written."""

    @pytest.mark.parametrize("number", [10**400, "then", None, []])
    @pytest.mark.parametrize("where", ["at", "not_before"])
    def test_a_number_that_is_none_is_no_record(self, where: str, number: object) -> None:
        intent: dict[str, Any] = {
            "service": "batch",
            "conn_id": None,
            "region": None,
            "scope": None,
            "label": None,
            "at": 1,
        }
        values: dict[str, Any] = {"ti_id": str(uuid4()), "state": "running", "jobs": [], "intents": [intent]}
        if where == "at":
            intent["at"] = number
        else:
            values["not_before"] = {"batch://@r/a": number}
        with pytest.raises(InvalidInput, match="not the record of a try"):
            TryRecord.from_json(values)

    @pytest.mark.parametrize("at", [-5.0, 0.0, 1e9, EARLIEST])
    def test_every_time_that_a_date_can_have_is_read_back(self, at: float) -> None:
        job = RemoteJob("batch://@r/a")
        end = JobEnd(JobState.CANCELLED, Actor.TASK, "", at)
        record = TryRecord(uuid4(), jobs=(job,), not_before={job: at}, submitted={job: at}, ends={job: end})
        assert TryRecord.from_json(json.loads(json.dumps(record.as_json()))) == record

    def test_tells_when_jobs_were_submitted_and_how_they_ended(self) -> None:
        job, other = RemoteJob("batch://@r/a"), RemoteJob("emr://c@r/j-1/s-1")
        end = JobEnd(JobState.CANCELLED, Actor.SENTINEL, "the task was killed", 20.5)
        record = TryRecord(uuid4(), jobs=(job, other), submitted={job: 10.5}, ends={job: end})
        stored = json.loads(json.dumps(record.as_json()))
        assert stored["submitted"] == {"batch://@r/a": 10.5}
        assert stored["ends"] == {
            "batch://@r/a": {
                "state": "CANCELLED",
                "by": "sentinel",
                "reason": "the task was killed",
                "at": 20.5,
            }
        }
        assert TryRecord.from_json(stored) == record
        assert TryRecord.from_json({**stored, "submitted": None, "ends": None}).ends == {}

    @pytest.mark.parametrize(
        "part", [{"state": "DONE"}, {"by": "somebody"}, {"at": "then"}, {"at": 10**400}, {"at": None}]
    )
    def test_an_end_that_is_none_is_no_record(self, part: dict[str, Any]) -> None:
        end = {"state": "CANCELLED", "by": "task", "reason": "", "at": 1.0} | part
        values = {"ti_id": str(uuid4()), "state": "running", "jobs": [], "intents": []}
        with pytest.raises(InvalidInput, match="not the record of a try"):
            TryRecord.from_json({**values, "ends": {"batch://@r/a": end}})
