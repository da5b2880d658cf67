"""The record of a try in XCom and the task state store: what is in it when, and what it costs."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import boto3
import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_cancel_provider.exceptions import Killed
from airflow_cancel_provider.guard.task import TaskGuard
from airflow_cancel_provider.jobs import JobState
from airflow_cancel_provider.record import TryRecord
from airflow_cancel_provider.services.client_spec import ClientSpec
from airflow_cancel_provider.services.submissions import current_recorder
from airflow_cancel_provider.settings import Settings
from tests.cloud.server import LocalCloud
from tests.try_fixtures import (
    CANCEL,
    UNLABELLED,
    Store,
    Try,
    _guarded,
    submit,
    variables,
)

__all__ = ["_guarded", "variables"]


class TestIntents:
    def test_what_has_no_label_is_on_record_before_it_is_sent(self, cloud: LocalCloud) -> None:
        def work() -> None:
            cloud.faults.add("batch", "SubmitJob", kind="lost_reply")
            submit("nightly")

        ti = Try(work=work)
        ti.run(UNLABELLED)
        first = TryRecord.from_json(ti.written[0][1])
        assert first.jobs == ()
        (intent,) = first.intents
        assert (intent.service, intent.conn_id, intent.region) == ("batch", None, "us-east-1")
        assert (intent.scope, intent.label) == ("queue", None)

    def test_the_entry_goes_with_the_answer(self) -> None:
        ti = Try(work=submit)
        ti.run(UNLABELLED)
        records = [TryRecord.from_json(value) for _, value in ti.written]
        assert [(len(record.intents), len(record.jobs)) for record in records][:2] == [(1, 0), (0, 1)]

    def test_what_carries_a_label_is_on_record_with_its_address(self) -> None:
        ti = Try(work=submit)
        ti.run(CANCEL)
        records = [TryRecord.from_json(value) for _, value in ti.written]
        assert [(record.state, len(record.jobs)) for record in records] == [("running", 1), ("returned", 1)]

    def test_from_another_thread_nothing_is_written_before_the_end(self) -> None:
        def work() -> None:
            thread = threading.Thread(target=submit)
            thread.start()
            thread.join()
            written.append(len(ti.written))

        written: list[int] = []
        ti = Try(work=work)
        ti.run(UNLABELLED)
        assert written == [0]
        assert len(ti.record.jobs) == 1

    def test_in_a_running_event_loop_nothing_is_written_before_the_end(self) -> None:
        written: list[int] = []

        async def work() -> None:
            submit()
            written.append(len(ti.written))

        ti = Try(work=lambda: asyncio.run(work()))
        ti.run(CANCEL)
        assert written == [0]
        assert len(ti.record.jobs) == 1

    def test_steps_of_a_new_cluster_stay_on_record_with_their_place(self, cloud: LocalCloud) -> None:
        step = {"Name": "step", "HadoopJarStep": {"Jar": "command-runner.jar"}}

        def work() -> None:
            emr: Any = boto3.session.Session().client("emr", region_name="us-east-1")
            emr.run_job_flow(Name="etl", Steps=[step], Instances={"InstanceCount": 1})

        ti = Try(work=work)
        ti.run(UNLABELLED)
        (job,) = cloud.emr.jobs()
        (intent,) = ti.record.intents
        assert intent.scope == job["scope"]


class TestTaskState:
    """Before Airflow 3.3 there is no task state store."""

    def test_the_next_try_can_read_of_a_job_before_people_can(self) -> None:
        """Where a host is lost between the two, the next try cancels the job."""
        ti = Try(work=submit)
        kept: list[Any] = []
        ti.on_push = lambda key, value: kept.append(ti.store.get(key) == value)
        ti.run(UNLABELLED)
        assert len(kept) > 1
        assert all(kept)

    def test_without_it_people_can_read_of_a_job(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fails(*_: Any) -> None:
            raise OSError("the store is away")

        monkeypatch.setattr(Store, "set", fails)
        ti = Try(work=submit)
        ti.run(CANCEL)
        assert len(ti.record.jobs) == 1
        assert "Task state remote_jobs could not be written: the store is away" in caplog.text


class TestCost:
    """What thousands of submissions in one task cost."""

    def written(self, count: int) -> tuple[int, float, Try]:
        """Bytes in XCom, and seconds of this process."""

        def work() -> None:
            client = ClientSpec("batch", "aws_default", "us-east-1", None)
            recorder: Any = current_recorder()
            for number in range(count):
                token = recorder.intend(client, "queue", (), is_labelled=True)
                recorder.started(token, [(None, f"{number:036}")])
                recorder.ended("batch", "us-east-1", [(None, f"{number:036}", JobState.SUCCEEDED)])

        ti = Try(work=work)
        guard = TaskGuard(ti, Settings(sentinel=False, confirm_seconds=20))
        guard.install()
        began = time.process_time()
        ti.task.execute()
        seconds = time.process_time() - began
        guard.succeeded()
        return sum(len(json.dumps(value)) for _, value in ti.written), seconds, ti

    def test_xcom_grows_with_the_number_of_submissions_and_holds_all_of_them(self) -> None:
        thousand, _, _ = self.written(1000)
        four, _, ti = self.written(4000)
        assert len(ti.record.jobs) == 4000
        assert four < 6 * thousand
        assert four < 12_000_000

    def test_the_first_ones_are_on_record_at_once(self) -> None:
        _, _, ti = self.written(60)
        records = [TryRecord.from_json(value) for _, value in ti.written]
        assert [len(record.jobs) for record in records] == [*range(1, 61), 60]

    def test_so_does_the_time(self) -> None:
        _, thousand, _ = self.written(1000)
        _, four, _ = self.written(4000)
        assert four < 8 * max(thousand, 0.2)

    @pytest.mark.parametrize("how", ["failure", "kill"])
    def test_all_of_them_are_on_record_when_the_task_ends_in_another_way(self, how: str) -> None:
        def work() -> None:
            recorder: Any = current_recorder()
            client = ClientSpec("batch", "aws_default", "us-east-1", None)
            for number in range(100):
                token = recorder.intend(client, "queue", (), is_labelled=True)
                recorder.started(token, [(None, f"{number:036}")])
                recorder.ended("batch", None, [(None, f"{number:036}", JobState.SUCCEEDED)])
            if how == "kill":
                ti.task.on_kill()
            raise ValueError("after all of them")

        ti = Try(work=work)
        guard = TaskGuard(ti, CANCEL)
        guard.install()
        with pytest.raises(Killed if how == "kill" else ValueError):
            ti.task.execute()
        assert len(ti.record.jobs) == 100


@pytest.mark.parametrize(
    "status, reason, level",
    [(404, "not_found", "INFO"), (404, "no such page", "WARNING"), (503, "", "WARNING")],
)
def test_a_task_that_was_cleared_does_not_warn_of_its_record(
    caplog: pytest.LogCaptureFixture, status: int, reason: str, level: str
) -> None:
    """Airflow has no task instance of that id any more. How the job has ended is told by the sentinel."""
    caplog.set_level("INFO")
    detail = {"status_code": status, "detail": {"detail": {"reason": reason}}}
    refused = AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))

    class Cleared(Try):
        def xcom_push(self, key: str, value: Any) -> None:
            raise refused

    Cleared(work=submit).run(CANCEL)
    said = [each for each in caplog.records if "XCom remote_jobs" in each.getMessage()]
    assert said
    assert {each.levelname for each in said} == {level}
    # Also where a result could not be stored: Airflow has scheduled the next try by then.
    assert ("retried" in said[0].getMessage()) == (level == "INFO")
