"""Watching jobs without cancelling them, and waiting for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_cancel_provider.exceptions import (
    AccessDenied,
    IdentityError,
    ServiceUnavailable,
    UnexpectedEnd,
)
from airflow_cancel_provider.jobs import JobState, JobStatus, RemoteJob
from airflow_cancel_provider.watch import Watch, poll, wait
from tests.cancellation_fixtures import (
    DUE,
    JOBS,
    LOG,
    STATUSES,
    again,
    end,
    judged,
    memory,
    requested,
    values_of,
)
from tests.memory_service import Memory

__all__ = ["memory"]

UNKNOWN = RemoteJob("memory:///place/unknown")


class TestWatch:
    def test_it_never_sends(self, memory: Memory) -> None:
        watch = Watch(memory.jobs("a"))
        poll(watch, memory.pool(), LOG)
        assert not watch.is_due()
        assert memory.sent == []

    def test_a_target_may_be_alive(self, memory: Memory) -> None:
        watch = Watch(memory.jobs("a"), [JobState.RUNNING, JobState.SUCCEEDED])
        poll(watch, memory.pool(), LOG)
        assert watch.verdict() == {"memory:///place/a": "RUNNING"}

    def test_a_wrong_end_decides_at_once_with_its_reason(self, memory: Memory) -> None:
        first, second = memory.jobs("a", "b")
        watch = Watch([first, second], [JobState.SUCCEEDED])
        watch.observe([JobStatus(first, JobState.FAILED, "ERROR", "out of memory")])
        assert watch.is_decided
        with pytest.raises(UnexpectedEnd) as caught:
            watch.verdict()
        assert caught.value.jobs == ("memory:///place/a is FAILED (ERROR): out of memory",)
        assert "SUCCEEDED" in caught.value.message

    def test_only_news_are_told(self, memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        watch = Watch(memory.jobs("a"))
        for _ in range(3):
            poll(watch, memory.pool(), LOG)
        assert [record.getMessage() for record in caplog.records] == ["memory:///place/a is RUNNING"]


class TestWaiting:
    def test_attempts_and_pauses_are_counted(self, memory: Memory) -> None:
        pauses: list[float] = []
        watch = Watch(memory.jobs("a"))
        wait(watch, memory.pool(), LOG, delay=7, max_attempts=3, sleep=pauses.append)
        assert pauses == [7, 7, 7]
        assert len(memory.polls) == 3

    def test_once_all_is_decided_nothing_is_polled_and_nobody_sleeps(self, memory: Memory) -> None:
        pauses: list[float] = []
        watch = Watch(memory.jobs("a"))
        end(memory, "a")
        wait(watch, memory.pool(), LOG, delay=7, max_attempts=9, sleep=pauses.append)
        assert len(memory.polls) == 1
        assert pauses == [7]

    def test_an_outage_is_outlasted(self, memory: Memory, caplog: pytest.LogCaptureFixture) -> None:
        memory.errors += [ServiceUnavailable("The service is away.")] * 2
        watch = Watch(memory.jobs("a"))
        end(memory, "a")
        wait(watch, memory.pool(), LOG, delay=0, max_attempts=3)
        assert watch.verdict() == {"memory:///place/a": "CANCELLED"}
        assert caplog.text.count("The service is away. Looking again later.") == 2

    def test_an_outage_of_polling_does_not_hold_up_what_is_due(self, memory: Memory) -> None:
        cancellation = requested(memory, "a", escalate_after=DUE)
        memory.errors.append(ServiceUnavailable("The service is away."))
        poll(cancellation, memory.pool(), LOG)
        assert memory.sent == [("a", True)]

    @pytest.mark.parametrize("was_accepted", [True, False])
    def test_credentials_that_are_refused_may_be_renewed_if_they_were_accepted_before(
        self, memory: Memory, was_accepted: bool
    ) -> None:
        watch = Watch(memory.jobs("a"))
        if was_accepted:
            poll(watch, memory.pool(), LOG)
        end(memory, "a")
        memory.errors += [IdentityError("The security token is expired.")] * 6
        if was_accepted:
            wait(watch, memory.pool(), LOG, delay=0, max_attempts=10)
            assert watch.is_decided
        else:
            with pytest.raises(IdentityError):
                wait(watch, memory.pool(), LOG, delay=0, max_attempts=10)

    def test_a_request_that_was_answered_counts_as_well(self, memory: Memory) -> None:
        assert requested(memory, "a").may_be_renewed()
        assert not Watch(memory.jobs("a")).may_be_renewed()

    def test_when_attempts_are_used_up_a_job_that_was_not_shown_is_gone(self, memory: Memory) -> None:
        watch = Watch([UNKNOWN])
        wait(watch, memory.pool(), LOG, delay=0, max_attempts=3)
        assert not watch.is_decided
        assert watch.verdict() == {str(UNKNOWN): "GONE"}

    def test_a_clock_that_is_behind_does_not_reopen_a_wait_that_is_over(self, memory: Memory) -> None:
        """A triggerer has polled for the minute; the worker that goes on has a clock of its own."""
        watch = Watch([UNKNOWN], [JobState.SUCCEEDED])
        poll(watch, memory.pool(), LOG)
        watch = again(watch)
        assert not watch.wrong
        with pytest.raises(UnexpectedEnd, match="is GONE"):
            watch.verdict()

    def test_a_refusal_to_be_polled_is_final(self, memory: Memory) -> None:
        memory.errors.append(AccessDenied("Allow memory:Poll.", "Poll", "AccessDenied"))
        watch = Watch(memory.jobs("a"))
        wait(watch, memory.pool(), LOG, delay=0, max_attempts=3)
        with pytest.raises(AccessDenied):
            watch.verdict()
        assert len(memory.polls) == 1
        poll(watch, memory.pool(), LOG)  # as a sensor with silent_fail does
        assert watch.states == {"memory:///place/a": "RUNNING"}


@given(STATUSES, st.lists(st.sampled_from(JobState), min_size=1))
def test_a_watch_goes_through_json_at_every_stage(
    statuses: Sequence[JobStatus], targets: Sequence[JobState]
) -> None:
    watch = Watch(JOBS, targets)
    travelled = again(watch)
    for status in statuses:
        assert travelled.observe([status]) == watch.observe([status])
        travelled = again(travelled)
    assert type(travelled) is Watch
    assert values_of(travelled) == values_of(watch)
    assert judged(travelled) == judged(watch)
    assert travelled.is_decided is watch.is_decided
