"""What a cancellation comes to: the states of its jobs, or an error that names them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given

from airflow_cancel_provider.cancellation import Cancellation
from airflow_cancel_provider.exceptions import (
    CancelRefused,
    NotEnded,
    NotRunning,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus
from airflow_cancel_provider.watch import poll
from tests.cancellation_fixtures import JOBS, LOG, REASON, RESULTS, STATUSES, end, judged, memory, requested
from tests.memory_service import Memory

__all__ = ["memory"]


class TestVerdict:
    def test_final_states_by_address(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", "b")
        end(memory, "a")
        end(memory, "b", state=JobState.SUCCEEDED)
        poll(cancellation, memory.pool(), LOG)
        assert cancellation.verdict() == {"memory:///place/a": "CANCELLED", "memory:///place/b": "SUCCEEDED"}

    def test_an_accepted_request_is_no_end(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", "b")
        end(memory, "b")
        poll(cancellation, memory.pool(), LOG)
        with pytest.raises(NotEnded, match="waiter_max_attempts") as caught:
            cancellation.verdict()
        assert caught.value.jobs == ("memory:///place/a is RUNNING",)
        assert cancellation.verdict(ended=False)["memory:///place/a"] == "RUNNING"

    def test_a_job_that_was_never_seen_is_named_too(self, memory: Memory) -> None:
        with pytest.raises(NotEnded, match="memory:///place/a: not seen"):
            requested(memory, "a").verdict()

    def test_refused_jobs_are_settled_and_each_is_named(self, memory: Memory) -> None:
        memory.outcomes |= dict.fromkeys("ab", CancelOutcome.REFUSED)
        cancellation = requested(memory, "a", "b", "c")
        assert [job.id for job in cancellation.open] == ["c"]
        end(memory, "c")
        poll(cancellation, memory.pool(), LOG)
        assert cancellation.is_decided
        assert memory.polls == [["c"]]
        with pytest.raises(CancelRefused) as caught:
            cancellation.verdict()
        assert caught.value.jobs == tuple(f"memory:///place/{name}: REFUSED: {REASON}" for name in "ab")

    def test_a_request_without_answer_is_an_error_although_nobody_waits(self, memory: Memory) -> None:
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        cancellation = requested(memory, "a", "b")
        with pytest.raises(NotEnded, match="memory:///place/a: UNANSWERED") as caught:
            cancellation.verdict(ended=False)
        assert len(caught.value.jobs) == 1

    @pytest.mark.parametrize(
        "state", [JobState.CANCELLING, JobState.CANCELLED, JobState.SUCCEEDED, JobState.GONE]
    )
    def test_a_request_without_answer_is_none_once_its_job_is_seen_to_end(
        self, memory: Memory, state: JobState
    ) -> None:
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        cancellation = requested(memory, "a")
        end(memory, "a", state=state)
        poll(cancellation, memory.pool(), LOG)
        assert cancellation.verdict(ended=False) == {"memory:///place/a": state}
        assert memory.sent == []

    @pytest.mark.parametrize("outcome", [CancelOutcome.ALREADY_ENDED, CancelOutcome.GONE])
    def test_not_running_is_an_error_on_demand(self, memory: Memory, outcome: CancelOutcome) -> None:
        memory.outcomes["a"] = outcome
        cancellation = requested(memory, "a", "b")
        end(memory, "a", "b")
        poll(cancellation, memory.pool(), LOG)
        assert set(cancellation.verdict().values()) == {"CANCELLED"}
        with pytest.raises(NotRunning, match=f"memory:///place/a: {outcome}") as caught:
            cancellation.verdict(fail_if_not_running=True)
        assert len(caught.value.jobs) == 1

    def test_what_runs_may_be_left_running(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", "b", leave_running=True)
        end(memory, "b", state=JobState.PENDING)
        poll(cancellation, memory.pool(), LOG)
        assert [job.id for job in cancellation.open] == ["b"]
        end(memory, "b")
        poll(cancellation, memory.pool(), LOG)
        assert cancellation.verdict() == {"memory:///place/a": "RUNNING", "memory:///place/b": "CANCELLED"}
        assert memory.polls == [["a", "b"], ["b"]]


@given(STATUSES, RESULTS)
def test_a_verdict_is_an_error_that_names_each_open_job_or_none_is_open(
    statuses: Sequence[JobStatus], results: Sequence[CancelResult]
) -> None:
    cancellation = Cancellation(JOBS, REASON)
    cancellation.results.update({result.job: result for result in results})
    cancellation.observe(statuses)
    verdict = judged(cancellation)
    if isinstance(verdict, tuple):
        named = (
            cancellation.open
            if verdict[0] is NotEnded
            else [r.job for r in results if _refused(cancellation, r)]
        )
        assert named
        assert all(str(job) in verdict[1] for job in named)
    else:
        assert not cancellation.open


def _refused(cancellation: Cancellation, result: CancelResult) -> bool:
    return cancellation.results[result.job].outcome is CancelOutcome.REFUSED
