"""Request, escalate, confirm: what is sent, when a job counts as settled, and the verdict."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.cancellation import Cancellation, request
from airflow_cancel_provider.exceptions import (
    CancelRefused,
    NotRunning,
    ServiceUnavailable,
    UnknownScope,
)
from airflow_cancel_provider.jobs import CancelOutcome, CancelResult, JobState, JobStatus
from airflow_cancel_provider.triggers.remote_jobs import watch_from_json
from airflow_cancel_provider.watch import Watch, poll, report
from tests.cancellation_fixtures import (
    DUE,
    JOBS,
    LOG,
    REASON,
    RESULTS,
    STATUSES,
    again,
    end,
    judged,
    memory,
    requested,
)
from tests.memory_service import Memory

__all__ = ["memory"]


class TestRequest:
    def test_every_job_is_asked_once(self, memory: Memory) -> None:
        cancellation = Cancellation(memory.jobs("a", "b", "a"), REASON)
        pool = memory.pool()
        assert [result.outcome for result in cancellation.request(pool)] == [CancelOutcome.REQUESTED] * 2
        assert cancellation.request(pool) == []
        for _ in range(3):
            poll(cancellation, pool, LOG)
        assert memory.sent == [("a", False), ("b", False)]

    def test_a_job_added_later_is_asked_alone(self, memory: Memory) -> None:
        cancellation = requested(memory, "a")
        cancellation.jobs += memory.jobs("b")
        cancellation.request(memory.pool())
        assert memory.sent == [("b", False)]

    def test_what_was_not_answered_is_asked_again_and_nothing_else(self, memory: Memory) -> None:
        memory.outcomes["b"] = CancelOutcome.UNANSWERED
        cancellation = requested(memory, "a", "b")
        poll(cancellation, memory.pool(), LOG)
        memory.outcomes.clear()
        poll(cancellation, memory.pool(), LOG)
        poll(cancellation, memory.pool(), LOG)
        assert memory.sent == [("b", False)] * 2

    @pytest.mark.parametrize("state", [JobState.CANCELLING, JobState.CANCELLED, JobState.GONE])
    def test_a_request_whose_answer_was_lost_is_not_repeated_once_its_work_is_seen(
        self, memory: Memory, state: JobState
    ) -> None:
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        cancellation = requested(memory, "a")
        end(memory, "a", state=state)
        poll(cancellation, memory.pool(), LOG)
        assert memory.sent == []

    @pytest.mark.parametrize("state", [JobState.CANCELLED, JobState.SUCCEEDED])
    def test_an_end_that_a_lost_request_may_have_brought_about_is_not_one_before_it(
        self, memory: Memory, state: JobState
    ) -> None:
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        cancellation = requested(memory, "a")
        # In another process, whose service knows nothing of the first request.
        moved = Cancellation.from_json(json.loads(json.dumps(cancellation.as_json())))
        memory.outcomes["a"] = CancelOutcome.ALREADY_ENDED
        memory.errors.append(ServiceUnavailable("The service is away."))
        poll(moved, memory.pool(), LOG)
        end(memory, "a", state=state)
        poll(moved, memory.pool(), LOG)
        assert moved.results[moved.jobs[0]].outcome is CancelOutcome.ALREADY_ENDED
        if state is JobState.CANCELLED:
            assert moved.verdict(fail_if_not_running=True) == {moved.jobs[0]: "CANCELLED"}
        else:
            with pytest.raises(NotRunning):
                moved.verdict(fail_if_not_running=True)

    def test_a_job_that_the_service_does_not_know_again_is_asked_for_until_it_does(
        self, memory: Memory
    ) -> None:
        memory.outcomes["a"] = CancelOutcome.GONE
        cancellation = requested(memory, "a")
        poll(cancellation, memory.pool(), LOG)
        memory.outcomes.clear()
        poll(cancellation, memory.pool(), LOG)
        poll(cancellation, memory.pool(), LOG)
        assert memory.sent == [("a", False)] * 2


class TestLog:
    def test_of_many_jobs_only_what_is_special_is_logged_one_by_one(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO")
        ids = [f"j{number}" for number in range(200)]
        memory.outcomes |= {"j7": CancelOutcome.REFUSED, "j9": CancelOutcome.GONE}
        cancellation = Cancellation(memory.jobs(*ids), REASON)
        request(cancellation, memory.pool(), LOG)
        words = [record.getMessage() for record in caplog.records]
        assert "198 jobs: REQUESTED" in words
        assert len(words) == 3
        caplog.clear()
        end(memory, *ids)
        memory.states["j5"] = JobState.FAILED
        poll(cancellation, memory.pool(), LOG)
        words = [record.getMessage() for record in caplog.records]
        assert "198 jobs: CANCELLED" in words
        assert len([each for each in words if "j5 is FAILED" in each]) == 1
        assert len(words) == 2


class TestUnknown:
    """Jobs, clusters and applications that the service does not know over this connection."""

    def test_a_job_is_a_warning_once(self, memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
        memory.outcomes["a"] = CancelOutcome.GONE
        end(memory, "a", state=JobState.GONE)
        cancellation = Cancellation([memory.job("a", JobState.GONE)], REASON)
        report(cancellation.request(memory.pool()), LOG)
        poll(cancellation, memory.pool(), LOG)
        (said,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert said.getMessage() == (
            "memory:///place/a: GONE: the service does not know this job over the process's own credentials. "
            "It may be of another account or region: check the address. Nothing was cancelled."
        )
        assert cancellation.verdict() == {"memory:///place/a": "GONE"}

    def test_a_job_that_is_only_polled_is_a_warning(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        poll(Watch([memory.job("a", JobState.GONE)]), memory.pool(), LOG)
        assert [record.levelname for record in caplog.records] == ["WARNING"]

    def test_a_job_that_was_there_before_is_none(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        watch = Watch(memory.jobs("a"))
        poll(watch, memory.pool(), LOG)
        end(memory, "a", state=JobState.GONE)
        poll(watch, memory.pool(), LOG)
        assert [record.levelname for record in caplog.records] == ["INFO", "INFO"]

    @pytest.mark.parametrize("is_known", [False, True])
    def test_a_cluster(self, memory: Memory, is_known: bool) -> None:
        """A wrong id is no end of a job; a cluster that was deleted meanwhile is."""
        cancellation = requested(memory, "a") if is_known else Cancellation(memory.jobs("a"), REASON)
        memory.errors.append(UnknownScope("No such place."))
        poll(cancellation, memory.pool(), LOG)
        again = watch_from_json(json.loads(json.dumps(cancellation.as_json())))
        if is_known:
            assert again.verdict() == {"memory:///place/a": "GONE"}
        else:
            with pytest.raises(CancelRefused, match="No such place"):
                again.verdict()

    @pytest.mark.parametrize("is_known", [False, True])
    def test_a_cluster_that_is_polled(self, memory: Memory, is_known: bool) -> None:
        watch = Watch(memory.jobs("a"))
        if is_known:
            poll(watch, memory.pool(), LOG)
        memory.errors.append(UnknownScope("No such place."))
        if is_known:
            poll(watch, memory.pool(), LOG)
            assert watch.verdict() == {"memory:///place/a": "GONE"}
        else:
            with pytest.raises(UnknownScope, match="No such place"):
                poll(watch, memory.pool(), LOG)

    def test_the_jobs_of_other_clusters_are_seen_to(self, memory: Memory) -> None:
        lost, found = memory.job("a", scope="typo"), memory.job("b", JobState.CANCELLED)
        memory.errors += [UnknownScope("No such place."), UnknownScope("No such place.")]
        cancellation = Cancellation([lost, found], REASON)
        poll(cancellation, memory.pool(), LOG)
        assert cancellation.states == {str(found): "CANCELLED"}
        assert cancellation.results[lost].outcome is CancelOutcome.REFUSED


class TestEscalation:
    def test_it_comes_once_for_what_still_lives(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", "b", escalate_after=DUE)
        end(memory, "b")
        for _ in range(3):
            poll(cancellation, memory.pool(), LOG)
        assert memory.sent == [("a", True)]

    @pytest.mark.parametrize("escalate_after", [None, 60])
    def test_it_does_not_come_early(self, memory: Memory, escalate_after: float | None) -> None:
        cancellation = requested(memory, "a", escalate_after=escalate_after)
        poll(cancellation, memory.pool(), LOG)
        assert memory.sent == []
        assert not cancellation.is_due()

    def test_it_does_not_come_where_force_adds_nothing(self, memory: Memory) -> None:
        memory.hard = False
        cancellation = requested(memory, "a", escalate_after=DUE)
        poll(cancellation, memory.pool(), LOG)
        assert memory.sent == []
        assert not cancellation.is_due()

    def test_a_job_that_is_found_later_is_given_its_own_time(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", escalate_after=60)
        cancellation.clock.offset += 61
        cancellation.jobs += memory.jobs("b")
        cancellation.request(memory.pool())
        cancellation.act(memory.pool())
        assert memory.sent == [("b", False), ("a", True)]
        cancellation.clock.offset += 60
        cancellation.act(memory.pool())
        assert memory.sent == [("b", False), ("a", True), ("b", True)]

    def test_only_what_did_not_answer_to_force_is_forced_again(self, memory: Memory) -> None:
        memory.forced_outcomes["b"] = CancelOutcome.UNANSWERED
        cancellation = requested(memory, "a", "b", escalate_after=DUE)
        poll(cancellation, memory.pool(), LOG)
        cancellation = Cancellation.from_json(cancellation.as_json())
        memory.forced_outcomes.clear()
        poll(cancellation, memory.pool(), LOG)
        poll(cancellation, memory.pool(), LOG)
        assert memory.sent == [("a", True), ("b", True), ("b", True)]

    def test_it_counts_from_the_request(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", escalate_after=60)
        cancellation = Cancellation.from_json(cancellation.as_json())
        assert cancellation.requested_at is not None
        assert abs(cancellation.requested_at - time.time()) < 5
        cancellation.requested_at -= 60
        assert cancellation.is_due()


@given(
    STATUSES,
    RESULTS,
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.none() | st.floats(0, 1e9),
    st.booleans(),
)
def test_a_cancellation_goes_through_json_at_every_stage(
    statuses: Sequence[JobStatus],
    results: Sequence[CancelResult],
    leave_running: bool,
    strict: bool,
    ended: bool,
    escalate_after: float | None,
    forced: bool,
) -> None:
    cancellation = Cancellation(JOBS, REASON, escalate_after=escalate_after, leave_running=leave_running)
    travelled: Watch = cancellation
    cancellation.requested_at = time.time() - 1e6
    cancellation.results.update({result.job: result for result in results})
    cancellation.forced.update(JOBS if forced else [])
    for status in statuses:
        cancellation.observe([status])
        travelled = again(cancellation)
    travelled = again(travelled)
    assert isinstance(travelled, Cancellation)
    assert travelled.as_json() == cancellation.as_json()
    assert travelled.open == cancellation.open
    assert travelled.is_due() is cancellation.is_due()
    how = {"fail_if_not_running": strict, "ended": ended}
    assert judged(travelled, **how) == judged(cancellation, **how)
