"""What a record names and can't be described is not cancelled blindly, and described again."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

import pytest

from airflow_cancel_provider.engine.recorded import cancel_over_connections, cancel_requests
from airflow_cancel_provider.exceptions import AccessDenied, ServiceUnavailable
from airflow_cancel_provider.hooks.access import Access
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.record import TryRecord
from tests.cloud.server import LocalCloud
from tests.memory_service import Memory, memory
from tests.recorded_fixtures import LOG, OURS, TASK, cancellation
from tests.service_fixtures import Bench, submitted
from tests.task_fixtures import bench, connect_aws, connections
from tests.trigger_fixtures import DEPLOYMENT

__all__ = ["bench", "connections", "memory"]


class TestUnseen:
    """What can't be described is not cancelled blindly, and described again."""

    @pytest.mark.parametrize("error", [ServiceUnavailable("It is away."), AccessDenied("Not you.")], ids=repr)
    def test_after_a_description_that_failed(
        self, memory: Memory, error: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        work = cancellation(memory.jobs("a"))
        memory.errors += [error]
        work.step()
        assert memory.sent == []
        assert str(error) in caplog.text
        work.step()
        assert memory.sent == [("a", False)]
        # A connection may have been mended since the client was made.
        assert len(memory.opened) == 2

    def test_one_that_is_not_known_is_a_warning_and_not_settled(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        gone = RemoteJob.of("memory", "a", scope="place", conn_id="elsewhere", region="eu")
        memory.states["a"] = JobState.GONE
        work = cancellation([gone])
        work.step()
        work.step()
        assert not work.is_requested
        assert not work.is_done
        words = f"{gone}: the service does not know this job over connection 'elsewhere' in region eu."
        assert caplog.text.count(words) == 1
        memory.states["a"] = JobState.RUNNING
        work.step()
        assert memory.sent == [("a", False)]
        memory.states["a"] = JobState.GONE  # seen before: now that is an end
        work.step()
        assert work.is_done

    def test_what_stays_unknown_is_an_error_at_the_end(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        jobs = [memory.job("a", JobState.GONE), memory.job("b")]
        work = cancellation(jobs)
        work.step()
        memory.states["b"] = JobState.CANCELLED
        work.step()
        work.close()
        (said,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
        assert said.startswith(
            f"{jobs[0]} was not cancelled and may still be running: the service does not know"
        )
        assert memory.sent == [("b", False)]

    def test_an_unknown_cluster_hides_no_other(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        here, nowhere = memory.job("a", scope="here"), memory.job("b", scope="nowhere")
        memory.unknown_scopes = {"nowhere"}
        work = cancellation([nowhere, here])
        work.step()
        assert memory.sent == [("a", False)]
        assert f"{nowhere}: the service does not know this job over" in caplog.text

    @pytest.mark.parametrize("is_scope", [True, False], ids=["scope", "job"])
    def test_what_is_not_found_before_its_request_was_answered_has_not_ended(
        self, memory: Memory, caplog: pytest.LogCaptureFixture, *, is_scope: bool
    ) -> None:
        """The connection may have been edited meanwhile, and lead to another account."""
        (job,) = memory.jobs("a")
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        work = cancellation([job])
        work.step()
        if is_scope:
            memory.unknown_scopes = {str(job.scope)}
        else:
            memory.states["a"] = JobState.GONE
        for _ in range(3):
            work.step()
        assert not work.is_done
        assert ("failed", job) in [(word, each) for each, word in work.outcomes()]
        assert work.close() == [job]
        assert f"{job} was not cancelled and may still be running: the service does not know" in caplog.text
        memory.unknown_scopes, memory.states, memory.outcomes = set(), {"a": JobState.RUNNING}, {}
        memory.sent.clear()
        work.step()
        assert memory.sent == [("a", False)]

    def test_what_is_not_found_when_its_request_is_repeated_has_not_ended(
        self, memory: Memory, caplog: pytest.LogCaptureFixture
    ) -> None:
        (job,) = memory.jobs("a")
        memory.outcomes["a"] = CancelOutcome.UNANSWERED
        work = cancellation([job])
        work.step()
        memory.outcomes["a"] = CancelOutcome.GONE
        memory.errors += [ServiceUnavailable("It is away.")] * 2
        work.step()
        memory.states["a"] = JobState.GONE
        for _ in range(3):
            work.step()
        assert not work.is_done
        assert work.close() == [job]

    @pytest.mark.parametrize("id_", ["a b", "A/B", "x" * 3000], ids=["blank", "slash", "long"])
    def test_what_the_service_can_not_have_issued_hides_no_other(self, bench: Bench, id_: str) -> None:
        """Some services say that it is not known, others refuse the whole request."""
        scope = bench.new_scope()
        ours = [submitted(bench, OURS, scope) for _ in range(3)]
        wrong = RemoteJob.of(bench.name, id_, scope=scope, conn_id=ours[0].conn_id, region=ours[0].region)
        cancellation([ours[0], wrong, *ours[1:]]).step()
        assert all(bench.truth()[job.id]["cancel_requested_at"] for job in ours)

    def test_a_connection_that_is_not_defined_is_said_and_asked_for_again(
        self, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        connect_aws(monkeypatch, cloud)
        here = RemoteJob.of("batch", "1", conn_id="later", region="us-east-1")
        work = cancellation([here])
        work.step()
        assert f"{here}: " in caplog.text
        assert not work.is_requested
        connect_aws(monkeypatch, cloud, "later")
        work.step()
        assert cloud.journal.count("batch", "DescribeJobs") >= 1


@pytest.mark.parametrize(
    "outcome, is_accepted",
    [
        (CancelOutcome.REQUESTED, True),
        (CancelOutcome.ALREADY_CANCELLING, True),
        (CancelOutcome.ALREADY_ENDED, True),
        (CancelOutcome.REFUSED, False),
        (CancelOutcome.UNANSWERED, False),
    ],
)
def test_accepted_is_what_every_service_has_taken(
    memory: Memory, outcome: CancelOutcome, is_accepted: bool
) -> None:
    work = cancellation(memory.jobs("a", "b"))
    memory.outcomes["b"] = outcome
    work.step()
    assert work.is_accepted is is_accepted


def test_nothing_is_accepted_before_it_was_seen(memory: Memory) -> None:
    work = cancellation([memory.job("a"), memory.job("b", JobState.GONE)])
    work.step()
    assert memory.sent == [("a", False)]
    assert not work.is_accepted


@pytest.mark.parametrize(
    "count, words",
    [(1, "task 0"), (2, "task 0, and 1 other task"), (100, "task 0, and 99 other tasks")],
)
def test_many_tasks_are_few_calls_with_words_for_all(memory: Memory, count: int, words: str) -> None:
    records = [TryRecord(uuid4(), jobs=tuple(memory.jobs(f"j{n}"))) for n in range(count)]
    requests = [
        request
        for n, record in enumerate(records)
        for request in cancel_requests(record, f"task {n}", LOG, TASK)
    ]
    work = cancel_over_connections(Access().service, requests, DEPLOYMENT, call_seconds=2)
    work.step()
    assert len(memory.polls) == 1
    assert len(memory.sent) == count
    reasons = {result.detail for result in work.cancellation.results.values()}
    assert reasons == {words}
