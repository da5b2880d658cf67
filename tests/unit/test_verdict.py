"""What a cancellation comes to: the states of its jobs, or an error that names them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.cancellation import Cancellation, Watch, look
from airflow_cancel_provider.exceptions import (
    CancelRefused,
    JobsError,
    NotEnded,
    NotRunning,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus
from tests.memory_service import Memory

LOG = logging.getLogger(__name__)


REASON = "no longer needed"


@pytest.fixture
def memory() -> Memory:
    return Memory()


def requested(memory: Memory, *ids: str, **options: Any) -> Cancellation:
    """A cancellation of running jobs whose first request was sent."""
    cancellation = Cancellation(memory.jobs(*ids), REASON, **options)
    cancellation.request(memory.pool())
    memory.sent.clear()
    return cancellation


def end(memory: Memory, *ids: str, state: JobState = JobState.CANCELLED) -> None:
    memory.states |= dict.fromkeys(ids, state)


class TestVerdict:
    def test_final_states_by_address(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", "b")
        end(memory, "a")
        end(memory, "b", state=JobState.SUCCEEDED)
        look(cancellation, memory.pool(), LOG)
        assert cancellation.verdict() == {"memory:///place/a": "CANCELLED", "memory:///place/b": "SUCCEEDED"}

    def test_an_accepted_request_is_no_end(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", "b")
        end(memory, "b")
        look(cancellation, memory.pool(), LOG)
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
        look(cancellation, memory.pool(), LOG)
        assert cancellation.is_decided
        assert memory.looks == [["c"]]
        with pytest.raises(CancelRefused) as caught:
            cancellation.verdict()
        assert caught.value.jobs == tuple(f"memory:///place/{name}: REFUSED: {REASON}" for name in "ab")

    def test_a_request_without_answer_is_an_error_although_nobody_waits(self, memory: Memory) -> None:
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        cancellation = requested(memory, "a", "b")
        with pytest.raises(NotEnded, match="memory:///place/a: UNANSWERED") as caught:
            cancellation.verdict(ended=False)
        assert len(caught.value.jobs) == 1

    @pytest.mark.parametrize("outcome", [CancelOutcome.ALREADY_ENDED, CancelOutcome.GONE])
    def test_not_running_is_an_error_on_demand(self, memory: Memory, outcome: CancelOutcome) -> None:
        memory.outcomes["a"] = outcome
        cancellation = requested(memory, "a", "b")
        end(memory, "a", "b")
        look(cancellation, memory.pool(), LOG)
        assert set(cancellation.verdict().values()) == {"CANCELLED"}
        with pytest.raises(NotRunning, match=f"memory:///place/a: {outcome}") as caught:
            cancellation.verdict(fail_if_not_running=True)
        assert len(caught.value.jobs) == 1

    def test_what_runs_may_be_left_running(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", "b", leave_running=True)
        end(memory, "b", state=JobState.PENDING)
        look(cancellation, memory.pool(), LOG)
        assert [job.id for job in cancellation.open] == ["b"]
        end(memory, "b")
        look(cancellation, memory.pool(), LOG)
        assert cancellation.verdict() == {"memory:///place/a": "RUNNING", "memory:///place/b": "CANCELLED"}
        assert memory.looks == [["a", "b"], ["b"]]


JOBS = Memory().jobs("a", "b", "c")


STATUSES = st.lists(
    st.builds(
        JobStatus,
        st.sampled_from(JOBS),
        st.sampled_from(JobState),
        st.none() | st.text(),
        st.none() | st.text(),
    ),
    max_size=8,
)


RESULTS = st.lists(
    st.builds(CancelResult, st.sampled_from(JOBS), st.sampled_from(CancelOutcome), st.none() | st.text()),
    max_size=4,
)


def judged(watch: Watch, **how: bool) -> dict[str, str] | tuple[type[JobsError], str]:
    try:
        return watch.verdict(**how)
    except JobsError as error:
        return type(error), str(error)


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
