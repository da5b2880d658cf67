"""What the buttons do: cancel in the background, by the label, with an entry in the event log; states."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any
from uuid import uuid4

import pytest
from airflow.models.log import Log

from airflow_cancel_provider.engine.recorded import CancelRequest
from airflow_cancel_provider.exceptions import AccessDenied, ServiceUnavailable
from airflow_cancel_provider.jobs import CancelOutcome, JobState, RemoteJob
from airflow_cancel_provider.owner import Label, TaskKey, deployment_of
from airflow_cancel_provider.plugin import api_server as marked
from airflow_cancel_provider.plugin.page import states
from airflow_cancel_provider.record import Actor, JobEnd, TryRecord
from tests.guard_fixtures import until
from tests.memory_service import Memory, MemoryService
from tests.page_fixtures import DEPLOYMENT, Page, api_server, memory, page, tables

__all__ = ["api_server", "memory", "page", "tables"]

OURS = deployment_of(DEPLOYMENT)
TASK = TaskKey("dag", "run", "task")


def request(**changes: Any) -> str:
    """One for a job that is not on record."""
    named = {"job": "batch://@/a", "dag_id": "dag", "run_id": "run", "task_id": "task", "map_index": -1}
    return json.dumps({"jobs": [named | changes]})


def finished(page: Page) -> bool:
    return any(event == "cancel_remote_job_finished" for event, *_ in page.events())


class TestCancel:
    def test_from_the_click_to_the_end(
        self, page: Page, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(states, "FRESH_SECONDS_OF_A_CANCEL", 0.0)
        reasons = []
        request = MemoryService.cancel

        def cancel(self: Any, jobs: Any, reason: str, *, force: bool = False) -> Any:
            reasons.append(reason)
            return request(self, jobs, reason, force=force)

        monkeypatch.setattr(MemoryService, "cancel", cancel)
        job = memory.job("a")
        ti_id = page.put(job)
        memory.labels["a"] = Label(OURS, ti_id, task=TASK.digest)
        answer = page.cancel("olga", job)
        assert answer.status_code == 202
        until(lambda: memory.sent == [("a", False)])
        assert reasons == ["Cancelled by olga in the page Remote jobs"]
        assert page.events() == [
            ("cancel_remote_job", "olga", "task", {"job": job, "reason": reasons[0]}),
        ]
        shown = page.get("viewer")
        assert 'class="state cancelling"' in shown.text
        assert "olga asked for its cancel" in shown.words
        assert page.get("olga", role="op").buttons == 0
        seen = page.post("viewer", "/states", job).json()["states"][job]
        assert seen == {
            "state": "RUNNING",
            "service_state": None,
            "trouble": None,
            "asked_by": "olga",
            "is_over": False,
            "story": "",
            "line": "",
        }
        memory.states["a"] = JobState.CANCELLED
        until(lambda: finished(page))
        seen = page.post("viewer", "/states", job).json()["states"][job]
        assert (seen["state"], seen["is_over"]) == ("CANCELLED", True)
        assert "CANCELLED" in seen["line"]
        shown = page.get("olga", role="op")
        assert "Cancelled by olga in the page Remote jobs" in shown.words
        assert 'class="state cancelled"' in shown.text
        assert (shown.buttons, "orphan" in shown.words) == (0, False)

    @pytest.mark.parametrize("minutes, is_lost", [(2, False), (6, True)])
    def test_an_api_server_that_ends_meanwhile(
        self, page: Page, memory: Memory, minutes: int, is_lost: bool
    ) -> None:
        job = memory.job("a")
        page.put(job)
        asked_at = datetime.now(UTC) - timedelta(minutes=minutes)
        with page.tables.engine.begin() as connection:
            row = {"event": "cancel_remote_job", "owner": "olga", "dttm": asked_at, "task_id": "task"}
            connection.execute(Log.__table__.insert(), [{**row, "extra": json.dumps({"job": job})}])
        shown = page.get("op", role="op")
        assert shown.buttons == int(is_lost)
        assert ("The API server ended before the cancel was confirmed" in shown.words) is is_lost

    def test_what_becomes_of_each_of_several_jobs(self, page: Page, memory: Memory) -> None:
        one, refused = memory.jobs("a", "b")
        page.put(one, refused)
        memory.outcomes["b"] = CancelOutcome.REFUSED
        answer = page.cancel("op", one, refused)
        assert answer.json()["jobs"] == {one: "accepted", refused: "accepted"}
        until(lambda: len(memory.sent) == 2)
        memory.states["a"] = JobState.CANCELLED
        until(lambda: len(page.events()) == 4)
        became = {extra["job"]: extra for event, _, _, extra in page.events() if event.endswith("finished")}
        assert (became[one]["end"], became[refused]["end"]) == ("CANCELLED", "")
        assert "REFUSED" in "".join(became[refused]["lines"])

    def test_nothing_is_begun_where_one_of_them_has_ended(self, page: Page, memory: Memory) -> None:
        one, ended = memory.job("a"), memory.job("b", JobState.CANCELLED)
        page.put(one, ended)
        page.post("viewer", "/states", ended)
        answer = page.cancel("op", one, ended)
        assert answer.status_code == 409
        assert answer.json()["detail"] == f"{ended} has already ended: CANCELLED."
        assert (memory.sent, page.events()) == ([], [])

    def test_settings_that_cannot_be_read(
        self, page: Page, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Accepted, the cancel would never be begun, and the page would wait for it."""
        job = memory.job("a")
        page.put(job)
        monkeypatch.setenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY", "nonsense")
        answer = page.cancel("op", job)
        assert answer.status_code == 503
        assert "on_retry" in answer.json()["detail"]
        assert (memory.sent, page.events()) == ([], [])
        monkeypatch.delenv("AIRFLOW__CANCEL_PROVIDER__ON_RETRY")
        assert page.cancel("op", job).status_code == 202
        until(lambda: memory.sent == [("a", False)])

    def test_the_label_of_another_try(self, page: Page, memory: Memory) -> None:
        """Whoever can write an XCom can name any job there."""
        job = memory.job("a")
        page.put(job)
        memory.labels["a"] = Label(OURS, uuid4(), task=TASK.digest)
        assert page.cancel("op", job).status_code == 202
        until(lambda: finished(page))
        assert memory.sent == []
        shown = page.get("op", role="op")
        assert "is left alone: its label names another try" in shown.words
        assert 'class="state cancelling"' not in shown.text
        assert shown.buttons == 1

    def test_the_label_of_a_try_of_another_task(self, page: Page, memory: Memory) -> None:
        """Whoever can write an XCom can name the other's try there, too."""
        job, other = memory.job("a"), TaskKey("other", "run", "task")
        memory.labels["a"] = Label(OURS, uuid4(), task=other.digest)
        record = TryRecord(memory.labels["a"].ti_id, jobs=(job,))
        page.put_many([(uuid4(), "running", record, {})])
        assert page.cancel("op", job).status_code == 202
        until(lambda: finished(page))
        assert memory.sent == []
        assert "is left alone: its label names another task" in page.get("op").words

    def test_what_an_earlier_try_left(self, page: Page, memory: Memory) -> None:
        job, unlabelled = memory.jobs("a", "b")
        earlier = TryRecord(uuid4(), jobs=(job, unlabelled))
        record = TryRecord(uuid4(), earlier=(earlier,))
        page.put(record=record)
        memory.labels["a"] = Label(OURS, earlier.ti_id, task=TASK.digest)
        assert page.cancel("op", job, unlabelled).status_code == 202
        until(lambda: memory.sent == [("a", False)])
        until(lambda: finished(page))  # of the one whose label does not show whose it is

    def test_a_refusal_is_shown(self, page: Page, memory: Memory) -> None:
        job = memory.job("a")
        page.put(job)
        memory.outcomes["a"] = CancelOutcome.REFUSED
        assert page.cancel("op", job).ok
        until(lambda: finished(page))
        assert "REFUSED" in page.get("op", role="op").words

    def test_a_job_that_has_ended(self, page: Page, memory: Memory) -> None:
        job = memory.job("a", JobState.SUCCEEDED)
        record = TryRecord(uuid4(), jobs=(job,))
        page.put(record=replace(record, ends={job: JobEnd(JobState.SUCCEEDED, "service", "", 1e9)}))
        answer = page.cancel("op", job)
        assert (answer.status_code, answer.json()["detail"]) == (409, f"{job} has already ended: SUCCEEDED.")
        assert page.events() == []

    def test_all_or_none(self, page: Page, memory: Memory) -> None:
        job, unknown = memory.jobs("a", "b")
        page.put(job)
        answer = page.cancel("op", job, unknown)
        assert answer.status_code == 404
        assert f"{unknown} is not on record any more" in answer.json()["detail"]
        assert (memory.polls, page.events()) == ([], [])

    @pytest.mark.parametrize(
        "body",
        [
            *(
                "",
                "no JSON",
                "null",
                "[]",
                "{}",
                '{"jobs": null}',
                '{"jobs": []}',
                '{"jobs": {}}',
                "[" * 90_000,
            ),
            *('{"jobs": [7]}', '{"jobs": ["batch://@us/a"]}', '{"jobs": [{"job": "batch://@us/a"}]}'),
            '{"jobs": [{"job": "nonsense", "dag_id": "d", "run_id": "", "task_id": "", "map_index": -1}]}',
            '{"jobs": [{"job": "batch://@u/a", "dag_id": 7, "run_id": "", "task_id": "", "map_index": -1}]}',
            '{"jobs": [{"job": "batch://@/a", "dag_id": "", "run_id": "", "task_id": "", "map_index": "x"}]}',
            request(map_index=inf),
            request(map_index=10**30),
            request(map_index=-(10**30)),
            request(dag_id="\ud800"),
            request(run_id="\0"),
            b"\xff\xfe",
        ],
    )
    @pytest.mark.parametrize("path", ["/cancel", "/states"])
    def test_what_is_no_request(self, page: Page, path: str, body: str | bytes) -> None:
        answer = page.post("op", path, role="op", body=body)
        assert answer.status_code == 422
        assert answer.json()["detail"].startswith('Expected {"jobs"')

    @pytest.mark.parametrize("path", ["/cancel", "/states"])
    def test_too_much(self, page: Page, memory: Memory, path: str) -> None:
        assert (
            page.post("op", path, *memory.jobs(*map("j{}".format, range(61))), role="op").status_code == 422
        )
        assert page.post("op", path, role="op", body="x" * 1_000_000).status_code == 413

    def test_what_follows_an_error_is_still_done(
        self, page: Page, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The one thread of the queue outlives an end that can't be written down."""
        first, second = memory.jobs("a", "b")
        page.put(first, second)

        def fails() -> list[str]:
            raise OSError("disk full")

        memory.states["a"] = JobState.SUCCEEDED
        asked_by = marked.CancelFor(TASK, Actor.USER, "op", "why", fails)
        marked.cancel_now(CancelRequest((first,), "why", logging.getLogger(__name__)), asked_by)
        assert page.cancel("op", second).ok
        until(lambda: ("b", False) in memory.sent)


class TestEnds:
    """Whoever sees a job end puts it on record: the page does not go on showing it as active."""

    def test_a_job_that_somebody_else_has_cancelled(self, page: Page, memory: Memory) -> None:
        """As the sentinel does after SIGKILL, which can't write the record."""
        job = memory.job("a", JobState.CANCELLED)
        page.put(job, ti_state="failed")
        assert "1 orphan" in page.get("viewer").words
        told = page.post("viewer", "/states", job).json()["states"][job]
        assert told["story"] == "By whom is not on record; the log of the task may tell"
        shown = page.get("viewer")
        assert "orphan" not in shown.words.replace("Orphans only", "")
        assert 'class="state cancelled"' in shown.text
        assert "By whom is not on record; the log of the task may tell" in shown.words

    def test_who_has_cancelled_it_is_kept(self, page: Page, memory: Memory) -> None:
        job = memory.job("a")
        page.put(job)
        page.cancel("olga", job)
        until(lambda: memory.sent == [("a", False)])
        memory.states["a"] = JobState.CANCELLED
        page.post("viewer", "/states", job)
        until(lambda: finished(page))
        page.post("viewer", "/states", job)
        assert "Cancelled by olga in the page Remote jobs" in page.get("viewer").words

    def test_who_comes_too_late_has_not_cancelled_it(self, page: Page, memory: Memory) -> None:
        job = memory.job("a", JobState.CANCELLED)
        page.put(job)
        assert page.cancel("olga", job).ok
        until(lambda: finished(page))
        assert "By whom is not on record; the log of the task may tell" in page.get("viewer").words

    def test_what_nobody_has_cancelled(self, page: Page, memory: Memory) -> None:
        job = memory.job("a", JobState.FAILED)
        page.put(job, ti_state="failed")
        page.post("viewer", "/states", job)
        shown = page.get("viewer")
        assert 'class="state failed"' in shown.text
        assert "Ended by itself" in shown.words

    @pytest.mark.parametrize("state", [JobState.GONE, JobState.RUNNING])
    def test_what_has_no_end(self, page: Page, memory: Memory, state: JobState) -> None:
        job = memory.job("a", state)
        page.put(job, ti_state="failed")
        page.post("viewer", "/states", job)
        assert "1 orphan" in page.get("viewer").words

    def test_what_is_no_end_on_record_is_passed_over(self, page: Page, memory: Memory) -> None:
        """Anybody may write an XCom."""
        job = memory.job("a")
        page.put(job)
        page.put_ends({"nonsense": 7, job: {"state": "DANCING"}})
        shown = page.get("viewer")
        assert shown.response.status_code == 200
        assert 'class="state living"' in shown.text


class TestStates:
    def test_loading_the_page_asks_no_service(self, page: Page, memory: Memory) -> None:
        page.put(memory.job("a"))
        page.get("viewer")
        assert memory.polls == []

    def test_are_read_once_in_half_a_minute(
        self, page: Page, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a, b, over = memory.job("a"), memory.job("b", JobState.PENDING), memory.job("c", JobState.FAILED)
        page.put(a, b, over)
        for _ in range(3):
            found = page.post("viewer", "/states", a, b, over).json()["states"]
        assert {job: seen["state"] for job, seen in found.items()} == {
            a: "RUNNING",
            b: "PENDING",
            over: "FAILED",
        }
        assert memory.polls == [["a", "b", "c"]]
        monkeypatch.setattr(states, "FRESH_SECONDS", 0.0)
        page.post("viewer", "/states", a, b, over)
        assert memory.polls[1:] == [["a", "b"]]  # what has ended has ended

    def test_a_service_that_does_not_answer(self, page: Page, memory: Memory) -> None:
        a = memory.job("a")
        lost = RemoteJob.of("memory", "b", scope="place", conn_id="other")
        page.put(a, lost)
        memory.states["b"] = JobState.RUNNING
        memory.errors = [ServiceUnavailable("The service is down.", code="503")]
        found = page.post("viewer", "/states", a, lost).json()["states"]
        assert sorted(str(seen["state"]) for seen in found.values()) == ["None", "RUNNING"]
        assert next(seen["trouble"] for seen in found.values() if seen["trouble"]).startswith(
            "The service is down"
        )

    def test_a_cluster_that_is_denied_hides_no_other(self, page: Page, memory: Memory) -> None:
        denied, seen = memory.job("a"), memory.job("b", scope="elsewhere")
        page.put(denied, seen)
        memory.errors = [AccessDenied("Not allowed."), AccessDenied("Not allowed.")]
        found = page.post("viewer", "/states", denied, seen).json()["states"]
        assert [found[job]["trouble"] for job in (denied, seen)] == ["Not allowed.", None]

    def test_a_cluster_that_is_unknown_over_the_connection(self, page: Page, memory: Memory) -> None:
        """It may be another account's: what is said of its jobs is not that they are gone."""
        job = memory.job("a", scope="elsewhere")
        memory.unknown_scopes.add("elsewhere")
        page.put(job)
        found = page.post("viewer", "/states", job).json()["states"][job]
        assert found["state"] is None
        assert "There is no place" in found["trouble"]

    def test_a_connection_that_is_not_defined(self, page: Page) -> None:
        job = RemoteJob("batch://nowhere@us-east-1/5b1f0000-0000-0000-0000-000000000001")
        page.put(job)
        found = page.post("viewer", "/states", job).json()["states"][job]
        assert "nowhere" in found["trouble"]

    def test_one_request_at_a_time_at_a_service_and_the_server_answers_others_meanwhile(
        self, page: Page, memory: Memory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begun, go_on = threading.Event(), threading.Event()
        describe = MemoryService.describe

        def slow(self: Any, jobs: Any) -> Any:
            if self.conn_id is None:
                begun.set()
                assert go_on.wait(30)
            return describe(self, jobs)

        monkeypatch.setattr(MemoryService, "describe", slow)
        a, b = memory.jobs("a", "b")
        other = RemoteJob.of("memory", "c", scope="place", conn_id="other")
        memory.states["c"] = JobState.RUNNING
        page.put(a, b, other)
        answers = []
        first = threading.Thread(target=lambda: answers.append(page.post("viewer", "/states", a)))
        first.start()
        assert begun.wait(30)
        began = time.monotonic()
        assert page.get("viewer").status == 200
        found = page.post("viewer", "/states", b, other).json()["states"]
        assert found[other]["state"] == "RUNNING"
        assert found[b]["trouble"] == states.BUSY
        assert time.monotonic() - began < 10
        go_on.set()
        first.join(30)
        assert answers[0].json()["states"][a]["state"] == "RUNNING"
