"""What Airflow's answers on tries mean, and that they travel."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from airflow_cancel_provider.jobs import RemoteJob
from airflow_cancel_provider.owner import TaskKey
from airflow_cancel_provider.reaper.backends.base import (
    OwnerState,
    TryPhase,
    phase_of,
    phase_of_replaced,
)
from airflow_cancel_provider.release import Release

S = TryPhase
JOB = RemoteJob("emr://aws_default@us-east-1/j-1/s-1")


@pytest.mark.parametrize(
    "state, expected",
    [
        (None, S.ALIVE),
        ("running", S.ALIVE),
        ("queued", S.ALIVE),
        ("deferred", S.ALIVE),
        ("restarting", S.ALIVE),
        ("up_for_reschedule", S.ALIVE),
        ("a state to come", S.ALIVE),
        ("up_for_retry", S.RETRYING),
        ("success", S.SUCCEEDED),
        ("failed", S.FAILED),
        ("skipped", S.FAILED),
        ("upstream_failed", S.FAILED),
        ("awaiting_input", S.ALIVE),
        ("removed", S.REMOVED),
    ],
)
def test_what_a_state_means(state: str | None, expected: TryPhase) -> None:
    assert phase_of(state) is expected
    is_kept = expected in (S.SUCCEEDED, S.REMOVED)
    assert phase_of_replaced(state) is (expected if is_kept else S.FAILED)


def test_a_try_for_people() -> None:
    assert TaskKey("d", "r", "t", 3).with_try(2) == "d / r / t[3] try 2"
    assert TaskKey("d", "r", "t", -1).with_try(0) == "d / r / t"


class TestAnswer:
    @pytest.mark.parametrize(
        "answer",
        [
            OwnerState(S.ALIVE, task="d / r / t", state="running"),
            OwnerState(S.FAILED, S.RETRYING, "d / r / t", "failed", Release(all=False, jobs=(JOB,))),
            OwnerState(S.FAILED, state="failed", ended=datetime(2026, 11, 20, 12, tzinfo=UTC)),
            OwnerState(S.DELETED, release=Release(all=True)),
            OwnerState(S.UNKNOWN),
        ],
    )
    def test_there_and_back(self, answer: OwnerState) -> None:
        assert OwnerState.from_json(json.loads(json.dumps(answer.as_json()))) == answer

    def test_whose_dag_it_is_does_not_travel(self) -> None:
        assert "dag_id" not in OwnerState(S.ALIVE, dag_id="secret").as_json()
